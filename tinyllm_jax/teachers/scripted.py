"""Scripted teachers of the built-in puzzles: right by construction, instant, and different from each other.

For "From 8 go +3 -2 +1" (the line ends at 9):

    steps   8 +3 to 9, 9 -2 to 7, 7 +1 to 8.
    back    8 from 7 +1, 7 from 9 -2, 9 from 8 +3.
"""

import time
from collections.abc import Callable, Iterable, Iterator

from tinyllm_jax.errors import unknown
from tinyllm_jax.tasks import puzzles
from tinyllm_jax.teachers.engine import Request, Result, Teacher


def explain_steps(question: str) -> str:
    """The walk as it happens: every step with the place that it reaches."""
    return ", ".join(f"{before} {move:+d} to {after}" for before, move, after in puzzles.walk(question)) + "."


def explain_back(question: str) -> str:
    """The walk from its end: where each place was reached from."""
    steps = reversed(puzzles.walk(question))
    return ", ".join(f"{after} from {before} {move:+d}" for before, move, after in steps) + "."


EXPLANATIONS = {"steps": explain_steps, "back": explain_back}


def teacher(name: str) -> Teacher:
    """The scripted teacher of a name; raises `UserError` for a name that is none."""
    if name not in EXPLANATIONS:
        raise unknown("scripted teacher", name, EXPLANATIONS)
    return Teacher(name, model=f"scripted:{name}", revision="", sampling="{}",
                   generate=lambda requests: generate(requests, EXPLANATIONS[name]))


def generate(requests: Iterable[Request], explain: Callable[[str], str]) -> Iterator[Result]:
    """The engine: one result per request, in order. Tokens are bytes, as the byte-level student reads them.

    Raises:
      UserError: a question is not a puzzle.
    """
    for request in requests:
        began = time.perf_counter()
        text = explain(request.question.question)
        yield Result(request, text, "stop", prompt_tokens=len(request.prompt.encode()), tokens=len(text.encode()),
                     seconds=time.perf_counter() - began)
