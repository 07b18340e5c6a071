"""A Hugging Face student that was not trained here: the zero-shot row, with real weights."""

import json

import pytest

from tinyllm_jax import cli


def test_evaluates_a_hugging_face_student_without_training(
    released, flan_t5_small, tmp_path, capsys
):
    corpus = tmp_path / "corpus"
    cli.main(
        ["corpus", "import", "--released", str(released), "--task", "obqa", "--out", str(corpus)]
    )
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
