"""Orbax checkpoints: written asynchronously, the last k and the best kept, every file hashed.

Orbax restores a file with a flipped byte without a word. So each committed step gets a manifest of
our own, `sha256.json`, which is checked before the step is restored. The target of a restore is
always a tree of shapes with this process's shardings, so a checkpoint can be restored on any mesh.
"""

import contextlib
import hashlib
import json
import operator
import os
import re
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError

MANIFEST = "sha256.json"
METRIC = "accuracy"
READ_AT_ONCE = ("_CHECKPOINT_METADATA", "metrics")  # what Orbax reads of every step, unchecked


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      root: the directory of the checkpoints.
      keep: how many of the last to keep; the best on validation is kept besides. None: read only.

    Raises:
      UserError: Orbax cannot write there, or a checkpoint's metrics are damaged.
    """

    def __init__(self, root: str | os.PathLike, keep: int | None = None):
        self.root = storage.absolute(root)
        if not storage.is_local(self.root) and not str(self.root).startswith("gs://"):
            raise UserError(
                f"cannot keep checkpoints in {self.root}: Orbax writes to local paths and to gs:// "
                "alone; choose another --workdir"
            )
        self._sealing = threading.Lock()
        for folder in _committed(self.root):
            with contextlib.suppress(FileNotFoundError):  # deleted meanwhile by the run
                verify(folder, READ_AT_ONCE)
        accuracy = operator.itemgetter(METRIC)
        if keep is None:
            options = ocp.CheckpointManagerOptions(read_only=True, best_fn=accuracy)
        else:
            best = policies.BestN(
                get_metric_fn=accuracy, n=1, keep_checkpoints_without_metrics=False
            )
            options = ocp.CheckpointManagerOptions(
                preservation_policy=policies.AnyPreservationPolicy([policies.LatestN(keep), best]),
                best_fn=accuracy,
                cleanup_tmp_directories=True,
                async_options=ocp.AsyncOptions(post_finalization_callback=self._seal),
            )
        try:
            self.manager = ocp.CheckpointManager(self.root, options=options)
        except ImportError as e:  # only gs:// needs more than Orbax asks for
            raise UserError(
                f"cannot keep checkpoints in {self.root}: {e}; pip install 'tinyllm_jax[gcs]'"
            ) from None
        if keep is not None:
            self._seal()  # a step that was committed when the process was killed

    def steps(self) -> list[int]:
        """The committed steps, in ascending order."""
        return sorted(self.manager.all_steps())

    def latest(self) -> int | None:
        """The last committed step."""
        return self.manager.latest_step()

    @property
    def best(self) -> tuple[int | None, float | None]:
        """The step of the best validation accuracy, the latest of equals, and that accuracy."""
        step = self.manager.best_step()
        if step is None:
            return None, None
        return step, self.manager.metrics(step)[METRIC]

    def save(self, step: int, state: dict, metrics: dict | None = None) -> None:
        """Starts saving, and returns before the state is on disk.

        Args:
          step: the step that the state is of.
          state: its "params" and "opt_state" are saved.
          metrics: {METRIC: the validation accuracy}; a step without it is never the best.

        Raises:
          UserError: this step, or the one before, cannot be written.
        """
        args = ocp.args.Composite(
            params=ocp.args.StandardSave(state["params"]),
            opt_state=ocp.args.StandardSave(state["opt_state"]),
        )
        with self._saving():
            self.manager.wait_until_finished()
            self._require_room(state)
            self.manager.save(step, args=args, metrics=metrics, force=True)

    def restore(self, step: int, abstract: dict) -> dict:
        """What was saved at a step.

        Args:
          step: one of `steps`.
          abstract: what to restore: "params", and "opt_state" to go on training, each a tree of
            `jax.ShapeDtypeStruct` with shardings.

        Returns:
          The same as arrays.

        Raises:
          UserError: there is no such step, a file of it is damaged, or it holds another
            architecture.
        """
        if step not in self.steps():
            raise UserError(
                f"{self.root} has no checkpoint of step {step}; it has {self.steps() or 'none'}"
            )
        verify(self.root / str(step))
        args = ocp.args.Composite(
            **{name: ocp.args.StandardRestore(tree) for name, tree in abstract.items()}
        )
        try:
            return dict(self.manager.restore(step, args=args))
        except (ValueError, KeyError) as e:
            reason = str(e).strip().splitlines()[0][:200]
            raise UserError(
                f"{self.root / str(step)} does not fit this student or optimizer: {reason}"
            ) from e

    def wait(self) -> None:
        """Waits until everything is on disk.

        Raises:
          UserError: it cannot be written.
        """
        with self._saving():
            self.manager.wait_until_finished()
            self._seal()

    def close(self) -> None:
        """Closes them, when everything is on disk; raises as `wait` does."""
        with self._saving():
            try:
                self.wait()
            finally:
                self.manager.close()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        """Tells in one line why a checkpoint cannot be written; Orbax's errors share no class."""
        try:
            yield
        except UserError:
            raise
        except Exception as e:
            raise self._unwritable(_reason(e)) from None

    def _require_room(self, state: dict) -> None:
        """Raises a `UserError` where the disk has no room for a state.

        Orbax finds that out as well, but in several threads at once, of which each prints it.
        """
        if not storage.is_local(self.root) or jax.process_count() > 1:
            return
        saved = (state["params"], state["opt_state"])
        needed = sum(x.nbytes for x in jax.tree.leaves(saved))
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if free < needed:
            raise self._unwritable(
                f"it takes up to {needed / 2**20:,.1f} MiB, and the disk has {free / 2**20:,.1f}"
            )

    def _unwritable(self, reason: str) -> UserError:
        return UserError(
            f"cannot write a checkpoint into {self.root}: {reason}; make room there, and run the "
            "same command again: it goes on from the last checkpoint, which is whole"
        )

    def _seal(self) -> None:
        """Writes the missing manifests; called by the thread that commits steps, too."""
        if jax.process_index() != 0:
            return
        with self._sealing:
            seal(self.root)


