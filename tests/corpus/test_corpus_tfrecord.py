"""Framing, and damage of every kind at every place."""

import pytest

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.errors import UserError

PAYLOADS = [b"first", b"", b"\x00" * 7, "längst".encode() * 9]
ENDS = [21, 37, 60, 139]  # by hand: 16 bytes around each payload


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "a.tfrecord"
    with path.open("wb") as file:
        for payload in PAYLOADS:
            tfrecord.write_record(file, payload)
    return path


def test_known_bytes():
    """The bytes that TensorFlow 2.21 wrote for the record b"abc"."""
    assert tfrecord.frame(b"abc").hex() == "0300000000000000b099490e6162636e57f121"


def test_round_trip(path):
    assert list(tfrecord.read_records(path)) == PAYLOADS
    assert path.stat().st_size == ENDS[-1]
    assert tfrecord.scan(path) == (ENDS[-1], 4)


def test_every_flipped_bit_is_noticed(path):
    data = path.read_bytes()
    for offset in range(len(data)):
        damaged = bytearray(data)
        damaged[offset] ^= 1 << offset % 8
        path.write_bytes(damaged)
        record = sum(offset >= end for end in ENDS)
        with pytest.raises(
            UserError, match=f"{path}: record {record} at byte {[0, *ENDS][record]}: "
        ):
            list(tfrecord.read_records(path))


def test_every_cut_inside_a_record_is_noticed_and_is_a_torn_tail(path):
    data = path.read_bytes()
    for size in range(len(data)):
        path.write_bytes(data[:size])
        whole = sum(size >= end for end in ENDS)
        assert tfrecord.scan(path) == ([0, *ENDS][whole], whole)
        if size in [0, *ENDS]:
            assert (
                len(list(tfrecord.read_records(path))) == whole
            )  # the limit of the format: see the module docstring
        else:
            with pytest.raises(UserError, match="the file ends inside"):
                list(tfrecord.read_records(path))


def test_scan_takes_zeros_after_a_power_cut_for_a_torn_tail(path):
    path.write_bytes(path.read_bytes() + b"\0" * 4096)
    assert tfrecord.scan(path) == (ENDS[-1], 4)
    with pytest.raises(UserError):
        list(tfrecord.read_records(path))


@pytest.mark.parametrize(
    "offset, tail", [(0, False), (9, False), (14, False), (18, False), (ENDS[2] + 20, True)]
)
def test_scan_cuts_only_the_last_record(path, offset, tail):
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)
    if tail:
        assert tfrecord.scan(path) == (ENDS[2], 3)
    else:
        with pytest.raises(UserError, match="record 0 at byte 0"):
            tfrecord.scan(path)


def test_a_huge_length_asks_for_no_memory(path):
    """A header that is sound but promises more than the file holds."""
    header = (1 << 60).to_bytes(8, "little")
    path.write_bytes(header + tfrecord._crc(header) + b"short")
    assert tfrecord.scan(path) == (0, 0)


@pytest.mark.parametrize("read", [tfrecord.scan, lambda path: list(tfrecord.read_records(path))])
def test_unreadable(tmp_path, read):
    with pytest.raises(UserError, match="cannot read .*absent: No such file"):
        read(tmp_path / "absent")
    with pytest.raises(UserError, match="cannot read"):
        read(tmp_path)
