"""Orbax checkpoints: written asynchronously, the last k and the best kept, every file hashed.

Orbax restores a file with a flipped byte without a word. So each committed step gets a manifest of
our own, `sha256.json`, which is checked before the step is restored. The target of a restore is
always a tree of shapes with this process's shardings, so a checkpoint can be restored on any mesh.
"""

import hashlib
import json
import operator
import os
import sys
import threading
from collections.abc import Iterator

import jax
import orbax.checkpoint as ocp
from etils import epath
from orbax.checkpoint import checkpoint_managers as policies

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError

MANIFEST = "sha256.json"
METRIC = "accuracy"


class Checkpoints:
    """The checkpoints of one workdir.

    Args:
      root: the directory of the checkpoints.
      keep: how many of the last to keep; the best on validation is kept besides. None: read only.

    Raises:
      UserError: Orbax cannot write there.
    """

    def __init__(self, root: str | os.PathLike, keep: int | None = None):
        self.root = storage.absolute(root)
        if not storage.is_local(self.root) and not str(self.root).startswith("gs://"):
            raise UserError(
                f"cannot keep checkpoints in {self.root}: Orbax writes to local paths and to gs:// "
                "alone; choose another --workdir"
            )
        self._sealing = threading.Lock()
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
        """
        args = ocp.args.Composite(
            params=ocp.args.StandardSave(state["params"]),
            opt_state=ocp.args.StandardSave(state["opt_state"]),
        )
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
        """Waits until everything is on disk."""
        self.manager.wait_until_finished()
        self._seal()

    def close(self) -> None:
        """Closes them, when everything is on disk."""
        self.wait()
        self.manager.close()

    def _seal(self) -> None:
        """Writes the missing manifests; called by the thread that commits steps, too."""
        if jax.process_index() != 0:
            return
        with self._sealing:
            seal(self.root)


def seal(root: epath.Path) -> None:
    """Writes the manifest of each committed step in `root` that has none."""
    for folder in root.iterdir() if root.exists() else ():
        if not folder.name.isdigit() or (folder / MANIFEST).exists():
            continue
        if not ocp.utils.is_checkpoint_finalized(folder):
            continue  # on gs:// a step that is still being written already has its name
        try:
            storage.write(folder / MANIFEST, json.dumps(_hashes(folder), indent=0))
        except FileNotFoundError:
            continue  # deleted meanwhile: it is not among those to keep


def verify(folder: epath.Path) -> None:
    """Checks every file of a step against its manifest.

    A step without a manifest (the process was killed between the commit and the manifest) is loaded
    with a warning.

    Args:
      folder: the directory of the step.

    Raises:
      UserError: a file is damaged, missing or new.
    """
    manifest = folder / MANIFEST
    mend = "use another step, or delete this folder to go on from the one before"
    if not manifest.exists():
        print(
            f"{folder} has no {MANIFEST} (the run was killed as it was written): its bytes are not "
            "checked",
            file=sys.stderr,
        )
        return
    try:
        expected = json.loads(manifest.read_bytes())
    except ValueError:
        raise UserError(f"{manifest} is not JSON; {mend}") from None
    found = _hashes(folder)
    wrong = sorted(
        name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)
    )
    if wrong:
        raise UserError(
            f"{folder / wrong[0]} is damaged ({len(wrong)} file(s) differ from {MANIFEST}); {mend}"
        )


def _hashes(folder: epath.Path) -> dict[str, str]:
    """The sha256 of every file in a step's directory but the manifest, by its path in there."""
    hashes = {}
    for path in _files(folder):
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
