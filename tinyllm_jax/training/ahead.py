"""The next epoch's plan, made by a process of its own while the devices train on this one.

A plan is a second of Python's time. Where an epoch is not much longer, a thread could not make it
in time: it would take that second from the thread that feeds the devices.
"""

import pathlib
import pickle
import subprocess
import sys
import threading

import tinyllm_jax
from tinyllm_jax.batching.epochs import Batch, Epochs

FEW = 2000  # units whose plan takes so little time that it is made when it is needed

# What the other process runs: NumPy and `batching` are all that it imports.
CHILD = """
import pickle, sys
sys.path.insert(0, sys.argv[1])
try:
    epochs = pickle.load(sys.stdin.buffer)
    while True:
        plan = epochs(pickle.load(sys.stdin.buffer))
        pickle.dump(plan, sys.stdout.buffer)
        sys.stdout.buffer.flush()
except (EOFError, BrokenPipeError):  # the run has ended, however that came about
    pass
"""


class Ahead:
    """`ahead(epoch)` is `epochs(epoch)`, and then the next epoch's plan is begun elsewhere.

    The plans are a pure function of the seed and the epoch. So where the other process is gone,
    nothing is lost: they are made here.

    Args:
      epochs: the batches of every epoch.
      stop: the number of epochs that the run has.
    """

    def __init__(self, epochs: Epochs, stop: int):
        self.epochs, self.stop = epochs, stop
        self.plans: dict[int, list[Batch]] = {}  # of this epoch, and of the one before
        self.lock = threading.Lock()
        self.asked: int | None = None  # the epoch that the other process plans
        self.process: subprocess.Popen | None = None
        if stop > 1 and epochs.sizes[..., 0].size > FEW:
            root = str(pathlib.Path(tinyllm_jax.__file__).parents[1])
            # In a session of its own, as Ctrl-C in a terminal is not meant for it.
            self.process = subprocess.Popen(
                [sys.executable, "-c", CHILD, root],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            self._send(epochs)

    def __call__(self, epoch: int) -> list[Batch]:
        """The batches of an epoch."""
        with self.lock:
            if epoch not in self.plans:
                plan = self._received() if epoch == self.asked else None
                kept = {epoch - 1: self.plans[epoch - 1]} if epoch - 1 in self.plans else {}
                self.plans = kept | {epoch: self.epochs(epoch) if plan is None else plan}
                # What it was asked for has to be read before it is asked again.
                if epoch + 1 < self.stop and self.process and self.asked is None:
                    self.asked = epoch + 1
                    self._send(self.asked)
            return self.plans[epoch]

    def close(self) -> None:
        """Ends the other process."""
        with self.lock:
            self._end()

    def _send(self, what: Epochs | int) -> None:
        """Hands something to the other process."""
        assert self.process is not None and self.process.stdin is not None
        try:
            pickle.dump(what, self.process.stdin)
            self.process.stdin.flush()
        except OSError:
            self._end()

    def _received(self) -> list[Batch] | None:
        """The plan that the other process was asked for; None where it is gone."""
        self.asked = None
        if self.process is None or self.process.stdout is None:
            return None
        try:
            return pickle.load(self.process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError):
            self._end()
            return None

    def _end(self) -> None:
        """Kills the other process: it holds nothing that is not held here."""
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
