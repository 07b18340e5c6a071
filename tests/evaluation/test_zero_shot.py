"""A Hugging Face student that was not trained here: the zero-shot row, with real weights."""

import dataclasses
import json
import shutil

import pytest

from tinyllm_jax import cli
from tinyllm_jax.student.config import PRESETS, to_hf_config


def test_evaluates_a_hugging_face_student_without_training(
    released_corpus, flan_t5_small, tmp_path, capsys
):
    corpus = released_corpus("obqa")
    cli.main(
        [
            "evaluate",
            "--student",
            str(flan_t5_small),
            "--task",
            "obqa",
            "--corpus",
            str(corpus),
            "--questions",
            "8",
            "--max_answer",
            "8",
            "--out",
            str(tmp_path / "out"),
        ]
    )
    assert "obqa, validation" in capsys.readouterr().out
    assert json.loads((tmp_path / "out" / "results.json").read_text())["n"] == 8
    with pytest.raises(SystemExit):
        cli.main(
            ["evaluate", "--student", str(flan_t5_small), "--task", "arc", "--corpus", str(corpus)]
        )
    assert "is a corpus of task 'obqa', not of 'arc'" in capsys.readouterr().err


def test_a_tokenizer_is_refused_before_weights_are_read(
    t5_tokenizer_dir, things_corpus, tmp_path, capsys
):
    shape = dataclasses.replace(PRESETS["byte-tiny"], vocab_size=32000)
    (tmp_path / "config.json").write_text(json.dumps(to_hf_config(shape)))
    argv = ["evaluate", "--student", str(tmp_path), "--task=things", "--corpus", str(things_corpus)]
    with pytest.raises(SystemExit):
        cli.main(argv)
    assert "the directory has no tokenizer" in capsys.readouterr().err
    shutil.copy(t5_tokenizer_dir / "tokenizer.json", tmp_path)
    shutil.copy(t5_tokenizer_dir / "tokenizer_config.json", tmp_path)
    with pytest.raises(SystemExit):
        cli.main(argv)
    assert "32,100 tokens, the student's embedding 32,000 rows" in capsys.readouterr().err
