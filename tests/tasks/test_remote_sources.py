"""Question files in an object store."""

import json

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError

ROW = {"id": "q1", "question": "Which?", "choices": ["a", "b"], "answer": "b"}


def test_released_files(bucket):
    with pytest.raises(UserError, match="gs://bucket/files/obqa/obqa_train.json does not exist"):
        tasks.load("obqa", "released:gs://bucket/files")
    (bucket / "files/obqa/obqa_train.json").write_text(json.dumps([ROW]))
    (question,) = tasks.load("obqa", "released:gs://bucket/files")["train"]
    assert question.id == "q1" and question.answer == "b"


def test_json_lines_in_a_directory_or_a_file(bucket):
    (bucket / "mine/test.jsonl").write_text(json.dumps(ROW) + "\n")
    (question,) = tasks.load("custom", "jsonl:gs://bucket/mine")["test"]
    assert question.choices == ("a", "b")
    assert list(tasks.load("custom", "jsonl:gs://bucket/mine/test.jsonl")) == ["train"]
    with pytest.raises(UserError, match="cannot read gs://bucket/absent.jsonl"):
        tasks.load("custom", "jsonl:gs://bucket/absent.jsonl")


def test_bioasq_s_official_json(bucket):
    row = {"id": "1", "type": "yesno", "body": "Is it?", "exact_answer": "yes"}
    (bucket / "bioasq.json").write_text(json.dumps({"questions": [row]}))
    (question,) = tasks.load("bioasq", "json:gs://bucket/bioasq.json")["train"]
    assert question.answer == "yes"
