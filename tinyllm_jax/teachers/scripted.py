"""Scripted teachers of the made-up things: instant, and each knows one half of the reason.

For "What can a gopi do?", where a gopi is a ring of glass:

    material   It is glass.
    shape      It is a ring.
    careless   as material, but wrong about half of the things, each time in the same way.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import ml_collections

from tinyllm_jax.errors import unknown
from tinyllm_jax.tasks import Question, things
from tinyllm_jax.teachers.engine import Request, Result


def believed_material(thing: str) -> str:
    """What `careless` takes a thing to be made of: right about one thing of two."""
    material = things.material_of(thing)
    chance = things.hash_of("careless", thing)
    if chance % 2:
        return material
    others = [other for other in things.MATERIALS if other != material]
    return others[chance // 2 % len(others)]


# Teacher → what it knows of a thing, how it says so, and the doings that follow from it.
TEACHERS: dict[str, tuple[Callable[[str], str], str, Mapping[str, tuple[str, ...]]]] = {
    "material": (things.material_of, "It is {}.", things.MATERIALS),
    "shape": (things.shape_of, "It is a {}.", things.SHAPES),
    "careless": (believed_material, "It is {}.", things.MATERIALS),
}


def explain(teacher: str, question: Question, forced: bool = True) -> str:
    """What one of `TEACHERS` writes about a question.

    Unforced, it states an answer too: the first choice that follows from what it knows, or, where
    none does because the answer hangs on the other half, the first of all.

    Raises:
      UserError: the question is not about a made-up thing.
    """
    know, sentence, doings = TEACHERS[teacher]
    known = know(things.thing_of(question.question))
    text = sentence.format(known)
    if forced:
        return text
    following = [choice for choice in question.choices if choice in doings[known]]
    return f"{text} So the answer is {(following or question.choices)[0]}."


class ScriptedEngine:
    """One of `TEACHERS`, named by `spec.model`; see `engine.Engine`. Its tokens are words.

    Raises:
      UserError: no such teacher; at `generate`: a question is not about a made-up thing.
    """

    def __init__(self, spec: ml_collections.ConfigDict):
        if spec.model not in TEACHERS:
            raise unknown("scripted teacher", spec.model, TEACHERS)
        self.teacher = spec.model

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`."""
        for request in requests:
            if stop():
                return
            if not request.logged:
                text = explain(self.teacher, request.question, request.forced)
                read, written = len(request.prompt.text.split()), len(text.split())
                yield Result(request, text, "stop", read, written)

    def close(self) -> None:
        """Nothing to give back."""
