"""What the commands share: how a command's flags are defined, read and explained; exit statuses.

Flags are absl's and configs are ml_collections files, as JAX programs have them; whatever is wrong
with them is told in one line.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path

from absl import flags

from tinyllm_jax.errors import UserError

# Exit statuses: bad input, and a command that was stopped and that the same command line goes on
# with.
BAD_INPUT, STOPPED = 2, 3


def parse(usage: str, argv: list[str], run: Callable, define: Callable) -> flags.FlagValues | None:
    """A command's flags.

    Args:
      usage: the command as it is written, "tinyllm corpus build".
      argv: what stands behind it.
      run: the command; its docstring is the help.
      define: defines its flags on (values, argv), and returns the names of those that are needed.

    Returns:
      The flags; None when the help was asked for and printed.

    Raises:
      UserError: an unknown flag, a value that it cannot have, a needed flag that is missing, or
        whatever a config file raises.
    """
    values = flags.FlagValues()
    needed = define(values, [usage, *argv]) or ()
    if {"--help", "-h", "-help"} & set(argv):
        print(_help(usage, run, values, needed))
        return None
    try:
        rest = values([usage, *argv])[1:]
    except UserError:
        raise
    except Exception as e:  # a config file is the user's code, which may raise anything
        raise UserError(_reason(e)) from e
    if rest:
        raise UserError(f"unexpected argument '{rest[0]}'; see {usage} --help")
    for name in needed:
        if not values[name].value:
            raise UserError(f"--{name} is needed ({values[name].help}); see {usage} --help")
    return values


def _reason(e: BaseException) -> str:
    """What absl, ml_collections or a config file found wrong, in one line.

    A `UserError` that a config file raised keeps its words.
    """
    inner: BaseException | None = e
    while inner is not None:
        if isinstance(inner, UserError):
            return str(inner)
        inner = inner.__cause__ or inner.__context__
    near = re.search(r'Did you mean "(\w+)" instead of "(\w+)"', str(e))
    if near:
        return f"unknown config field '{near[2]}'; did you mean '{near[1]}'?"
    return f"unknown config field {e}" if isinstance(e, (KeyError, AttributeError)) else str(e)


def _help(usage: str, run: Callable, values: flags.FlagValues, needed: Sequence[str]) -> str:
    about = (run.__doc__ or "").strip().splitlines()
    lines = [f"usage: {usage} --flags", "", *(line.removeprefix("    ") for line in about), ""]
    for name in values:
        flag = values[name]
        note = ""
        if name in needed:
            note = " (needed)"
        elif flag.default not in (None, "", []):
            note = f" (default {flag.default_as_str})"
        lines.append(f"  --{name:14}{flag.help}{note}")
    return "\n".join(lines)


def define_config(values: flags.FlagValues, argv: list[str], about: str) -> None:
    """Defines --config, a config file with its argument and overrides of its fields.

    Args:
      values: the command's flags.
      argv: the whole command line, in which overrides are looked for.
      about: the flag's help.

    Raises:
      UserError: there is no such file.
    """
    from ml_collections import config_flags

    given = re.search(r"\x00-?-config[=\x00]([^:\x00]+)", "\x00".join(argv))
    if given and not Path(given[1]).is_file():
        raise UserError(f"there is no config file {given[1]}; the recipes are in configs/")
    config_flags.DEFINE_config_file("config", None, about, flag_values=values, sys_argv=argv)


def define_distributed(values: flags.FlagValues) -> None:
    """Defines --distributed."""
    flags.DEFINE_bool(
        "distributed",
        False,
        "this is one of several processes that work as one, as on every worker of a TPU pod",
        values,
    )
