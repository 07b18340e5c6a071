"""A corpus as Parquet files with a card: what `datasets.load_dataset(DIR)` and the hub read.

    DIR/README.md                                  the card; its YAML says which file is which split
    DIR/data/SPLIT-00000-of-00001.parquet          one file a split

A question's rationales are one list, with an entry for each teacher that wrote one. So a teacher's
name is a value and may have any letter that a name can have, a missing rationale is a missing
entry, and all corpora have the same schema whoever their teachers are.
"""

import collections
import dataclasses
import io
import os
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from etils import epath

import tinyllm_jax
from tinyllm_jax import cards, directories
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError


def export(directory: str | os.PathLike, out: str | os.PathLike) -> dict[str, int]:
    """Writes a corpus as Parquet files with a dataset card.

    Args:
      directory: the corpus.
      out: the directory to make; it may exist when it is empty.

    Returns:
      The number of rows of each split that was written. A split without rows is left out, because
      `datasets` cannot read an empty file.

    Raises:
      UserError: the directory is no corpus, a damaged one, or one without a row; or `out` is not
        free.
    """
    corpus = Corpus(directory)
    directories.require_free(out)
    rows = {split: corpus.rows(split) for split in corpus.splits if corpus.manifest.rows(split)}
    if not rows:
        raise UserError(f"{directory} has no row in any split: there is nothing to export")
    with directories.whole(out) as partial:
        (partial / "data").mkdir()
        for split, split_rows in rows.items():
            path = partial / "data" / f"{split}-00000-of-00001.parquet"
            path.write_bytes(parquet_bytes(split_rows))
        _write_card(partial, corpus, rows)
    return {split: len(split_rows) for split, split_rows in rows.items()}


def parquet_bytes(rows: Sequence[Row]) -> bytes:
    """Rows as the content of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet

    file = io.BytesIO()
    records = [_record(row) for row in rows]
    pyarrow.parquet.write_table(pa.Table.from_pylist(records, schema=_schema()), file)
    return file.getvalue()


def _schema():
    """The Arrow schema of every export."""
    import pyarrow as pa

    text, texts = pa.string(), pa.list_(pa.string())
    kinds = {str: text, bool: pa.bool_(), int: pa.int64(), float: pa.float32()}
    kinds |= {tuple[str, ...]: texts, tuple[float, ...]: pa.list_(pa.float32())}
    rationale = {name: kinds[kind] for name, kind in typing.get_type_hints(Rationale).items()}
    order = ["teacher", *(name for name in rationale if name != "teacher")]
    return pa.schema(
        {
            "id": text,
            "task": text,
            "context": text,
            "question": text,
            "choices": texts,
            "answer": text,
            "answer_index": pa.int64(),
            "rationales": pa.list_(pa.struct([(name, rationale[name]) for name in order])),
        }
    )


def _record(row: Row) -> dict[str, Any]:
    """A row as the fields of `_schema`."""
    question = row.question
    return {
        "id": question.id,
        "task": question.task,
        "context": question.context,
        "question": question.question,
        "choices": question.choices,
        "answer": question.answer,
        "answer_index": question.gold,
        "rationales": [dataclasses.asdict(rationale) for rationale in row.rationales.values()],
    }


def _write_card(directory: epath.Path, corpus: Corpus, rows: Mapping[str, Sequence[Row]]) -> None:
    """Writes the dataset card."""
    files = [{"split": split, "path": f"data/{split}-*.parquet"} for split in rows]
    wrote = {split: _rationales_by_teacher(split_rows) for split, split_rows in rows.items()}
    models = {
        teacher: sorted({provenance["model"] or "not known" for provenance in provenances})
        for teacher, provenances in corpus.manifest.teachers.items()
    }
    cards.write(
        directory,
        "dataset_card.md",
        {
            "pretty_name": f"{corpus.task} with rationales",
            "task_categories": ["multiple-choice"],
            "tags": ["tinyllm", "rationales", corpus.task],
            "configs": [{"config_name": "default", "data_files": files}],
        },
        task=corpus.task,
        source=corpus.manifest.source,
        fingerprint=corpus.fingerprint,
        version=tinyllm_jax.__version__,
        teachers=corpus.teachers,
        models=models,
        questions={split: len(split_rows) for split, split_rows in rows.items()},
        wrote=wrote,
        empty=[split for split in corpus.splits if split not in rows],
    )


def _rationales_by_teacher(rows: Sequence[Row]) -> collections.Counter[str]:
    """How many rationales each teacher wrote."""
    return collections.Counter(teacher for row in rows for teacher in row.rationales)
