"""Files of rationales of any origin: what is read, each form of a row, and what is refused."""

import hashlib
import json
import re

import datasets
import pyarrow
import pytest
from etils import epath
from pyarrow import parquet

from tinyllm_jax.corpus.importing.rationales import FileRow, read_rationales
from tinyllm_jax.errors import UserError

INSTRUCTED = {"instruction": "Q: Is it? A: yes, B: no", "output": "It is. The answer is A"}
OF_ID = {"id": "7-980", "rationale": "It is.", "split": "test"}
OF_CONTENT = {"question": "Is it?", "choices": ["yes", "no"], "rationale": "It is.", "id": 7}
ROWS = [INSTRUCTED, OF_ID, OF_CONTENT]
READ = [
    FileRow("row 1", "It is. The answer is A", instruction="Q: Is it? A: yes, B: no"),
    FileRow("row 2", "It is.", id="7-980", split="test"),
    FileRow("row 3", "It is.", id="7", question="Is it?", choices=("yes", "no")),
]


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def lines(rows):
    return "\n".join(map(json.dumps, rows)) + "\n"


def read_one(tmp_path, row):
    (read,) = read_rationales(write(tmp_path / "one.json", json.dumps([row]))).rows
    return read


@pytest.mark.parametrize("name", ["all.json", "all.jsonl"])
@pytest.mark.parametrize(
    "content", [json.dumps(ROWS, indent=1), lines(ROWS), "\ufeff" + lines(ROWS)]
)
def test_json(tmp_path, name, content):
    file = write(tmp_path / name, content)
    read = read_rationales(file)
    assert (read.name, read.rows) == (name, READ)
    assert read.sha256 == hashlib.sha256(file.read_bytes()).hexdigest()


def test_rows_of_json_lines_are_numbered_by_their_lines(tmp_path):
    file = write(
        tmp_path / "all.jsonl", "\n" + json.dumps({**OF_ID, "rationale": "a\u2028b"}) + "\n"
    )
    assert [row.where for row in read_rationales(file).rows] == ["row 2"]


def test_parquet(tmp_path):
    rows = [{**OF_CONTENT, "id": "7"}, {**OF_CONTENT, "id": None, "choices": None}]
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "all.parquet")
    first, second = read_rationales(tmp_path / "all.parquet").rows
    assert (first.id, first.choices, first.wrong) == ("7", ("yes", "no"), "")
    assert second.wrong == "its choices are not a list of texts"


def test_a_directory_of_files(tmp_path):
    write(tmp_path / "b.jsonl", lines(ROWS[1:]))
    write(tmp_path / "a.json", json.dumps(ROWS[:1]))
    write(tmp_path / "README.md", "not of rationales")
    read = read_rationales(tmp_path)
    assert [row.where for row in read.rows] == ["a.json row 1", "b.jsonl row 1", "b.jsonl row 2"]
    assert read.name == tmp_path.name and read.sha256 == read_rationales(tmp_path).sha256


def test_a_saved_dataset(tmp_path):
    saved = datasets.Dataset.from_list([INSTRUCTED])
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=saved, extra=saved).save_to_disk(tmp_path / "two")
    assert read_rationales(tmp_path / "one").rows == READ[:1]
    several = read_rationales(tmp_path / "two").rows
    assert [row.where for row in several] == ["train row 1", "extra row 1"]


def test_a_dataset_of_the_hub(monkeypatch):
    asked = []

    def load_dataset(name, split):
        asked.append((name, split))
        rows = datasets.Dataset.from_list([OF_ID])
        return rows if split else {"train": rows}

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    whole, one = read_rationales("user/my.set"), read_rationales("user/my.set:train")
    assert asked == [("user/my.set", None), ("user/my.set", "train")]
    assert [read.rows[0].where for read in (whole, one)] == ["train row 1", "row 1"]
    assert (whole.name, one.name) == ("user/my.set", "user/my.set:train")


def test_a_dataset_that_does_not_load(monkeypatch):
    def load_dataset(name, split):
        raise ConnectionError("no network\nand more")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(
        UserError, match="cannot load dataset user/name: no network; there is no fi"
    ):
        read_rationales("user/name")


