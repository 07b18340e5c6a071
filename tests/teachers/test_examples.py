"""The hand-written in-context examples.

They are real training questions of no other split, with rationales that have no fault.
"""

import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.corpus.judging.answers import stated_answer
from tinyllm_jax.corpus.judging.plain import normalize
from tinyllm_jax.teachers import prompts

REPO = Path(__file__).resolve().parents[2]
COUNTS = {"obqa": 6, "arc": 6, "piqa": 6, "pubmedqa": 4}
LETTER = re.compile(r"\([a-z]\)|\b(?:option|choice) [a-z]\b|the answer is", re.IGNORECASE)


@pytest.fixture(scope="module", params=COUNTS)
def splits(request, released) -> tuple[str, dict[str, list[tasks.Question]]]:
    """A task and its released questions."""
    return request.param, tasks.load(request.param, f"released:{released}")


def examples_of(splits) -> list[prompts.Example]:
    task, questions = splits
    return prompts.read_examples("", task, questions["train"])


def test_every_task_with_a_file_is_tested():
    assert {file.stem for file in (prompts.HERE / "examples").iterdir()} == set(COUNTS)


@pytest.mark.parametrize("task", COUNTS)
def test_files_hold_one_plain_paragraph_an_example(task):
    lines = (prompts.HERE / "examples" / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    assert len(rows) == COUNTS[task] == len({normalize(row["question"]) for row in rows})
    for row in rows:
        text = row["rationale"]
        assert set(row) == {"question", "rationale"}
        assert text == " ".join(text.split()) and text.endswith(".")
        assert 30 <= len(text.split()) <= 70
        assert 2 <= len(re.findall(r"\.(?: [A-Z]|$)", text)) <= 4
        assert not LETTER.search(text)


def test_questions_are_of_the_training_split_alone(splits):
    task, questions = splits
    texts = {
        split: [normalize(question.question) for question in part]
        for split, part in questions.items()
    }
    examples = examples_of(splits)
    assert len({example.question.key for example in examples}) == COUNTS[task]
    for example in examples:
        assert example.question.split == "train"
        text = normalize(example.question.question)
        assert texts["train"].count(text) == 1
        assert text not in texts["validation"] + texts["test"]


def test_gold_answers_vary(splits):
    questions = [example.question for example in examples_of(splits)]
    assert len({question.gold for question in questions}) >= min(3, len(questions[0].choices))


def test_rationales_have_no_flag_and_do_not_begin_with_the_answer(splits):
    for example in examples_of(splits):
        assert quality.flags_of(example.rationale, example.question, "stop") == ()
        assert stated_answer(example.rationale, example.question) is None
        answer = normalize(example.question.answer).rstrip(".")
        assert not re.match(re.escape(answer) + r"\b", normalize(example.rationale))


def test_unforced_prompt_states_every_gold_answer(splits):
    template = prompts.read_template("", forced=False)
    question, *_ = splits[1]["test"]
    for example in examples_of(splits):
        shown = template.render(question, [example]).text
        stated = re.search(re.escape(example.rationale) + r" (.*)", shown)[1]
        assert stated_answer(stated, example.question) == example.question.gold


def test_wheel_ships_them(tmp_path):
    pytest.importorskip("setuptools", "77")
    source = tmp_path / "source"
    shutil.copytree(
        REPO / "tinyllm_jax", source / "tinyllm_jax", ignore=shutil.ignore_patterns("__pycache__")
    )
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(REPO / name, source)
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"
    subprocess.run(
        [sys.executable, "-c", build], cwd=source, check=True, capture_output=True, timeout=120
    )
    [wheel] = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        shipped = set(archive.namelist())
    files = [
        file.relative_to(REPO).as_posix()
        for folder in ("examples", "templates")
        for file in (REPO / "tinyllm_jax" / "teachers" / folder).iterdir()
        if file.is_file()
    ]
    assert len(files) > len(COUNTS) and set(files) <= shipped
