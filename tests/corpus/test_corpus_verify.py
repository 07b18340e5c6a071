"""`verify` notices a change of any byte of any file, and names the file."""

import shutil

import pytest

from tinyllm_jax.corpus import manifest
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.corpus.verify import verify
from tinyllm_jax.errors import UserError


def test_a_sound_corpus(corpus_dir):
    assert verify(corpus_dir) == Corpus(corpus_dir).manifest


def test_a_flip_anywhere(corpus_dir):
    for path in sorted(corpus_dir.iterdir()):
        data = path.read_bytes()
        for offset in {*range(0, len(data), 37), *range(30), *range(len(data) - 30, len(data))}:
            damaged = bytearray(data)
            damaged[offset] ^= 1 << offset % 8
            path.write_bytes(damaged)
            with pytest.raises(UserError, match=path.name):
                verify(corpus_dir)
        path.write_bytes(data)
    verify(corpus_dir)


def test_a_cut_anywhere(corpus_dir):
    for path in sorted(corpus_dir.iterdir()):
        data = path.read_bytes()
        for size in {*range(0, len(data), 101), *range(20), *range(len(data) - 20, len(data))}:
            path.write_bytes(data[:size])
            with pytest.raises(UserError, match=path.name):
                verify(corpus_dir)
        path.write_bytes(data)


def _shard(corpus_dir, index):
    return corpus_dir / Corpus(corpus_dir).manifest.splits["train"][index].name


def _first_record(path):
    data = path.read_bytes()
    end = 16 + int.from_bytes(data[:8], "little")
    return data[:end], data[end:]


@pytest.mark.parametrize(
    "change", [lambda first, rest: rest, lambda first, rest: first + first + rest]
)
def test_a_record_too_few_or_too_many(corpus_dir, change):
    """Every checksum holds: only the number of records tells, to a reader as to `verify`."""
    path = _shard(corpus_dir, 1)
    path.write_bytes(change(*_first_record(path)))
    for check in (verify, lambda directory: Corpus(directory).rows("train")):
        with pytest.raises(UserError, match=f"{path.name}: . records where 8 were written"):
            check(corpus_dir)


def test_records_in_another_order(corpus_dir):
    path = _shard(corpus_dir, 1)
    first, rest = _first_record(path)
    path.write_bytes(rest + first)
    with pytest.raises(UserError, match=f"{path.name}: its sha256"):
        verify(corpus_dir)


def test_a_missing_shard(corpus_dir):
    path = _shard(corpus_dir, 2)
    path.unlink()
    for check in (verify, lambda directory: Corpus(directory).rows("train")):
        with pytest.raises(UserError, match=path.name):
            check(corpus_dir)


def test_an_extra_shard(corpus_dir):
    shutil.copy(_shard(corpus_dir, 0), corpus_dir / "tinyllm_obqa-test.tfrecord-00000-of-00001")
    with pytest.raises(
        UserError, match="tinyllm_obqa-test.tfrecord-00000-of-00001 is not part of the corpus"
    ):
        verify(corpus_dir)


def test_a_flipped_payload_is_located(corpus_dir):
    path = _shard(corpus_dir, 0)
    first, rest = _first_record(path)
    path.write_bytes(first + rest[:40] + bytes([rest[40] ^ 4]) + rest[41:])
    with pytest.raises(
        UserError,
        match=f"{path.name}: record 1 at byte {len(first)}: its payload fails the checksum",
    ):
        verify(corpus_dir)


@pytest.mark.parametrize("name", ["features.json", "dataset_info.json", manifest.MANIFEST])
def test_a_missing_json_file(corpus_dir, name):
    (corpus_dir / name).unlink()
    with pytest.raises(UserError, match=name):
        verify(corpus_dir)


def test_white_space_in_the_manifest_counts(corpus_dir):
    path = corpus_dir / manifest.MANIFEST
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(UserError, match=manifest.MANIFEST):
        Corpus(corpus_dir)


def test_a_manifest_of_another_format(corpus_dir, monkeypatch):
    monkeypatch.setattr(manifest, "FORMAT", 4)
    with pytest.raises(UserError, match="is not of format 4"):
        Corpus(corpus_dir)
