"""Questions and rationale logs made by hand, for the tests of building."""

import dataclasses

from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.logrow import LogRow, row_key
from tinyllm_jax.tasks.question import Question

QUESTIONS = {
    split: [
        Question(
            f"{split}{index}",
            "things",
            split,
            "",
            f"What is {index} + 1?",
            ("0", str(index + 1)),
            str(index + 1),
        )
        for index in range(count)
    ]
    for split, count in (("train", 6), ("test", 2))
}
FIRST = QUESTIONS["train"][0]


def log_row(question=FIRST, teacher="b-teacher", seed=0, forced=True, sample=0, **fields):
    """A good row; `fields` replaces any of its fields, `key` excepted."""
    prompt = "the forced prompt" if forced else "the unforced prompt"
    row = LogRow(
        key=row_key(question, teacher, "r1", prompt, "{}", seed, sample),
        question_id=question.id,
        question_key=question.key,
        task="things",
        split=question.split,
        teacher=teacher,
        model="org/m",
        revision="r1",
        prompt_hash=prompt,
        sampling="{}",
        seed=seed,
        forced=forced,
        sample=sample,
        text=f"We add one to {question.id}, giving a sum.",
        finish_reason="stop",
        prompt_tokens=9,
        tokens=12,
        mean_logprob=-0.5,
        context_cut=0,
        seconds=0.5,
        error="",
    )
    return dataclasses.replace(row, **fields)


def unforced(text, sample=0, question=FIRST, **fields):
    """A row of a teacher that did not see the gold answer."""
    return log_row(question, forced=False, sample=sample, text=text, **fields)


def failed(row):
    """The row as it is logged when the engine gave up."""
    return dataclasses.replace(
        row, text="", finish_reason="unknown", tokens=-1, mean_logprob=None, error="timed out"
    )


def all_rows(teacher="b-teacher"):
    """A forced row of every question."""
    return [log_row(question, teacher) for part in QUESTIONS.values() for question in part]


def write_log(path, rows):
    """Writes a log; returns its path."""
    with path.open("wb") as file:
        for row in rows:
            tfrecord.write_record(file, row.to_bytes())
    return path


def contents(directory):
    """The bytes of every file of a corpus."""
    return {path.name: path.read_bytes() for path in directory.iterdir()}
