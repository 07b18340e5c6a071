"""Paths that a user names: local, or in an object store such as gs://BUCKET/NAME.

Everything that opens a user's path goes through `etils.epath`, which knows gs://, s3://, az:// and
hf://. It reads and writes them through fsspec's packages (gcsfs, s3fs, adlfs), or through
TensorFlow where that is installed.
"""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from etils import epath

from tinyllm_jax.errors import UserError


def is_local(path: str | os.PathLike) -> bool:
    """Whether a path lies in this machine's file system, not in an object store."""
    return "://" not in os.fspath(path)


def path(given: str | os.PathLike) -> epath.Path:
    """The path that a user gave.

    Raises:
      UserError: nothing here can open such an address, because it is of an unknown kind or because
        the package for it is absent.
    """
    if isinstance(given, epath.Path) or is_local(given):
        return epath.Path(given)
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
    return path(os.path.abspath(given) if is_local(given) else given)


def write(path: str | os.PathLike, text: str) -> None:
    """Writes a file whole or not at all, so that nobody ever reads half of it.

    A local file is written under another name and then renamed. An object store cannot rename, but
    shows nothing of an object before it has been sent to its end.
    """
    final = epath.Path(path)
    if is_local(path):
        part = final.with_name(final.name + ".part")
        part.write_bytes(text.encode())
        part.replace(final)
    else:
        final.write_bytes(text.encode())


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
