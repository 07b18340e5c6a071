"""Scripted teachers of the built-in puzzles: right by construction, instant, and different from each other.

For "From 8 go +3 -2 +1" (the line ends at 9):

    steps   8 +3 to 9, 9 -2 to 7, 7 +1 to 8.
    back    8 from 7 +1, 7 from 9 -2, 9 from 8 +3.
"""

from collections.abc import Callable, Iterator, Sequence

import ml_collections

from tinyllm_jax.errors import unknown
from tinyllm_jax.tasks import puzzles
from tinyllm_jax.teachers.engine import Request, Result


def explain_steps(question: str) -> str:
    """The walk as it happens: every step with the place that it reaches."""
    return ", ".join(f"{before} {move:+d} to {after}" for before, move, after in puzzles.walk(question)) + "."


def explain_back(question: str) -> str:
    """The walk from its end: where each place was reached from."""
    steps = reversed(puzzles.walk(question))
    return ", ".join(f"{after} from {before} {move:+d}" for before, move, after in steps) + "."


EXPLANATIONS = {"steps": explain_steps, "back": explain_back}


class ScriptedEngine:
    """One of `EXPLANATIONS`, named by `spec.model`; see `engine.Engine`. Tokens are bytes, as the byte-level student's.

    Raises:
      UserError: no such explanation; at `generate`: a question is not a puzzle.
    """

    def __init__(self, spec: ml_collections.ConfigDict):
        if spec.model not in EXPLANATIONS:
            raise unknown("scripted teacher", spec.model, EXPLANATIONS)
        self.explain = EXPLANATIONS[spec.model]

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`. An unforced row states the answer that the explanation reaches."""
        for request in requests:
            if stop():
                return
            if not request.logged:
                text = self.explain(request.question.question)
                text += "" if request.forced else f" So the answer is {request.question.answer}."
                yield Result(request, text, "stop", len(request.prompt.text.encode()), len(text.encode()))

    def close(self) -> None:
        """Nothing to give back."""
