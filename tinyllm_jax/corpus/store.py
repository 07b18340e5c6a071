"""The corpus on disk: a valid TFDS directory, written and read without TensorFlow.

    DIR/manifest.json                            ours, see `manifest.py`
    DIR/features.json, DIR/dataset_info.json     what `tfds.builder_from_directory(DIR)` reads
    DIR/tinyllm_TASK-SPLIT.tfrecord-00000-of-0000N

DIR may be a local path or one of an object store, such as gs://BUCKET/NAME. A corpus is written
whole under a temporary name beside DIR and then renamed, so that DIR is never half a corpus. An
object store renames file by file; whoever reads DIR meanwhile gets an error about a missing file.
"""

import collections
import hashlib
import itertools
import json
import math
import os
import re
from collections.abc import Mapping, Sequence

from etils import epath

from tinyllm_jax import directories, errors, storage
from tinyllm_jax.corpus import codec, tfrecord
from tinyllm_jax.corpus.manifest import MANIFEST, Manifest, Shard, load_manifest, manifest_bytes
from tinyllm_jax.corpus.schema import Row, check_teacher
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import problem

SHARD_BYTES = 64 << 20  # a new shard is begun about every so many bytes
PROVENANCE = ("model", "revision", "prompt_hash", "sampling", "forced")  # fields of `Rationale`


