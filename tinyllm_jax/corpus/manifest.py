"""`manifest.json` says what a corpus holds, with the hash of every other file in its directory.

The file is the one canonical spelling of its content plus that content's own sha256, so that a
change of any byte, its white space included, is noticed. It holds no time, path or host: equal
corpora have equal manifests.
"""

import dataclasses
import hashlib
import json
import os
from typing import Any

from etils import epath

from tinyllm_jax.errors import UserError

MANIFEST = "manifest.json"
FORMAT = 3


@dataclasses.dataclass(frozen=True)
class Shard:
    """One TFRecord file: its name, number of records, size in bytes and sha256."""

    name: str
    records: int
    bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a corpus holds.

    Attributes:
      task: the task of its questions.
      source: where it comes from, in a few words.
      teachers: per teacher, in the order of the columns, each distinct provenance (model, revision,
        prompt_hash, sampling, forced) with its number of rows.
      splits: per split its shards; an empty split has none.
      files: sha256 of each other JSON file in the directory, by name.
      fingerprint: sha256 of questions, rationales and weights, in their order: what training sees.
      report: what the import or build counted and could not use.
    """

    task: str
    source: str
    teachers: dict[str, list[dict[str, Any]]]
    splits: dict[str, list[Shard]]
    files: dict[str, str]
    fingerprint: str
    report: dict[str, Any]

    def rows(self, split: str) -> int:
        """The number of rows in a split."""
        return sum(shard.records for shard in self.splits[split])


def manifest_bytes(manifest: Manifest) -> bytes:
    """The content of the manifest's file."""
    return _seal({"format": FORMAT} | dataclasses.asdict(manifest))


def _seal(content: dict[str, Any]) -> bytes:
    sha256 = hashlib.sha256(json.dumps(content, indent=1).encode()).hexdigest()
    return (json.dumps(content | {"sha256": sha256}, indent=1) + "\n").encode()


def load_manifest(directory: str | os.PathLike) -> Manifest:
    """Reads and checks the manifest of a corpus.

    Raises:
      UserError: there is no such directory, it is not a corpus or one of another version, or the
        manifest is damaged.
    """
    path = epath.Path(directory) / MANIFEST
    if not path.parent.is_dir():
        raise UserError(
            f"no corpus at {directory}: no such directory; make one with 'tinyllm corpus import' "
            f"or 'build'"
        )
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(
            f"{directory} is not a corpus: it has no {MANIFEST}; make one with 'tinyllm corpus "
            f"import' or 'build'"
        ) from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None
    content = _checked(path, data)
    if content.pop("format") != FORMAT:
        raise UserError(
            f"{path} is not of format {FORMAT}, which this program reads; make the corpus again"
        )
    shards = {
        split: [Shard(**shard) for shard in shards]
        for split, shards in content.pop("splits").items()
    }
    return Manifest(splits=shards, **content)


def _checked(path: epath.Path, data: bytes) -> dict[str, Any]:
    """The content of a file that is, byte for byte, what `_seal` makes of it."""
    try:
        content = json.loads(data)
        del content["sha256"]
        if _seal(content) == data:
            return content
    except (ValueError, TypeError, KeyError, RecursionError):
        pass
    raise UserError(
        f"damaged file {path}: its content does not match its own sha256; restore the corpus from "
        f"a copy or make it again"
    )
