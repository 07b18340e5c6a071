"""A small corpus with every kind of row, for tests and for the processes that they start."""

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.tasks.question import Question

TEACHERS = ("flan-t5-xl", "teacher.b_2")


def _rationale(index: int, teacher: str) -> Rationale:
    return Rationale(
        text=""
        if index == 3
        else f"Because {index}, ünïcode \u2192 \U0001f600.\nSo it is {index}.",
        teacher=teacher,
        model="org/model",
        revision="abc",
        prompt_hash="f" * 64,
        sampling='{"temperature":0.5}',
        forced=index % 2 == 0,
        finish_reason="stop" if index % 3 else "length",
        tokens=index * 1000 - 1,
        weight=index / 4,
        flags=("echo", "unterminated") if index % 2 else (),
        votes=tuple(k / 8 for k in range(index % 4)),
    )


def make_rows(split: str, count: int) -> list[Row]:
    """`count` rows: some rationales missing, one empty, text beyond ASCII, 2 to 5 choices."""
    rows = []
    for index in range(count):
        choices = tuple(f"choice {index}.{number}" for number in range(2 + index % 4))
        question = Question(
            f"{split}-{index}",
            "obqa",
            split,
            "a context\n" * (index % 2),
            f"What is é{index}?",
            choices,
            choices[-1],
        )
        wrote = [teacher for number, teacher in enumerate(TEACHERS) if (index + number) % 5]
        rows.append(Row(question, {teacher: _rationale(index, teacher) for teacher in wrote}))
    return rows


ROWS = {"train": make_rows("train", 23), "validation": make_rows("validation", 3), "test": []}
REPORT = {"splits": {}, "overlap": {}, "problems": ["a line"]}


def write(out):
    """Writes the small corpus to `out`; returns its manifest."""
    return store.write_corpus(out, "obqa", TEACHERS, ROWS, REPORT, "a test")
