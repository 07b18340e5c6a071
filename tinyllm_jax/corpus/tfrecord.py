"""TFRecord files without TensorFlow: framing, and reading with every checksum checked.

A record is `length (uint64) | crc(length) | payload | crc(payload)`, little-endian, each crc a
masked CRC-32C; a file is records end to end. Source: `tensorflow/core/lib/io/record_writer.h`.
Corpora and rationale logs both use it.

A file that was cut exactly between two records looks whole here, so a reader must know how many
records to expect.
"""

import os
import struct
from collections.abc import Iterator
from typing import IO, Any

import google_crc32c
from etils import epath

from tinyllm_jax.errors import UserError

HEADER, FOOTER = 12, 4  # bytes before and after a payload


class _DamageError(Exception):
    """A record that is not whole.

    Attributes:
      torn: whether the file ends inside the record, as it does after an interrupted append.
    """

    def __init__(self, record: int, offset: int, what: str, torn: bool):
        super().__init__(f"record {record} at byte {offset}: {what}")
        self.torn = torn


def _crc(data: bytes) -> bytes:
    crc = google_crc32c.value(data)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def frame(payload: bytes) -> bytes:
    """The bytes that one record takes in a file."""
    length = struct.pack("<Q", len(payload))
    return b"".join((length, _crc(length), payload, _crc(payload)))


def write_record(file: IO[bytes], payload: bytes) -> None:
    """Appends one record to an open binary file, in one `write`."""
    file.write(frame(payload))


def read_records(path: str | os.PathLike) -> Iterator[bytes]:
    """The payloads of a file, in order.

    Raises:
      UserError: the file cannot be read, or a record is cut or fails one of its two checksums; the
        message names the file, the record's index and its byte offset. Records before the damage
        have been yielded by then.
    """
    try:
        for _, payload in _walk(path):
            yield payload
    except _DamageError as damage:
        raise UserError(
            f"damaged file {path}: {damage}; restore it from a copy or make it again"
        ) from None


def scan(path: str | os.PathLike) -> tuple[int, int]:
    """Where the whole records of an append-only file end.

    Returns:
      (byte offset just after the last whole record, number of whole records). Bytes after the
      offset are the torn tail of an interrupted append and may be cut off.

    Raises:
      UserError: the file cannot be read, or a record that is not the last is damaged: cutting there
        would lose others.
    """
    whole_end = count = 0
    try:
        for end, _ in _walk(path):
            whole_end = end
            count += 1
    except _DamageError as damage:
        if not damage.torn:
            raise UserError(
                f"damaged file {path}: {damage}; restore it from a copy, or cut the file there "
                f"to lose that record and all after it"
            ) from None
    return whole_end, count


def size(path: str | os.PathLike) -> int:
    """The number of bytes in a file.

    Raises:
      UserError: the file cannot be read.
    """
    try:
        with epath.Path(path).open("rb") as file:
            return _size(file)
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _walk(path: str | os.PathLike) -> Iterator[tuple[int, bytes]]:
    """Yields (offset just after the record, payload) for each record of a file.

    Raises:
      _DamageError: at the first record that is not whole.
      UserError: the file cannot be read.
    """
    try:
        with epath.Path(path).open("rb") as file:
            yield from _walk_open(file, _size(file))
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}") from None


def _size(file: IO[Any]) -> int:
    """The size of an open file in bytes; reading then begins at the start of the file."""
    # Not `epath.Path.stat`: on a local path that fails for a user without a passwd entry.
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    return size


def _walk_open(file: IO[Any], size: int) -> Iterator[tuple[int, bytes]]:
    start = record = 0
    while start < size:
        header = file.read(HEADER)
        if len(header) < HEADER:
            raise _DamageError(record, start, "the file ends inside its length", torn=True)
        if _crc(header[:8]) != header[8:]:
            # After a power cut a file may be longer than what reached the disk; the rest then reads
            # as zeros.
            zeros = not any(header) and not any(file.read())
            raise _DamageError(record, start, "its length fails the checksum", torn=zeros)
        length = struct.unpack_from("<Q", header)[0]
        end = start + HEADER + length + FOOTER
        if end > size:  # before reading: the length could ask for more memory than there is
            raise _DamageError(record, start, "the file ends inside it", torn=True)
        body = file.read(length + FOOTER)
        payload = body[:length]
        if _crc(payload) != body[length:]:
            raise _DamageError(record, start, "its payload fails the checksum", torn=end == size)
        yield end, payload
        start, record = end, record + 1
