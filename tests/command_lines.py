"""Runs commands as a shell would."""

import pytest

from tinyllm_jax import cli


def fails(capsys, *argv: object) -> str:
    """The one line that a command with bad input prints; it exits with 2."""
    with pytest.raises(SystemExit) as e:
        cli.main([str(a) for a in argv])
    lines = [
        line
        for line in capsys.readouterr().err.strip().splitlines()
        if line.startswith("tinyllm: ")
    ]
    assert e.value.code == 2 and len(lines) == 1, lines
    return lines[0]