class Corpus:
    """A corpus opened for reading.

    Args:
      directory: where it lies.
      task: the task that its questions must be of; None takes any.

    Attributes:
      directory: where it lies.
      manifest: its manifest.
      task: the task of its questions.
      teachers: the teachers' names, in the order of the columns.
      splits: the names of its splits.
      fingerprint: a hash of what training sees; see `Manifest`.

    Raises:
      UserError: no such directory, not a corpus, a damaged manifest, or a corpus of another task.
    """

    def __init__(self, directory: str | os.PathLike, task: str | None = None):
        self.directory = storage.path(directory)
        self.manifest = load_manifest(self.directory)
        self.task = self.manifest.task
        self.teachers = tuple(self.manifest.teachers)
        self.splits = tuple(self.manifest.splits)
        self.fingerprint = self.manifest.fingerprint
        if task is not None and task != self.task:
            raise UserError(
                f"{directory} is a corpus of task '{self.task}', not of '{task}'; give the other "
                f"--corpus, or task={self.task}"
            )

    def rows(self, split: str) -> list[Row]:
        """All rows of a split, in their order.

        Every checksum and the length of every shard are checked.

        Raises:
          UserError: an unknown split, or a missing, cut or damaged shard.
        """
        if split not in self.splits:
            raise errors.unknown(f"split of {self.directory}", split, self.splits)
        return [
            row for shard in self.manifest.splits[split] for row in self._read_shard(shard, split)
        ]

    def nonempty_rows(self, split: str) -> list[Row]:
        """All rows of a split that must not be empty.

        Raises:
          UserError: as `rows` does, or the split is empty.
        """
        rows = self.rows(split)
        if not rows:
            others = [name for name in self.splits if self.manifest.rows(name)]
            raise UserError(
                f"split '{split}' of {self.directory} is empty "
                f"(not empty: {', '.join(others) or 'none'})"
            )
        return rows

    def _read_shard(self, shard: Shard, split: str) -> list[Row]:
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
    overwrite: bool = False,
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
      overwrite: whether a corpus of the task at `out` is replaced.

    Returns:
      The manifest. The same arguments give the same bytes in every process.

    Raises:
      UserError: `out` is not empty or cannot be written, or a row is malformed. Nothing is left
        behind.
    """
    overwrite = require_writable(out, task, overwrite)
    for split, split_rows in rows.items():
        _check_rows(task, teachers, split, split_rows)
    with directories.whole(out, overwrite) as partial:
        return _write_files(partial, task, teachers, rows, report, source)


def write_with_train(
    out: str | os.PathLike, corpus: Corpus, train: Sequence[Row], report: dict, made: str
) -> Manifest:
    """Writes a corpus that differs from another one in its training rows alone.

    Args:
      out: the directory to make.
      corpus: the other corpus; its other splits are copied.
      train: the training rows.
      report: how they were made, as JSON; it is added to the corpus's own report.
      made: the same in a few words, which are added to the source.

    Raises:
      UserError: as `write_corpus`.
    """
    rows = {split: corpus.rows(split) for split in corpus.splits} | {"train": train}
    source = f"{corpus.manifest.source}, {made}"
    report = corpus.manifest.report | report | {"made from": corpus.fingerprint}
    return write_corpus(out, corpus.task, corpus.teachers, rows, report, source)


def require_writable(out: str | os.PathLike, task: str, overwrite: bool) -> bool:
    """Whether there is a corpus at `out` that is to be replaced; otherwise nothing is there.

    Raises:
      UserError: something else is there, or a corpus that may not be replaced.
    """
    if not (storage.path(out) / MANIFEST).exists():
        directories.require_free(out)
        return False
    if not overwrite:
        names = (f"{os.fspath(out).rstrip('/')}-{number}" for number in itertools.count(2))
        free = next(name for name in names if not storage.path(name).exists())
        raise UserError(
            f"{out} exists and is not an empty directory: it is a corpus; choose another --out, "
            f"e.g. {free}, or replace it where the command has --overwrite"
        )
    Corpus(out, task)  # of another task, it is not replaced
    return True


def _check_rows(task: str, teachers: Sequence[str], split: str, rows: Sequence[Row]) -> None:
    """Raises `UserError` unless `write_corpus` can write the rows of one split as they are."""
    for teacher in teachers:
        check_teacher(teacher)
    seen: set[str] = set()
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
    directory: epath.Path,
    task: str,
    teachers: Sequence[str],
    rows: Mapping[str, Sequence[Row]],
    report: dict,
    source: str,
) -> Manifest:
    name = "tinyllm_" + re.sub(r"\W", "_", task)
    shards = {}
    for split, split_rows in rows.items():
        payloads = [codec.encode(row, teachers) for row in split_rows]
        shards[split] = _write_split(directory, name, split, payloads)
    _write_tfds_info(directory, name, teachers, shards)
    manifest = Manifest(
        task=task,
        source=source,
        report=report,
        splits=shards,
        teachers={teacher: _provenance(teacher, rows) for teacher in teachers},
        files={
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(directory.iterdir())
            if path.suffix == ".json"
        },
        fingerprint=_fingerprint(rows),
    )
    _write(directory / MANIFEST, manifest_bytes(manifest))
    return manifest


def _write_split(
    directory: epath.Path, name: str, split: str, payloads: list[bytes]
) -> list[Shard]:
    """Writes one split as so many shards as `SHARD_BYTES` asks for, of equal numbers of rows."""
    count = math.ceil(sum(map(len, payloads)) / SHARD_BYTES)
    shards = []
    for index in range(count):
        part = payloads[index * len(payloads) // count : (index + 1) * len(payloads) // count]
        data = b"".join(map(tfrecord.frame, part))
        path = directory / f"{name}-{split}.tfrecord-{index:05d}-of-{count:05d}"
        _write(path, data)
        shards.append(Shard(path.name, len(part), len(data), hashlib.sha256(data).hexdigest()))
    return shards


def _write(path: epath.Path, data: bytes) -> None:
    with path.open("wb") as file:
        file.write(data)
        if storage.is_local(path):
            file.flush()
            os.fsync(file.fileno())


def _write_tfds_info(
    directory: epath.Path, name: str, teachers: Sequence[str], splits: Mapping[str, list[Shard]]
) -> None:
    """Writes features.json and dataset_info.json, which TFDS reads."""
    from tensorflow_datasets.core import dataset_info, naming
    from tensorflow_datasets.core import splits as tfds_splits

    # An identity in place of a dataset builder, which would want DIR to be called NAME/VERSION.
    identity = dataset_info.DatasetIdentity(
        name=name, version="1.0.0", data_dir=str(directory), module_name=""
    )
    info = dataset_info.DatasetInfo(builder=identity, features=codec.features(teachers))
    info.set_file_format("tfrecord")
    frame = tfrecord.HEADER + tfrecord.FOOTER
    split_infos = []
    for split, shards in splits.items():
        if not shards:
            continue  # TFDS knows no empty split
        template = naming.ShardedFileTemplate(
            data_dir=directory, dataset_name=name, split=split, filetype_suffix="tfrecord"
        )
        split_infos.append(
            tfds_splits.SplitInfo(
                name=split,
                shard_lengths=[shard.records for shard in shards],
                num_bytes=sum(shard.bytes - frame * shard.records for shard in shards),
                filename_template=template,
            )
        )
    info.set_splits(tfds_splits.SplitDict(split_infos))
    info.write_to_directory(directory)


def _provenance(teacher: str, rows: Mapping[str, Sequence[Row]]) -> list[dict]:
    """Each distinct provenance of a teacher's rationales, with its number of rows."""
    counts: collections.Counter[tuple] = collections.Counter()
    for split_rows in rows.values():
        for row in split_rows:
            if teacher in row.rationales:
                rationale = row.rationales[teacher]
                counts[tuple(getattr(rationale, name) for name in PROVENANCE)] += 1
    return [
        dict(zip(PROVENANCE, values, strict=True)) | {"rows": count}
        for values, count in sorted(counts.items())
    ]


def _fingerprint(rows: Mapping[str, Sequence[Row]]) -> str:
    digest = hashlib.sha256()
    for split, split_rows in sorted(rows.items()):
        for row in split_rows:
            rationales = [
                (rationale.teacher, rationale.text, codec.single(rationale.weight))
                for _, rationale in sorted(row.rationales.items())
            ]
            question = [getattr(row.question, name) for name in codec.QUESTION_TEXTS]
            digest.update(json.dumps([split, question, row.question.choices, rationales]).encode())
    return digest.hexdigest()
