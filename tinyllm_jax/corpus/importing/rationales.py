"""Reads files of rationales of any origin: one teacher's rationales, without their provenance.

A file is a JSON list (`.json`), JSON lines (`.json`, `.jsonl`) or Parquet (`.parquet`). A directory
of such files is read too, and a Hugging Face dataset, by its name on the hub (`user/name`, or
`user/name:split` for one of its splits) or as a directory that `save_to_disk` wrote.

A row's fields say which of these forms it has; other fields are not looked at:

    {"instruction": "Q: The sun is responsible for Answer choices: A: puppies …, B: …",
     "output": "Sunlight makes plants grow. The answer is D"}
    {"id": "7-980", "rationale": "Sunlight makes plants grow."}
    {"question": "The sun is responsible for", "choices": ["puppies learning new tricks", …],
     "rationale": "Sunlight makes plants grow."}

The choices may also be OpenBookQA's {"text": […], "label": […]}. A row of the last two forms may
name its `split`; one of the last may have an `id`, which matters only where several questions have
its text and choices. Whether a row belongs to a question is not decided here (see
`joining/rationale_files.py`).
"""

import dataclasses
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

from etils import epath

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import sources
from tinyllm_jax.tasks.question import SPLITS

SUFFIXES = (".json", ".jsonl", ".parquet")
FORMS = (
    "{instruction, output}, {id, rationale} or {question, choices, rationale}, with the choices in "
    "the instruction's text"
)
_HUB_NAME = re.compile(r"([\w.-]+/[\w.-]+)(?::([\w.-]+))?")
_SAVED_DATASET = ("dataset_dict.json", "state.json")  # `save_to_disk` writes one of them

Numbered = Iterator[tuple[str, Any]]  # ("row 3", the row), counted from 1


@dataclasses.dataclass(frozen=True)
class FileRow:
    """One row, taken apart; what its form does not have is "" or None.

    Attributes:
      where: "row 3"; of several files "b.jsonl row 3". Rows count from 1, those of JSON lines by
        their lines.
      rationale: the rationale, with the answer that it may end in.
      instruction: a text in which question and choices stand.
      id: the question's id.
      question, choices: the question's text and choices.
      split: the question's split.
      wrong: why the row cannot be used; "" when it can.
    """

    where: str
    rationale: str
    instruction: str = ""
    id: str = ""
    question: str = ""
    choices: tuple[str, ...] = ()
    split: str = ""
    wrong: str = ""

    @property
    def about(self) -> str:
        """What the row says of its question, for a listing."""
        return self.instruction or self.question or self.id


@dataclasses.dataclass(frozen=True)
class RationaleFile:
    """A file of rationales.

    Attributes:
      name: its name without the directory; of a dataset on the hub the whole name.
      sha256: the hash of the file's bytes; of a directory or dataset that of its rows as JSON.
      rows: its rows in their order.
    """

    name: str
    sha256: str
    rows: list[FileRow]


def read_rationales(file: str | os.PathLike) -> RationaleFile:
    """Reads a file, a directory or a dataset of rationales.

    Args:
      file: its path, local or of an object store, or the dataset's name on the Hugging Face hub.

    Raises:
      UserError: there is no such file or dataset, it cannot be read, or a row has none of the forms
        above; the message names the file and the row or line.
    """
    path = epath.Path(file).expanduser()
    hub = _HUB_NAME.fullmatch(os.fspath(file))
    if path.is_dir():
        numbered = list(_directory_rows(path))
    elif path.suffix in SUFFIXES:
        data = _read_bytes(path)
        numbered = list(_file_rows(path, data))
        return _taken_apart(file, path.name, hashlib.sha256(data).hexdigest(), numbered)
    elif path.exists():
        raise UserError(
            f"{file}: a file of rationales ends in {', '.join(SUFFIXES)}; convert it to one of them"
        )
    elif hub:
        numbered = list(_hub_rows(hub[1], hub[2]))
    else:
        raise UserError(
            f"no such file or directory: {file}; give a file of rationales "
            f"({', '.join(SUFFIXES)}), a directory of them, or a dataset's name on the hub"
        )
    as_json = json.dumps([row for _, row in numbered], sort_keys=True, default=repr)
    name = os.fspath(file) if not path.is_dir() else path.name
    return _taken_apart(file, name, hashlib.sha256(as_json.encode()).hexdigest(), numbered)


def _taken_apart(
    file: str | os.PathLike, name: str, sha256: str, numbered: Iterable[tuple[str, Any]]
) -> RationaleFile:
    name = name.encode(errors="replace").decode()  # a file's name need not be valid Unicode
    return RationaleFile(name, sha256, [_take_apart(file, where, row) for where, row in numbered])


def _directory_rows(path: epath.Path) -> Numbered:
    """The rows of a dataset that `save_to_disk` wrote, or of all files of a directory."""
    if any((path / name).exists() for name in _SAVED_DATASET):
        yield from _saved_rows(path)
        return
    files = sorted(file for file in path.iterdir() if file.suffix in SUFFIXES)
    if not files:
        raise UserError(
            f"{path} holds no file of rationales ({', '.join(SUFFIXES)}) and no dataset of "
            f"save_to_disk; give the directory that does"
        )
    for file in files:
        for where, row in _file_rows(file, _read_bytes(file)):
            yield f"{file.name} {where}", row


