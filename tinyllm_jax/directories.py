"""Directories that appear whole or not at all: a killed command leaves no half of one."""

import contextlib
import os
from collections.abc import Iterator

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError


@contextlib.contextmanager
def whole(out: str | os.PathLike, overwrite: bool = False) -> Iterator[epath.Path]:
    """Yields an empty directory to fill, which is then renamed to `out`.

    An object store renames file by file; whoever reads `out` meanwhile finds a file missing.

    Args:
      out: a local path or one of an object store, free as in `require_free`.
      overwrite: whether a directory at `out` is replaced, once the new one is whole.

    Raises:
      UserError: `out` is not free or cannot be written. Whatever is raised inside, nothing is left
        behind.
    """
    path = storage.absolute(out) if overwrite else require_free(out)
    partial = path.parent / f".{path.name}.partial-{os.getpid()}"
    replaced = path.parent / f".{path.name}.replaced-{os.getpid()}"
    _remove(partial)  # a killed process that had our number may have left it
    _remove(replaced)
    try:
        partial.mkdir(parents=True)
        yield partial
        if overwrite and path.exists():
            _rename(path, replaced)
        _rename(partial, path)
        _remove(replaced)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose another --out or make room"
        ) from None
    finally:
        _remove(partial)


def require_free(out: str | os.PathLike) -> epath.Path:
    """The absolute path of a directory that may be written: none is there, or an empty one.

    Raises:
      UserError: something is there that is not an empty directory.
    """
    path = storage.absolute(out)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            f"{path} exists and is not an empty directory; delete it or choose another --out"
        )
    return path


def _rename(source: epath.Path, out: epath.Path) -> None:
    """Renames a directory to a name that is free or that of an empty directory."""
    if storage.is_local(out):
        os.rename(source, out)  # replaces an empty directory, and nothing else, in one step
    else:
        if out.exists():
            out.rmdir()
        source.rename(out)


def _remove(directory: epath.Path) -> None:
    """Removes a directory of ours and all in it, where there is one."""
    with contextlib.suppress(OSError):
        directory.rmtree()
