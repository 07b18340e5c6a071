"""`tinyllm evaluate` and `tinyllm predict`, on a run of four steps."""

import json
import pathlib
import shutil

import pytest
from command_lines import fails

from tinyllm_jax import cli
from tinyllm_jax.corpus.store import Corpus, write_corpus

pytestmark = pytest.mark.usefixtures("quick_compilation")
REPO = pathlib.Path(__file__).resolve().parents[1]
DEBUG = [
    "--config",
    str(REPO / "configs/quickstart.py"),
    "--config.steps=4",
    "--config.batch_size=8",
    "--config.checkpoint.every=2",
    "--config.validation.questions=8",
]


@pytest.fixture(scope="module")
def workdir(things_corpus, tmp_path_factory) -> pathlib.Path:
    """A run of four steps."""
    directory = tmp_path_factory.mktemp("cli") / "run"
    cli.main(["train", *DEBUG, "--corpus", str(things_corpus), "--workdir", str(directory)])
    return directory


def test_evaluate_writes_results_and_a_page(workdir, capsys, tmp_path):
    cli.main(
        [
            "evaluate",
            "--workdir",
            f"tiny student={workdir}",
            "--report",
            str(tmp_path / "page.html"),
        ]
    )
    printed = capsys.readouterr().out
    assert (
        "tiny student" in printed
        and "chance" in printed
        and "picking at random gives 25.0 %" in printed
    )
    (folder,) = (workdir / "evaluation").glob("validation-*-24questions-64tokens-*")
    found = json.loads((folder / "results.json").read_text())
    assert found["n"] == 24 and found["split"] == "validation" and found["task"] == "things"
    predictions = [
        json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()
    ]
    right = sum(p["likelihood"] == p["gold"] for p in predictions)
    assert found["metrics"]["likelihood"]["correct"] == right
    assert "tiny student" in (tmp_path / "page.html").read_text()


def test_evaluate_takes_test_only_when_asked_and_another_step(workdir):
    cli.main(
        [
            "evaluate",
            "--workdir",
            str(workdir),
            "--split",
            "test",
            "--step",
            "2",
            "--questions",
            "5",
        ]
    )
    (folder,) = (workdir / "evaluation").glob("test-*-5questions-64tokens-2")
    assert json.loads((folder / "results.json").read_text())["n"] == 5


def test_an_evaluation_overwrites_no_other(workdir, things_corpus, tmp_path, capsys):
    # The run's own corpus without one question.
    corpus = Corpus(things_corpus)
    rows = {split: corpus.rows(split)[1:] for split in ("train", "validation", "test")}
    write_corpus(tmp_path / "other", "things", corpus.teachers, rows, {}, "a test")

    written = []
    for questions, others in ((2, []), (2, []), (1, []), (2, ["--corpus", tmp_path / "other"])):
        argv = ["evaluate", "--workdir", workdir, "--questions", questions, "--max_answer", 2]
        cli.main([str(arg) for arg in (*argv, *others)])
        printed = capsys.readouterr()
        written.append(printed.out.splitlines()[0])
        assert "no longer the corpus" not in printed.err
    assert written[0] == written[1] and len(set(written)) == 3
    assert "the results of one student" in fails(
        capsys, "evaluate", f"--workdir=a={workdir}", f"--workdir=b={workdir}", "--out=x"
    )


def test_a_corpus_that_is_no_longer_the_runs_is_told(workdir, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(workdir, run)
    fixed = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(fixed | {"corpus": "0123456789"}))
    cli.main(["evaluate", "--workdir", str(run), "--questions", "2", "--max_answer", "4"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "no longer" in line]
    assert "its fingerprint was 01234567, is " in line


def test_predict_writes_answers_and_rationales(workdir, tmp_path):
    for target in ("answer", "material"):
        out = tmp_path / f"{target}.jsonl"
        cli.main(
            [
                "predict",
                "--workdir",
                str(workdir),
                "--target",
                target,
                "--questions",
                "3",
                "--out",
                str(out),
                "--max_tokens",
                "8",
            ]
        )
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(rows) == 3 and all(
            row["target"] == target and isinstance(row["text"], str) for row in rows
        )


def test_bad_input_to_a_workdir_is_one_line(workdir, capsys, tmp_path):
    assert "did you mean 'shape'" in fails(
        capsys, "predict", "--workdir", workdir, "--target", "shapez", "--out", tmp_path / "x"
    )
    assert "has no checkpoint of step 3" in fails(
        capsys, "evaluate", "--workdir", workdir, "--step", "3"
    )
    assert "best, last or a step" in fails(
        capsys, "evaluate", "--workdir", workdir, "--step", "first"
    )
    assert "choose another --out" in fails(
        capsys,
        "predict",
        "--workdir",
        workdir,
        "--questions",
        "1",
        "--max_tokens",
        "2",
        "--out",
        workdir / "config.json" / "x",
    )


def test_what_cannot_be_done_at_the_end_is_known_before_any_work(
    workdir, capsys, tmp_path, monkeypatch
):
    from tinyllm_jax.evaluation import score

    monkeypatch.setattr(score, "evaluate", lambda *_, **__: 1 / 0)
    same = ["--workdir", workdir, "--workdir", workdir]
    assert "two students are called 'run'; name them" in fails(capsys, "evaluate", *same)
    page = workdir / "config.json" / "page.html"
    assert "choose another --report" in fails(
        capsys, "evaluate", "--workdir", workdir, "--report", page
    )
    assert "choose another --out" in fails(
        capsys, "evaluate", "--workdir", workdir, "--out", workdir / "config.json"
    )
