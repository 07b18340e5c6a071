"""A checkout of its own for each test, and fakes of the commands that reach a cloud."""

import os
import pathlib
import shutil
import subprocess

import pytest

REPO = pathlib.Path(__file__).resolve().parents[2]
FAKES = pathlib.Path(__file__).parent / "fakes"


class Fake:
    """A checkout with the launch scripts, committed, and fakes on the PATH.

    `root` is the folder that the fakes read and write; `fakes/` says what is in it.
    """

    def __init__(self, root: pathlib.Path):
        self.root = root
        self.checkout = root / "checkout"
        shutil.copytree(REPO / "launch", self.checkout / "launch")
        shutil.copy(REPO / "pyproject.toml", self.checkout)
        self.bin = root / "bin"
        shutil.copytree(FAKES, self.bin)
        for name in ("sky", "kubectl", "xpk", "docker", "srun", "scontrol"):
            shutil.copy(FAKES / "recorder", self.bin / name)
        (root / "ends").touch()
        self.env = {
            "FAKE": str(root),
            "FAKE_PYTHON": "3.12",
            "HOME": str(root),
            "PAUSE": "0.02",
            "PATH": f"{self.bin}:/usr/bin:/bin",
        }

    def commit(self) -> None:
        git = ["git", "-c", "user.name=t", "-c", "user.email=t@t"]
        for words in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
            subprocess.run([*git, *words], cwd=self.checkout, check=True)

    def path_of(self, *tools: str) -> str:
        """A PATH with the fakes and these tools of the machine, and nothing else of it."""
        for tool in tools:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        return str(self.bin)

    def says(self, name: str, *lines: str) -> None:
        """Writes what the fakes answer, a line an answer."""
        (self.root / name).write_text("".join(f"{line}\n" for line in lines))

    def lines(self, name: str) -> list[str]:
        """What the fakes wrote."""
        path = self.root / name
        return path.read_text().splitlines() if path.exists() else []

    def calls(self, *words: str) -> list[str]:
        """The recorded calls that have all of the words."""
        return [line for line in self.lines("calls") if all(word in line for word in words)]

    def run(self, *words: str | os.PathLike, **env: str) -> subprocess.CompletedProcess:
        """Runs a command in the checkout, with nothing but the fakes' environment and `env`."""
        return subprocess.run(
            words,
            cwd=self.checkout,
            env=self.env | env,
            capture_output=True,
            text=True,
            timeout=60,
        )


@pytest.fixture
def fake(tmp_path) -> Fake:
    return Fake(tmp_path)
