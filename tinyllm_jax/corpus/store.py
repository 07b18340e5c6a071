"""The corpus on disk: a valid TFDS directory, written and read without TensorFlow.

    DIR/manifest.json                            ours, see `manifest.py`
    DIR/features.json, DIR/dataset_info.json     what `tfds.builder_from_directory(DIR)` reads
    DIR/tinyllm_TASK-SPLIT.tfrecord-00000-of-0000N

A corpus is written whole under a temporary name beside DIR and renamed: DIR is never half a corpus.
"""

import collections
import hashlib
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyllm_jax import errors
from tinyllm_jax.corpus import codec, tfrecord
from tinyllm_jax.corpus import manifest as manifests
from tinyllm_jax.corpus.manifest import Manifest, Shard
from tinyllm_jax.corpus.schema import TEACHER, Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import problem

SHARD_BYTES = 64 << 20  # a new shard is begun about every so many bytes
PROVENANCE = ("model", "revision", "prompt_hash", "sampling", "forced")


class Corpus:
    """A corpus opened for reading.

    Args:
      directory: where it lies.
      task: the task that its questions must be of; None takes any.

    Attributes:
      directory, task, teachers (names, in the order of the columns), splits (names), fingerprint,
      manifest.

    Raises:
      UserError: no such directory, not a corpus, a damaged manifest, or a corpus of another task.
    """

    def __init__(self, directory: str | os.PathLike, task: str | None = None):
        self.directory = Path(directory)
        self.manifest = manifests.load(self.directory)
        self.task = self.manifest.task
        self.teachers = tuple(self.manifest.teachers)
        self.splits = tuple(self.manifest.splits)
        self.fingerprint = self.manifest.fingerprint
        if task is not None and task != self.task:
            raise UserError(
                f"{directory} is a corpus of task '{self.task}', not of '{task}'; give the other --corpus, "
                f"or task={self.task}"
            )

    def rows(self, split: str) -> list[Row]:
        """All rows of a split, in their order; checks every checksum and every shard's length.

        Raises:
          UserError: an unknown split, or a missing, cut or damaged shard.
        """
        if split not in self.splits:
            raise errors.unknown(f"split of {self.directory}", split, self.splits)
        return [row for shard in self.manifest.splits[split] for row in self._read(shard, split)]

    def some_rows(self, split: str) -> list[Row]:
        """`rows`, of a split that must not be empty; raises `UserError` where it is."""
        rows = self.rows(split)
        if not rows:
            full = [name for name in self.splits if self.manifest.rows(name)]
            raise UserError(
                f"split '{split}' of {self.directory} is empty (not empty: {', '.join(full) or 'none'})"
            )
        return rows

    def _read(self, shard: Shard, split: str) -> list[Row]:
        path = self.directory / shard.name
        rows = []
        for payload in tfrecord.read_records(path):
            try:
                rows.append(codec.decode(payload, split, self.teachers))
            except ValueError as error:
                raise UserError(
                    f"damaged file {path}: record {len(rows)}: {error}; make the corpus again"
                ) from None
        if len(rows) != shard.records:
            raise UserError(
                f"damaged file {path}: {len(rows)} records where {shard.records} were written; "
                f"restore it from a copy or make the corpus again"
            )
        return rows


