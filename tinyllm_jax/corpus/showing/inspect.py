"""A corpus's statistics and a sample of its rows, as text or JSON: `tinyllm corpus inspect`."""

import dataclasses
import json
import os
import textwrap
import unicodedata

from tinyllm_jax.corpus.judging.statistics import statistics
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.showing.report import format_report
from tinyllm_jax.corpus.store import Corpus

WIDTH = 110  # columns of the printed sample


def inspect(directory: str | os.PathLike, as_json: bool = False, sample: int = 2) -> str:
    """Statistics, counted anew from the rows, and the first `sample` rows of each split.

    Args:
      directory: the corpus.
      as_json: whether to return JSON in place of text.
      sample: how many rows of each split to show.

    Returns:
      A text, or a JSON object with task, source, fingerprint, teachers, report and sample.

    Raises:
      UserError: the directory is no corpus, or a damaged one.
    """
    corpus = Corpus(directory)
    rows = {split: corpus.rows(split) for split in corpus.splits}
    report = corpus.manifest.report | statistics(rows, corpus.teachers)
    shown = {split: part[:sample] for split, part in rows.items()}
    if as_json:
        content = {
            "task": corpus.task,
            "source": corpus.manifest.source,
            "fingerprint": corpus.fingerprint,
            "teachers": corpus.manifest.teachers,
            "report": report,
            "sample": {
                split: [dataclasses.asdict(row) for row in part] for split, part in shown.items()
            },
        }
        return json.dumps(content, indent=1, ensure_ascii=False)
    head = (
        f"{directory}: corpus of task {corpus.task}, from {corpus.manifest.source}\n"
        f"fingerprint {corpus.fingerprint}"
    )
    samples = [_show(row) for part in shown.values() for row in part]
    return "\n\n".join([head, format_report(report), *samples])


def _show(row: Row) -> str:
    """One question, its choices and its rationales, as text."""
    question = row.question
    lines = [f"── {question.split} {_printable(question.id)} " + "─" * 40]
    if question.context:
        lines.append(_wrap(question.context))
    lines.append(_wrap(question.question))
    for choice, lettered in zip(question.choices, question.lettered, strict=True):
        gold = "  ← gold" if choice == question.answer else ""
        lines.append(f"  {_printable(lettered)}{gold}")
    for teacher, rationale in row.rationales.items():
        flags = f"  [{', '.join(rationale.flags)}]" if rationale.flags else ""
        lines += [
            f"{teacher}, weight {rationale.weight:g}{flags}",
            _wrap(rationale.text or "(empty)", indent="  | "),
        ]
    return "\n".join(lines)


def _printable(text: str) -> str:
    r"""The text with tabs as spaces, and other control and format characters as escapes: "\x1b"."""
    shown = []
    for character in text.expandtabs():
        control = unicodedata.category(character).startswith("C")
        shown.append(ascii(character)[1:-1] if control else character)
    return "".join(shown)


def _wrap(text: str, indent: str = "") -> str:
    """The text in lines of at most `WIDTH` columns, each behind `indent`."""
    lines = []
    for line in map(_printable, text.splitlines()):
        lines += textwrap.wrap(line, WIDTH, initial_indent=indent, subsequent_indent=indent)
    return "\n".join(lines)
