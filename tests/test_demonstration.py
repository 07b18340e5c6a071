"""The demonstration in small, by its own commands and config."""

import os
import pathlib
import subprocess
import sys

from tinyllm_jax.evaluation import results
from tinyllm_jax.training import metrics

REPO = pathlib.Path(__file__).resolve().parents[1]
CONFIG = f"{REPO}/configs/quickstart.py"
# 100 things instead of 500, and a fifth of the questions that the quickstart's students see.
SOURCE = "train=200,validation=40,test=300,seed=20"
SMALL = ["--config.batch_size=16", "--config.steps=200", "--config.checkpoint.every=50"]


def tinyllm(*words: str | pathlib.Path) -> str:
    one_device = os.environ | {"XLA_FLAGS": "", "PYTHONPATH": str(REPO)}
    done = subprocess.run(
        [sys.executable, "-m", "tinyllm_jax", *map(str, words)],
        env=one_device,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_both_teachers_beat_answers_only(tmp_path):
    logs, corpus = tmp_path / "logs", tmp_path / "corpus"
    tinyllm(
        "teach",
        "--task",
        "things",
        "--source",
        SOURCE,
        "--splits",
        "train,validation",
        "--out",
        logs,
    )
    tinyllm(
        "corpus", "build", "--task", "things", "--source", SOURCE, "--log", logs, "--out", corpus
    )
    students = {}
    for teachers in ("none", "material+shape"):
        students[teachers] = tmp_path / teachers
        tinyllm(
            "train",
            "--config",
            f"{CONFIG}:teachers={teachers}",
            *SMALL,
            "--corpus",
            corpus,
            "--workdir",
            students[teachers],
        )
    page = tmp_path / "page.html"
    tinyllm(
        "evaluate",
        "--split",
        "test",
        "--report",
        page,
        *(f"--workdir={name}={path}" for name, path in students.items()),
    )

    # On new questions about known things.
    found = {}
    for name, workdir in students.items():
        (folder,) = workdir.glob("evaluation/test-*")
        found[name] = results.read(folder)
    test = found["material+shape"].against(found["none"], "likelihood")
    assert test.n == 300 and test.points > 12 and test.p < 0.001, test

    # The reason: what teachers know is learned, on questions that they were asked and the student
    # was not.
    rows = [
        row
        for row in metrics.read(students["material+shape"] / "metrics.jsonl")
        if "validation_terms" in row
    ]
    for teacher in ("material", "shape"):
        first, *_, last = (row["validation_terms"][teacher] for row in rows)
        assert last < first / 2
    text = page.read_text()
    assert (
        "Loss of material on validation questions" in text and "The gap is one of learning" in text
    )