def write_corpus(
    out: str | os.PathLike,
    task: str,
    teachers: Sequence[str],
    rows: Mapping[str, Sequence[Row]],
    report: dict,
    source: str,
) -> Manifest:
    """Writes a corpus.

    Args:
      out: the directory to make; it may exist when it is empty.
      task: the task of every question.
      teachers: the columns; every rationale belongs to one of them.
      rows: each split's rows. Their order is kept; an empty split is kept as a name.
      report: what the import or build counted: JSON.
      source: where the rows come from, in a few words; no path, so that equal corpora are equal
        bytes.

    Returns:
      The manifest. The same arguments give the same bytes in every process.

    Raises:
      UserError: `out` is not empty or cannot be written, or a row is malformed. Nothing is left
        behind.
    """
    out = check_free(out)
    for split, split_rows in rows.items():
        _check_rows(task, teachers, split, split_rows)
    partial = out.parent / f".{out.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process that had our number
    try:
        partial.mkdir(parents=True)
        manifest = _write_files(partial, task, teachers, rows, report, source)
        os.rename(partial, out)
    except OSError as error:
        raise UserError(
            f"cannot write {out}: {error.strerror or error}; choose another --out or make room"
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return manifest


def check_free(out: str | os.PathLike) -> Path:
    """`out` as a path; raises `UserError` unless it is absent or an empty directory."""
    out = Path(os.path.abspath(out))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(
            f"{out} exists and is not an empty directory; delete it or choose another --out"
        )
    return out


def _check_rows(task: str, teachers: Sequence[str], split: str, rows: Sequence[Row]) -> None:
    for teacher in teachers:
        if not TEACHER.fullmatch(teacher):
            raise UserError(
                f"teacher name '{teacher}': use lower-case letters, digits and . _ - and begin with a letter "
                f"or digit"
            )
    seen = set()
    for row in rows:
        question = row.question
        wrong = problem(question)
        if not wrong and (question.task, question.split) != (task, split):
            wrong = f"it is of {question.task} {question.split}, not of {task} {split}"
        if not wrong and question.id in seen:
            wrong = "another question of the split has the same id"
        for teacher, rationale in row.rationales.items():
            if teacher not in teachers or rationale.teacher != teacher:
                wrong = wrong or f"its rationale of '{rationale.teacher}' has no column '{teacher}'"
        if wrong:
            raise UserError(f"{task} {split}: question '{question.id}': {wrong}")
        seen.add(question.id)


def _write_files(
    directory: Path,
    task: str,
    teachers: Sequence[str],
    rows: Mapping[str, Sequence[Row]],
    report: dict,
    source: str,
) -> Manifest:
    name = "tinyllm_" + re.sub(r"\W", "_", task)
    shards = {
        split: _write_split(
            directory, name, split, [codec.encode(row, teachers) for row in split_rows]
        )
        for split, split_rows in rows.items()
    }
    _write_tfds_info(directory, name, teachers, shards)
    manifest = Manifest(
        task=task,
        source=source,
        report=report,
        splits=shards,
        teachers={teacher: _provenance(teacher, rows) for teacher in teachers},
        files={
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(directory.glob("*.json"))
        },
        fingerprint=_fingerprint(rows),
    )
    _write(directory / manifests.NAME, manifests.to_bytes(manifest))
    return manifest


def _write_split(directory: Path, name: str, split: str, payloads: list[bytes]) -> list[Shard]:
    count = -(-sum(map(len, payloads)) // SHARD_BYTES)
    shards = []
    for index in range(count):
        part = payloads[index * len(payloads) // count : (index + 1) * len(payloads) // count]
        data = b"".join(map(tfrecord.frame, part))
        path = directory / f"{name}-{split}.tfrecord-{index:05d}-of-{count:05d}"
        _write(path, data)
        shards.append(Shard(path.name, len(part), len(data), hashlib.sha256(data).hexdigest()))
    return shards


def _write(path: Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _write_tfds_info(
    directory: Path, name: str, teachers: Sequence[str], splits: Mapping[str, list[Shard]]
) -> None:
    """features.json and dataset_info.json. `DatasetIdentity` because DIR need not be called NAME/VERSION."""
    from tensorflow_datasets.core import dataset_info, naming
    from tensorflow_datasets.core import splits as tfds_splits

    identity = dataset_info.DatasetIdentity(
        name=name, version="1.0.0", data_dir=str(directory), module_name=""
    )
    info = dataset_info.DatasetInfo(builder=identity, features=codec.features(teachers))
    info.set_file_format("tfrecord")
    frame = tfrecord.HEADER + tfrecord.FOOTER
    info.set_splits(
        tfds_splits.SplitDict(
            [
                tfds_splits.SplitInfo(
                    name=split,
                    shard_lengths=[shard.records for shard in shards],
                    num_bytes=sum(shard.bytes - frame * shard.records for shard in shards),
                    filename_template=naming.ShardedFileTemplate(
                        data_dir=directory,
                        dataset_name=name,
                        split=split,
                        filetype_suffix="tfrecord",
                    ),
                )
                for split, shards in splits.items()
                if shards
            ]
        )
    )
    info.write_to_directory(directory)


def _provenance(teacher: str, rows: Mapping[str, Sequence[Row]]) -> list[dict]:
    rationales = (
        row.rationales[teacher]
        for part in rows.values()
        for row in part
        if teacher in row.rationales
    )
    counts = collections.Counter(
        tuple(getattr(rationale, name) for name in PROVENANCE) for rationale in rationales
    )
    return [
        dict(zip(PROVENANCE, values)) | {"rows": count} for values, count in sorted(counts.items())
    ]


def _fingerprint(rows: Mapping[str, Sequence[Row]]) -> str:
    digest = hashlib.sha256()
    for split, split_rows in sorted(rows.items()):
        for row in split_rows:
            rationales = [
                (r.teacher, r.text, codec.single(r.weight))
                for _, r in sorted(row.rationales.items())
            ]
            question = [getattr(row.question, name) for name in codec.QUESTION_TEXTS]
            digest.update(json.dumps([split, question, row.question.choices, rationales]).encode())
    return digest.hexdigest()
