"""Paths that a user names: local, or in an object store such as gs://BUCKET/NAME.

Everything that opens a user's path goes through `etils.epath`, which knows gs://, s3://, az:// and
hf://. It reads and writes them through fsspec's packages (gcsfs, s3fs, adlfs), or through
TensorFlow where that is installed.
"""

import contextlib
import errno
import json
import os
import tempfile
import uuid
from collections.abc import Iterator, Sequence

from etils import epath

from tinyllm_jax.errors import UserError

# What the system says of a disk that takes nothing more.
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def is_local(path: str | os.PathLike) -> bool:
    """Whether a path lies in this machine's file system, not in an object store."""
    return "://" not in os.fspath(path)


def path(given: str | os.PathLike) -> epath.Path:
    """The path that a user gave; "~" is the home directory.

    Raises:
      UserError: nothing here can open such an address, because it is of an unknown kind or because
        the package for it is absent; or it holds a NUL.
    """
    if isinstance(given, epath.Path):
        return given
    if "\0" in os.fspath(given):
        raise UserError(f"a path cannot hold a NUL character: {os.fspath(given)!r}")
    if is_local(given):
        return epath.Path(os.path.expanduser(given))
    try:
        found = epath.Path(given)
        found.exists()  # the first question to the store needs the package
    except KeyError:
        raise UserError(
            f"cannot open {given}: give a local path or one of gs://, s3://, az:// and hf://"
        ) from None
    except Exception as error:  # the stores' packages raise errors of their own
        raise UserError(f"cannot open {given}: {' '.join(str(error).split())[:200]}") from None
    return found


def absolute(given: str | os.PathLike) -> epath.Path:
    """A path that means the same in every working directory.

    Raises:
      UserError: as `path` does.
    """
    return path(os.path.abspath(os.path.expanduser(given)) if is_local(given) else given)


def write(path: str | os.PathLike, text: str) -> None:
    """Writes a file whole or not at all, so that nobody ever reads half of it.

    A local file is written under another name and then renamed. An object store cannot rename, but
    shows nothing of an object before it has been sent to its end.
    """
    final = epath.Path(path)
    if is_local(path):
        part = final.with_name(final.name + ".part")
        try:
            part.write_bytes(text.encode())
            part.replace(final)
        except OSError as error:
            with contextlib.suppress(OSError):
                part.unlink()
            error.filename = os.fspath(final)  # a full disk does not name what it was to hold
            raise
    else:
        final.write_bytes(text.encode())


def require_writable(given: str | os.PathLike, mend: str) -> epath.Path:
    """Checks that a file can be written where the user wants it, before it is made.

    Directories that are missing on the way to it are made. Of an object store nothing is asked: it
    has no directories, and is reached by `path` already.

    Args:
      given: the file, which may exist.
      mend: what the user can do where it cannot be written.

    Returns:
      The file's absolute path.

    Raises:
      UserError: it cannot be written.
    """
    file = absolute(given)
    if not is_local(file):
        return file
    probe = file.with_name(f".{uuid.uuid4().hex}.probe")
    try:
        if file.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        file.parent.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        raise UserError(f"cannot write {given}: {error.strerror or error}; {mend}") from None
    return file


def read_json(path: str | os.PathLike, mend: str, fields: Sequence[str] = ()) -> dict:
    """What a JSON file of ours holds.

    Args:
      path: the file.
      mend: what the user can do where the file is damaged.
      fields: those that it must have.

    Raises:
      UserError: it is absent, cannot be read, is no JSON, or holds something else.
    """
    try:
        found = json.loads(epath.Path(path).read_bytes())
    except OSError as error:
        raise UserError(f"cannot read {path}: {error.strerror or error}; {mend}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"damaged file {path}: it is not JSON ({error}); {mend}") from None
    if not isinstance(found, dict):
        raise UserError(f"damaged file {path}: it holds no JSON object; {mend}")
    for field in fields:
        if field not in found:
            raise UserError(f"damaged file {path}: it has no '{field}'; {mend}")
    return found


def copy_files(source: str | os.PathLike, directory: str | os.PathLike) -> None:
    """Copies the files of one directory, without those inside it, into another, which is made."""
    target = epath.Path(directory)
    target.mkdir(parents=True, exist_ok=True)
    for file in epath.Path(source).iterdir():
        if not file.is_dir():
            (target / file.name).write_bytes(file.read_bytes())


@contextlib.contextmanager
def local_copy(directory: str | os.PathLike) -> Iterator[str]:
    """A local directory with the files of `directory`, for libraries that open local files alone.

    It is `directory` itself where that is local, and is removed at the end of the block otherwise.
    """
    if is_local(directory):
        yield os.fspath(directory)
        return
    with tempfile.TemporaryDirectory() as folder:
        copy_files(directory, folder)
        yield folder
