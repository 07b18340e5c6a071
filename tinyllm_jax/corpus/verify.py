"""Checks every byte of a corpus on disk."""

import hashlib
import json
import os
from pathlib import Path

from tinyllm_jax.corpus import manifest as manifests
from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.manifest import Manifest, Shard
from tinyllm_jax.errors import UserError


def verify(directory: str | os.PathLike) -> Manifest:
    """Checks the manifest, the other JSON files, and of every shard each checksum, its length and its sha256.

    Returns:
      The manifest of a sound corpus.

    Raises:
      UserError: names the first file that is missing, damaged or not part of the corpus.
    """
    directory = Path(directory)
    manifest = manifests.load(directory)
    for name, sha256 in manifest.files.items():
        if hashlib.sha256(_read(directory / name)).hexdigest() != sha256:
            raise UserError(
                f"damaged file {directory / name}: its sha256 is not the manifest's; {MEND}"
            )
    shards = [shard for shards in manifest.splits.values() for shard in shards]
    for shard in shards:
        _verify_shard(directory / shard.name, shard)
    _verify_lengths(directory / "dataset_info.json", manifest)
    extra = {path.name for path in directory.glob("*.tfrecord-*")} - {
        shard.name for shard in shards
    }
    if extra:
        raise UserError(
            f"{directory / min(extra)} is not part of the corpus; remove it or make the corpus again"
        )
    return manifest


MEND = "restore it from a copy or make the corpus again"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"missing file {path}; {MEND}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror}; {MEND}") from None


def _verify_shard(path: Path, shard: Shard) -> None:
    """Records first: their checksums say where the damage is, which a sha256 cannot."""
    data = _read(path)
    records = sum(1 for _ in tfrecord.read_records(path))
    if records != shard.records:
        raise UserError(
            f"damaged file {path}: {records} records where {shard.records} were written; {MEND}"
        )
    if len(data) != shard.bytes or hashlib.sha256(data).hexdigest() != shard.sha256:
        raise UserError(f"damaged file {path}: its sha256 is not the manifest's; {MEND}")


def _verify_lengths(path: Path, manifest: Manifest) -> None:
    """The shard lengths that TFDS reads are those that were written."""
    info = json.loads(_read(path))
    told = {
        split["name"]: [int(length) for length in split["shardLengths"]]
        for split in info.get("splits", [])
    }
    held = {
        split: [shard.records for shard in shards]
        for split, shards in manifest.splits.items()
        if shards
    }
    if told != held:
        raise UserError(
            f"damaged file {path}: its shard lengths {told} are not the manifest's {held}; {MEND}"
        )
