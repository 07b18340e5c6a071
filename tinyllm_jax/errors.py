"""The one exception that a user may see: a bad input, told in one line."""

import difflib
import sys
from collections.abc import Iterable


class UserError(Exception):
    """Bad input. The message is one line that says what is wrong, where, and how to mend it.

    The command line prints it as `tinyllm: MESSAGE` and exits with status 2; no traceback is shown.
    """


def tell(message: str) -> None:
    """Prints `tinyllm: MESSAGE` on standard error, in one line."""
    print(f"tinyllm: {' '.join(printable(message).split())}", file=sys.stderr)


def printable(text: str) -> str:
    """The text as a terminal may get it: with a space for every escape or control character."""
    return "".join(character if character.isprintable() else " " for character in text)


def unknown(what: str, name: str, known: Iterable[str]) -> UserError:
    """A `UserError` for a name that is not one of `known`; it names the nearest known one."""
    known = sorted(known)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return UserError(f"unknown {what} '{name}'{hint} (known: {', '.join(known)})")
