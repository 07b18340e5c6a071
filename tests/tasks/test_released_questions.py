"""The authors' released files, and malformed ones, whose rows are reported and never guessed."""

import json

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import released_questions

ROW = {"id": 1, "question": "Q?", "choices": ["a", "b"], "answer": "b"}


@pytest.mark.parametrize(
    "task,sizes",
    [
        ("obqa", (4957, 500, 500)),
        ("arc", (1117, 295, 1165)),
        ("piqa", (16113, 919, 919)),
        ("pubmedqa", (500, 100, 400)),
    ],
)
def test_real_files(released, task, sizes):
    splits = tasks.load(task, f"released:{released}")
    assert tuple(len(splits[split]) for split in tasks.SPLITS) == sizes
    assert all(
        not tasks.problem(question) for questions in splits.values() for question in questions
    )


def test_pubmedqa_question_is_split_from_its_context(released):
    for questions in tasks.load("pubmedqa", f"released:{released}").values():
        assert all(question.context and "\n" not in question.question for question in questions)
        assert all(question.question.endswith("?") for question in questions)


def test_malformed_rows_are_reported_by_index(tmp_path):
    rows = [
        ROW,
        {**ROW, "answer": "c"},
        {**ROW, "id": 2, "choices": None},
        "text",
        {"id": 3},
        ROW,
        {**ROW, "id": 4},
    ]
    file = tmp_path / "arc_train.json"
    file.write_text(json.dumps(rows))
    good, bad = released_questions.parse_rows(file, "arc", "train")
    assert [(index, question.id) for index, question in good] == [(0, "1"), (6, "4")]
    assert [index for index, _ in bad] == [1, 2, 3, 4, 5]
    assert "already used by row 0" in bad[-1][1]


def test_json_lines_with_a_broken_line(tmp_path):
    file = tmp_path / "arc_train.json"
    file.write_text(json.dumps(ROW) + "\n{broken\n" + json.dumps({**ROW, "id": 2}) + "\n")
    good, bad = released_questions.parse_rows(file, "arc", "train")
    assert [index for index, _ in good] == [0, 2] and [index for index, _ in bad] == [1]


def test_malformed_row_is_said_when_loading(tmp_path, capsys):
    (tmp_path / "arc").mkdir()
    (tmp_path / "arc" / "arc_train.json").write_text(
        json.dumps([ROW, {**ROW, "id": 2, "answer": "c"}])
    )
    assert len(tasks.load("arc", f"released:{tmp_path}")["train"]) == 1
    assert "arc_train.json: row 1 left out: the answer 'c'" in capsys.readouterr().err


@pytest.mark.parametrize("text", ['[{"id": 1', "[] x"])
def test_a_cut_file_is_an_error(tmp_path, text):
    file = tmp_path / "arc_train.json"
    file.write_text(text)
    with pytest.raises(UserError, match="not valid JSON"):
        released_questions.parse_rows(file, "arc", "train")


def test_an_empty_split_is_an_error(tmp_path):
    (tmp_path / "arc").mkdir()
    (tmp_path / "arc" / "arc_train.json").write_text("[]")
    with pytest.raises(UserError, match="no question in split train"):
        tasks.load("arc", f"released:{tmp_path}")