def _saved_rows(path: epath.Path) -> Numbered:
    """The rows of a dataset that `save_to_disk` wrote, of all its splits."""
    import datasets

    saved = sources.loaded(
        f"dataset {path}",
        lambda: datasets.load_from_disk(os.fspath(path)),
        "write it with save_to_disk again, or give a Parquet file",
    )
    if not isinstance(saved, datasets.DatasetDict):
        yield from _numbered(saved)
        return
    for split, rows in saved.items():
        for where, row in _numbered(rows):
            yield f"{split} {where}", row


def _hub_rows(name: str, split: str | None) -> Numbered:
    """The rows of a dataset on the Hugging Face hub: of one split, or of all."""
    import datasets

    splits = sources.loaded(
        f"dataset {name}",
        lambda: datasets.load_dataset(name, split=split),
        "there is no file of this name either; give a file, or a dataset of the hub as "
        "user/name or user/name:split",
    )
    if split:
        yield from _numbered(splits)
        return
    for other, rows in splits.items():
        for where, row in _numbered(rows):
            yield f"{other} {where}", row


def _numbered(rows: Iterable[Any]) -> Numbered:
    for number, row in enumerate(rows, start=1):
        yield f"row {number}", row


def _read_bytes(path: epath.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UserError(
            f"cannot read {path}: {error.strerror or error}; give a file of rationales"
        ) from None


def _file_rows(path: epath.Path, data: bytes) -> Numbered:
    """The rows of a Parquet file, a JSON list or JSON lines."""
    if path.suffix == ".parquet":
        yield from _numbered(_parquet_rows(path, data))
        return
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 ({error}); convert it") from None
    if not text.lstrip().startswith("["):
        yield from _json_lines(path, text)
        return
    try:
        rows = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not a valid JSON list ({error}); fetch it again") from None
    yield from _numbered(rows)


def _parquet_rows(path: epath.Path, data: bytes) -> list[dict]:
    import pyarrow
    from pyarrow import parquet

    try:
        return parquet.read_table(pyarrow.BufferReader(data)).to_pylist()
    except (pyarrow.ArrowException, OSError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise UserError(f"{path} is not readable as Parquet ({reason}); fetch it again") from None


def _json_lines(path: epath.Path, text: str) -> Numbered:
    # Not `splitlines`: JSON strings may hold other line separators than "\n".
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            try:
                yield f"row {number}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise UserError(
                    f"{path}, line {number}: not JSON ({error}); a file is a JSON list, or has one "
                    f"JSON object in each line"
                ) from None


def _take_apart(file: str | os.PathLike, where: str, row: Any) -> FileRow:
    """The row by its form; raises `UserError` where it has none."""
    if not isinstance(row, dict):
        raise UserError(
            f"{file}, {where}: not an object with fields but {str(row)[:40]!r}; the forms that are "
            f"read are {FORMS}"
        )
    if {"instruction", "output"} <= row.keys():
        found = FileRow(where, _text(row["output"]), instruction=_text(row["instruction"]))
        wrong = _wrong_text("instruction", row["instruction"])
        wrong = wrong or _wrong_text("output", row["output"])
    elif {"question", "choices", "rationale"} <= row.keys():
        choices = _choices(row["choices"])
        found = FileRow(
            where,
            _text(row["rationale"]),
            id=_id(row.get("id")),
            question=_text(row["question"]),
            choices=choices,
        )
        wrong = _wrong_text("question", row["question"])
        wrong = wrong or ("" if choices else "its choices are not a list of texts")
        wrong = wrong or _wrong_text("rationale", row["rationale"])
    elif {"id", "rationale"} <= row.keys():
        found = FileRow(where, _text(row["rationale"]), id=_id(row["id"]))
        wrong = "" if found.id else "its id is not a text or number"
        wrong = wrong or _wrong_text("rationale", row["rationale"])
    else:
        fields = ", ".join(repr(str(name)[:40]) for name in list(row)[:10]) or "none"
        raise UserError(
            f"{file}, {where}: its fields are {fields}; the forms that are read are {FORMS}"
        )
    split = row.get("split") if not found.instruction else None
    if split is not None and split not in SPLITS:
        wrong = wrong or f"its split is none of {', '.join(SPLITS)}"
    return dataclasses.replace(found, split=_text(split), wrong=wrong)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _id(value: Any) -> str:
    """A question's id, which may be a number; "" for any other value."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _text(value)


def _wrong_text(name: str, value: Any) -> str:
    """Why the value of a field is no usable text; "" when it is one."""
    if not isinstance(value, str):
        return f"its {name} is not a text"
    if not value.strip():
        return f"its {name} is empty"
    if re.search("[\ud800-\udfff]", value):
        return f"its {name} is not valid Unicode: half of a surrogate pair"
    return ""


def _choices(value: Any) -> tuple[str, ...]:
    """The choices in a list or in OpenBookQA's {"text": […], "label": […]}; none otherwise."""
    if isinstance(value, dict):
        value = value.get("text")
    if not isinstance(value, list) or not all(isinstance(choice, str) for choice in value):
        return ()
    return tuple(value)
