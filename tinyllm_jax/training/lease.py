"""A lease: who writes into a workdir where flock does not exist, as in an object store.

It is a JSON file that names its holder. A thread of the holder renews it; a lease that was not
renewed for `LAPSES` seconds is that of a run that died, and the next run takes it over.
"""

import contextlib
import json
import os
import socket
import sys
import threading
import time
import uuid
from collections.abc import Iterator

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError

RENEWED = 60  # seconds between two renewals
LAPSES = 300  # seconds after which a lease that was not renewed is void
SETTLES = 1  # seconds in which two runs that begin at once both write; the later one has the lease


@contextlib.contextmanager
def hold(path: epath.Path) -> Iterator[None]:
    """Holds the lease at `path` until the end of the block.

    Raises:
      UserError: another run holds it, or it cannot be written.
    """
    me = {"owner": uuid.uuid4().hex, "host": socket.gethostname(), "process": os.getpid()}
    try:
        _require_free(path, me)
        _renew(path, me)
        time.sleep(SETTLES)
        _require_free(path, me)
    except UserError:
        raise
    except Exception as error:  # the stores' packages raise errors of their own
        raise UserError(
            f"cannot write the workdir {path.parent}: {' '.join(str(error).split())[:200]}; "
            "choose another --workdir"
        ) from None
    ended = threading.Event()
    thread = threading.Thread(target=_keep, args=(path, me, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        with contextlib.suppress(Exception):  # where it cannot be deleted, it lapses
            if _is_mine(_read(path), me):
                path.unlink()


def _keep(path: epath.Path, me: dict, ended: threading.Event) -> None:
    """Renews the lease until the run has ended, or until another run has taken the lease over."""
    while not ended.wait(RENEWED):
        with contextlib.suppress(Exception):  # the store does not answer: try again in a minute
            found = _read(path)
            if found and not _is_mine(found, me):
                print(
                    f"\nthe workdir {path.parent} was taken over by process {found['process']} on "
                    f"{found['host']}, as this run could not renew its lease: stop one of the two",
                    file=sys.stderr,
                )
                return
            _renew(path, me)


def _require_free(path: epath.Path, me: dict) -> None:
    """Raises a `UserError` where the lease at `path` is held by another run than `me`."""
    found = _read(path)
    if found and not _is_mine(found, me) and time.time() < found["time"] + LAPSES:
        lapses = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found["time"] + LAPSES))
        raise UserError(
            f"the workdir {path.parent} is in use by another run (process {found['process']} on "
            f"{found['host']}); wait for it to end, or choose another --workdir; if it was killed, "
            f"its lease lapses at {lapses}"
        )


def _renew(path: epath.Path, me: dict) -> None:
    storage.write(path, json.dumps(me | {"time": time.time()}) + "\n")


def _read(path: epath.Path) -> dict | None:
    """What the lease says; None where there is none, or nothing that a run wrote."""
    try:
        found = json.loads(path.read_bytes())
        whole = found.keys() == {"owner", "host", "process", "time"}
        return found if whole and isinstance(found["time"], int | float) else None
    except (FileNotFoundError, ValueError, AttributeError):
        return None


def _is_mine(found: dict | None, me: dict) -> bool:
    return found is not None and found["owner"] == me["owner"]