def _reason(error: Exception) -> str:
    """Why Orbax could not write; the system's own words where it names their number."""
    text = " ".join(str(error).split())
    number = re.search(r"os_error_code='(\d+)'", text)
    return os.strerror(int(number[1])) if number else text[:200]


def seal(root: epath.Path) -> None:
    """Writes the manifest of each committed step in `root` that has none."""
    for folder in _committed(root):
        if (folder / MANIFEST).exists():
            continue
        try:
            storage.write(folder / MANIFEST, json.dumps(_hashes(folder), indent=0))
        except FileNotFoundError:
            continue  # deleted meanwhile: it is not among those to keep


def _committed(root: epath.Path) -> list[epath.Path]:
    """The directories of the committed steps in `root`."""
    return [
        folder
        for folder in (root.iterdir() if root.exists() else ())
        # On gs:// a step that is still being written already has its name.
        if folder.name.isdigit() and ocp.utils.is_checkpoint_finalized(folder)
    ]


def verify(folder: epath.Path, parts: Sequence[str] = ()) -> None:
    """Checks every file of a step against its manifest.

    A step without a manifest (the process was killed between the commit and the manifest) is loaded
    with a warning.

    Args:
      folder: the directory of the step.
      parts: the files and directories in it that are checked; none: all are, and a missing
        manifest is told.

    Raises:
      UserError: a file is damaged, missing or new.
    """
    if wrong := damaged_files(folder, parts):
        raise UserError(
            f"{folder / wrong[0]} is damaged ({len(wrong)} file(s) differ from {MANIFEST}); use "
            "another step, or train on: that sets this one aside"
        )


def damaged_files(folder: epath.Path, parts: Sequence[str] = ()) -> list[str]:
    """The files of a step that differ from its manifest; arguments as those of `verify`."""
    manifest = folder / MANIFEST
    if not manifest.exists():
        if not parts:
            print(
                f"{folder} has no {MANIFEST} (the run was killed as it was written): its bytes are "
                "not checked",
                file=sys.stderr,
            )
        return []
    try:
        expected = storage.read_json(manifest, "")
    except UserError:
        return [MANIFEST]
    if parts:
        expected = {name: expected[name] for name in expected if name.split("/")[0] in parts}
    found = _hashes(folder, parts)
    return sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )


def listing(root: epath.Path) -> list[tuple[epath.Path, float | None, int]]:
    """The committed steps in order, without Orbax, which damage may end.

    Returns:
      Of each its directory, its validation accuracy (None where it was not validated, or that is
      damaged), and its bytes.
    """
    found = []
    for folder in sorted(_committed(root), key=lambda each: int(each.name)):
        try:
            accuracy = storage.read_json(folder / "metrics" / "metrics", "", (METRIC,))[METRIC]
        except UserError:
            accuracy = None
        size = sum(path.stat().length for path in _files(folder))
        found.append((folder, accuracy, size))
    return found


def set_damaged_aside(root: str | os.PathLike) -> list[str]:
    """Renames damaged checkpoints, so that a run goes on from the newest good one.

    The newest is checked whole, and so on until one is good; of those before it only what Orbax
    reads of every step.

    Args:
      root: the directory of the checkpoints.

    Returns:
      What was done, in a line for each.

    Raises:
      UserError: all are damaged.
    """
    folders = sorted(_committed(storage.absolute(root)), key=lambda each: -int(each.name))
    said: list[str] = []
    good = None
    for folder in folders:
        if wrong := damaged_files(folder, READ_AT_ONCE if good else ()):
            aside = folder.parent / f"damaged-{folder.name}"
            folder.rename(aside)
            said.append(
                f"{folder / wrong[0]} is damaged ({len(wrong)} file(s)): the checkpoint is set "
                f"aside as {aside.name}"
            )
        good = good or (folder if not wrong else None)
    if folders and not good:
        raise UserError(
            f"{root}: {'; '.join(said)}; none is left to go on from: begin anew in another "
            "--workdir, or bring a good copy back"
        )
    return said


def _hashes(folder: epath.Path, parts: Sequence[str] = ()) -> dict[str, str]:
    """The sha256 of every file in a step's directory but the manifest, by its path in there.

    Args:
      folder: the step's directory.
      parts: the files and directories in it that are looked at; none: all.
    """
    hashes = {}
    for path in _files(folder):
        if parts and path.relative_to(folder).parts[0] not in parts:
            continue
        if not path.name.startswith(MANIFEST):
            digest = hashlib.sha256()
            with path.open("rb") as file:
                while chunk := file.read(1 << 20):
                    digest.update(chunk)
            hashes[str(path.relative_to(folder))] = digest.hexdigest()
    return hashes


def _files(folder: epath.Path) -> Iterator[epath.Path]:
    """Every file in a directory and in those inside it; epath's own `walk` fails on fsspec."""
    for path in sorted(folder.iterdir()):
        if path.is_dir():
            yield from _files(path)
        else:
            yield path
