"""An hour of bad luck, by hand: kills, flipped bytes, cut files; what survives, is lost, is silent.

    python tests/soak.py --minutes 60

Real processes on a small corpus of made-up things. *Survived*: the command went on to the same
bits, or refused in one line. *Lost*: it ended otherwise, in a traceback or with less than there
was. *Silent*: it ended well with something else than without the bad luck. A line is printed for
each that is lost or silent, with its seed: `--seed` repeats from there.
"""

import argparse
import collections
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

REPO = pathlib.Path(__file__).resolve().parents[1]
TRAIN = [
    f"--config={REPO}/configs/quickstart.py",
    *("--config.steps=40", "--config.batch_size=8", "--config.checkpoint.every=5"),
    *("--config.log_every=5", "--config.validation.questions=8", "--report_to=none"),
]
ENVIRONMENT = os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(REPO)}
KILLS = (signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
SOURCE = "--source=train=96,validation=24,test=24"


def tinyllm(*flags) -> subprocess.Popen:
    """A command in a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "tinyllm_jax", *map(str, flags)],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process: subprocess.Popen) -> tuple[int, str]:
    """A command's exit status and what it said."""
    out, err = process.communicate(timeout=600)
    return process.returncode, out + err


def killed_until_done(rng: random.Random, flags: list, seconds: float) -> tuple[bool, str]:
    """Runs a command again and again, killed at random, until it ends well."""
    for _ in range(8):
        process, killed = tinyllm(*flags), False
        try:
            process.wait(rng.uniform(0.5, seconds))
        except subprocess.TimeoutExpired:
            process.send_signal(rng.choice(KILLS))
            killed = True  # Python's own imports answer Ctrl-C with a traceback
        status, said = finish(process)
        if status == 0 or ("Traceback" in said and not killed):
            return status == 0, said
    status, said = finish(tinyllm(*flags))
    return status == 0, said


def answers(workdir: pathlib.Path, corpus: pathlib.Path) -> tuple[int, str]:
    """What a student answers: the exit status, and every prediction or what was said."""
    out = workdir / "asked"
    flags = ["--workdir", workdir, "--corpus", corpus, "--step=last", "--out", out, "--questions=8"]
    status, said = finish(tinyllm("evaluate", *flags))
    return status, (out / "predictions.jsonl").read_text() if status == 0 else said


def flip(rng: random.Random, root: pathlib.Path) -> pathlib.Path:
    """Flips a bit of a random file, or cuts it."""
    files = [path for path in root.rglob("*") if path.is_file() and path.stat().st_size]
    path = rng.choice(sorted(files))
    content = bytearray(path.read_bytes())
    at = rng.randrange(len(content))
    if rng.random() < 0.2:
        content = content[:at]
    else:
        content[at] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    return path


def judged(status: int, said: str, same: bool) -> str:
    """The verdict on a command that met damage: its status, what it said, whether it is equal."""
    if status == 0:
        return "survived" if same else "silent"
    one_line = "Traceback" not in said and said.strip().splitlines()[-1].startswith("tinyllm: ")
    return "survived" if status == 2 and one_line else "lost"


class Soak:
    """What all tries share: a corpus, its logs, and a run that nothing disturbed."""

    def __init__(self, root: pathlib.Path):
        self.root, self.logs, self.corpus, self.run = (
            root,
            *(root / name for name in ("logs", "corpus", "run")),
        )
        self.teach = ["teach", "--task=things", SOURCE, "--splits=train,validation", "--out"]
        self.build = ["corpus", "build", "--task=things", SOURCE, "--log"]
        for flags in (
            [*self.teach, self.logs],
            [*self.build, self.logs, "--out", self.corpus],
            ["train", *TRAIN, "--corpus", self.corpus, "--workdir", self.run],
        ):
            status, said = finish(tinyllm(*flags))
            assert status == 0, said
        self.expected = answers(self.run, self.corpus)
        assert self.expected[0] == 0, self.expected[1]

    def training_killed(self, rng: random.Random, at: pathlib.Path) -> tuple[str, str]:
        """A run that is killed goes on to the same answers."""
        flags = ["train", *TRAIN, "--corpus", self.corpus, "--workdir", at / "run"]
        ended, said = killed_until_done(rng, flags, 25)
        if not ended:
            return "lost", said
        same = answers(at / "run", self.corpus) == self.expected
        return ("survived" if same else "silent"), "other answers"

    def generation_killed(self, rng: random.Random, at: pathlib.Path) -> tuple[str, str]:
        """A job of teachers that is killed ends with the same corpus."""
        ended, said = killed_until_done(rng, [*self.teach, at / "logs"], 3)
        if ended:
            ended, said = killed_until_done(
                rng, [*self.build, at / "logs", "--out", at / "corpus"], 30
            )
        if not ended and "exists and is not" not in said:
            return "lost", said
        manifest = "manifest.json"
        same = (at / "corpus" / manifest).read_text() == (self.corpus / manifest).read_text()
        return ("survived" if same else "silent"), "another corpus"

    def checkpoint_damaged(self, rng: random.Random, at: pathlib.Path) -> tuple[str, str]:
        """A damaged workdir is named, or asked as before."""
        shutil.copytree(self.run, at / "run")
        path = flip(rng, at / "run")
        status, said = answers(at / "run", self.corpus)
        return judged(status, said, said == self.expected[1]), f"{path}\n{said}"

    def training_damaged(self, rng: random.Random, at: pathlib.Path) -> tuple[str, str]:
        """A damaged checkpoint does not end a run that is trained on."""
        shutil.copytree(self.run, at / "run")
        path = flip(rng, at / "run" / "checkpoints")
        flags = ["train", *TRAIN, "--corpus", self.corpus, "--workdir", at / "run"]
        status, said = finish(tinyllm(*flags))
        if status == 0:
            status, said = answers(at / "run", self.corpus)
        return judged(status, said, said == self.expected[1]), f"{path}\n{said}"

    def corpus_damaged(self, rng: random.Random, at: pathlib.Path) -> tuple[str, str]:
        """A damaged corpus is named."""
        shutil.copytree(self.corpus, at / "corpus")
        path = flip(rng, at / "corpus")
        status, said = finish(tinyllm("corpus", "verify", "--corpus", at / "corpus"))
        return judged(status, said, False), f"{path}\n{said}"

    def log_damaged(self, rng: random.Random, at: pathlib.Path) -> tuple[str, str]:
        """A damaged log is named, or what it lacks is written again."""
        shutil.copytree(self.logs, at / "logs")
        path = flip(rng, at / "logs")
        status, said = finish(tinyllm(*self.teach, at / "logs"))
        if status == 0:
            status, said = finish(tinyllm(*self.build, at / "logs", "--out", at / "corpus"))
        manifest = at / "corpus" / "manifest.json"
        same = status == 0 and manifest.read_text() == (self.corpus / "manifest.json").read_text()
        return judged(status, said, same), f"{path}\n{said}"


def main() -> None:
    """Tries one kind after the other until the time is over, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    ends, seed = time.monotonic() + 60 * arguments.minutes, arguments.seed
    table: dict[str, collections.Counter] = collections.defaultdict(collections.Counter)
    with tempfile.TemporaryDirectory() as directory:
        soak = Soak(pathlib.Path(directory) / "soak")
        kinds = [name for name in vars(Soak) if name.endswith(("killed", "damaged"))]
        while time.monotonic() < ends:
            kind = kinds[seed % len(kinds)]
            at = pathlib.Path(directory) / str(seed)
            at.mkdir()
            verdict, said = getattr(soak, kind)(random.Random(seed), at)
            table[kind][verdict] += 1
            if verdict != "survived":
                print(f"seed {seed}  {kind}  {verdict}\n{said[-1500:]}\n", flush=True)
            shutil.rmtree(at)
            seed += 1
    for kind, counts in table.items():
        said = "  ".join(f"{name} {counts[name]:3}" for name in ("survived", "lost", "silent"))
        print(f"{kind.replace('_', ' '):20}{said}")
    sys.exit(any(counts["lost"] + counts["silent"] for counts in table.values()))


if __name__ == "__main__":
    main()