def test_choices_as_on_the_hub(tmp_path):
    row = read_one(
        tmp_path, {**OF_CONTENT, "choices": {"text": ["yes", "no"], "label": ["A", "B"]}}
    )
    assert row.choices == ("yes", "no")


@pytest.mark.parametrize(
    "row, wrong",
    [
        ({**OF_ID, "rationale": None}, "its rationale is not a text"),
        ({**OF_ID, "rationale": 3}, "its rationale is not a text"),
        ({**OF_ID, "rationale": " \n"}, "its rationale is empty"),
        ({**OF_ID, "rationale": "a\ud800"}, "its rationale is not valid Unicode: .*"),
        ({**OF_ID, "id": None}, "its id is not a text or number"),
        ({**OF_ID, "id": True}, "its id is not a text or number"),
        ({**OF_ID, "split": "dev"}, "its split is none of train, validation, test"),
        ({**OF_ID, "split": ["test"]}, "its split is none of train, validation, test"),
        ({**OF_CONTENT, "question": 4}, "its question is not a text"),
        ({**OF_CONTENT, "choices": "yes or no"}, "its choices are not a list of texts"),
        ({**OF_CONTENT, "choices": ["yes", 0]}, "its choices are not a list of texts"),
        ({**OF_CONTENT, "choices": {"label": ["A"]}}, "its choices are not a list of texts"),
        ({**INSTRUCTED, "instruction": ""}, "its instruction is empty"),
        ({**INSTRUCTED, "output": ""}, "its output is empty"),
        ({**OF_ID, "split": None, "score": 0.5}, ""),  # no split, and a field of another use
    ],
)
def test_strange_values_are_told_and_not_refused(tmp_path, row, wrong):
    assert re.fullmatch(wrong, read_one(tmp_path, row).wrong)


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("a.json", '[{"id": 1}, 2', r"a\.json is not a valid JSON list \(.*line 1 column 14"),
        (
            "a.jsonl",
            lines([OF_ID]) + "\n{oops\n",
            r"a\.jsonl, line 3: not JSON .*JSON list, or has",
        ),
        ("a.json", "[" * 100_000, "not a valid JSON list"),
        ("a.jsonl", lines([OF_ID, ["x"]]), r"a\.jsonl, row 2: not an object .*'x'.* forms"),
        (
            "a.json",
            '[{"id": 1, "text\\u001b": 2}]',
            r"row 1: its fields are 'id', 'text\\x1b'; the f",
        ),
        (
            "a.json",
            "[{}]",
            r"row 1: its fields are none; the forms that are read are \{instruction,",
        ),
        ("a.json", '{"data": []}', "row 1: its fields are 'data'"),
        (
            "a.csv",
            "id,rationale",
            r"a\.csv: a file of rationales ends in \.json, \.jsonl, \.parquet",
        ),
        ("a.parquet", "PAR1", r"a\.parquet is not readable as Parquet \("),
    ],
)
def test_what_is_refused(tmp_path, name, content, message):
    with pytest.raises(UserError, match=message) as error:
        read_rationales(write(tmp_path / name, content))
    assert str(error.value).isprintable()


def test_what_is_not_there(tmp_path):
    with pytest.raises(UserError, match=r"cannot read .*absent\.json: No such file"):
        read_rationales(tmp_path / "absent.json")
    with pytest.raises(UserError, match="no such file or directory: .*absent; give"):
        read_rationales(tmp_path / "absent")
    with pytest.raises(UserError, match="holds no file of rationales"):
        read_rationales(tmp_path)
    (tmp_path / "latin.json").write_bytes(b'["\xe9"]')
    with pytest.raises(UserError, match=r"latin\.json is not UTF-8"):
        read_rationales(tmp_path / "latin.json")


def test_a_path_of_epath(tmp_path):
    file = epath.Path(write(tmp_path / "all.json", json.dumps(ROWS)))
    assert read_rationales(file).rows == READ
