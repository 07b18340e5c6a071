"""`corpus inspect`: a corpus's statistics and a sample of its rows, to read or as JSON."""

import dataclasses
import json
import os
import textwrap

from tinyllm_jax.corpus.judging import statistics
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.showing.report import format_report
from tinyllm_jax.corpus.store import Corpus

WIDTH = 110  # columns of the printed sample


def inspect(directory: str | os.PathLike, as_json: bool = False, sample: int = 2) -> str:
    """Statistics, counted anew from the rows, and the first `sample` rows of each split.

    Args:
      directory: the corpus.
      as_json: return one JSON object with task, source, fingerprint, teachers, report and sample.
      sample: rows per split to show.

    Raises:
      UserError: not a corpus, or a damaged one.
    """
    corpus = Corpus(directory)
    rows = {split: corpus.rows(split) for split in corpus.splits}
    report = corpus.manifest.report | statistics.statistics(rows, corpus.teachers)
    shown = {split: part[:sample] for split, part in rows.items()}
    if as_json:
        return json.dumps(
            {
                "task": corpus.task,
                "source": corpus.manifest.source,
                "fingerprint": corpus.fingerprint,
                "teachers": corpus.manifest.teachers,
                "report": report,
                "sample": {
                    split: [dataclasses.asdict(row) for row in part]
                    for split, part in shown.items()
                },
            },
            indent=1,
            ensure_ascii=False,
        )
    head = f"{directory}: corpus of task {corpus.task}, from {corpus.manifest.source}\nfingerprint {corpus.fingerprint}"
    return "\n\n".join(
        [head, format_report(report), *(_show(row) for part in shown.values() for row in part)]
    )


def _show(row: Row) -> str:
    question = row.question
    lines = [f"── {question.split} {question.id} " + "─" * 40]
    lines += [_wrap(question.context)] if question.context else []
    lines.append(_wrap(question.question))
    lines += [
        f"  ({chr(ord('a') + index)}) {choice}{'  ← gold' if choice == question.answer else ''}"
        for index, choice in enumerate(question.choices)
    ]
    for teacher, rationale in row.rationales.items():
        flags = f"  [{', '.join(rationale.flags)}]" if rationale.flags else ""
        lines += [
            f"{teacher}, weight {rationale.weight:g}{flags}",
            _wrap(rationale.text or "(empty)", indent="  | "),
        ]
    return "\n".join(lines)


def _wrap(text: str, indent: str = "") -> str:
    return "\n".join(
        wrapped
        for line in text.splitlines()
        for wrapped in textwrap.wrap(line, WIDTH, initial_indent=indent, subsequent_indent=indent)
    )
