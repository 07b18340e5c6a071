"""Checks every byte of a corpus on disk."""

import hashlib
import json
import os

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.manifest import Manifest, Shard, load_manifest
from tinyllm_jax.errors import UserError

MEND = "restore it from a copy or make the corpus again"


def verify(directory: str | os.PathLike) -> Manifest:
    """Checks the manifest, the other JSON files and every shard of a corpus.

    Of a shard the checksum of each record, the number of records and the sha256 are checked.

    Returns:
      The manifest of a sound corpus.

    Raises:
      UserError: names the first file that is missing, damaged or not part of the corpus.
    """
    root = storage.path(directory)
    manifest = load_manifest(root)
    for name, sha256 in manifest.files.items():
        if hashlib.sha256(_read(root / name)).hexdigest() != sha256:
            raise UserError(f"damaged file {root / name}: its sha256 is not the manifest's; {MEND}")
    shards = [shard for shards in manifest.splits.values() for shard in shards]
    for shard in shards:
        _verify_shard(root / shard.name, shard)
    _verify_lengths(root / "dataset_info.json", manifest)
    found = {path.name for path in root.iterdir() if ".tfrecord-" in path.name}
    extra = found - {shard.name for shard in shards}
    if extra:
        raise UserError(
            f"{root / min(extra)} is not part of the corpus; remove it or make the corpus again"
        )
    return manifest


def _read(path: epath.Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"missing file {path}; {MEND}") from None
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; {MEND}") from None


def _verify_shard(path: epath.Path, shard: Shard) -> None:
    """Checks one shard."""
    data = _read(path)
    # The records first: their checksums say where the damage is, which a sha256 cannot.
    records = sum(1 for _ in tfrecord.read_records(path))
    if records != shard.records:
        raise UserError(
            f"damaged file {path}: {records} records where {shard.records} were written; {MEND}"
        )
    if len(data) != shard.bytes or hashlib.sha256(data).hexdigest() != shard.sha256:
        raise UserError(f"damaged file {path}: its sha256 is not the manifest's; {MEND}")


def _verify_lengths(path: epath.Path, manifest: Manifest) -> None:
    """Checks that the shard lengths that TFDS reads are those of the manifest."""
    info = json.loads(_read(path))
    tfds_lengths = {
        split["name"]: [int(length) for length in split["shardLengths"]]
        for split in info.get("splits", [])
    }
    our_lengths = {
        split: [shard.records for shard in shards]
        for split, shards in manifest.splits.items()
        if shards
    }
    if tfds_lengths != our_lengths:
        raise UserError(
            f"damaged file {path}: its shard lengths {tfds_lengths} are not the manifest's "
            f"{our_lengths}; {MEND}"
        )
