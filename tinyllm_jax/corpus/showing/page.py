"""The report on a corpus as one HTML page, `pages/templates/corpus.html`."""

import os
from collections.abc import Iterator, Mapping, Sequence

from tinyllm_jax import storage
from tinyllm_jax.corpus.judging import statistics
from tinyllm_jax.corpus.judging.quality import BAD, FLAGS
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.showing.report import (
    MEANING,
    accuracy,
    corpus_line,
    file_lines,
    origin,
    own_accuracy,
    percent,
    verdict,
)
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.pages import charts, render

SHOWN = 2  # samples of each teacher and flag
LONGEST = 1200  # characters of a text that a sample shows


def write_page(directory: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes the page of the corpus in `directory` to a file.

    Args:
      directory: the corpus.
      path: the HTML file to write.

    Raises:
      UserError: not a corpus, a damaged one, or the file cannot be written.
    """
    text = html_page(Corpus(directory))
    try:
        storage.write(storage.path(path), text)
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; choose another path for --report"
        ) from None


def html_page(corpus: Corpus) -> str:
    """The page of a corpus, as HTML. Its statistics are counted anew from the rows.

    Raises:
      UserError: a shard is damaged.
    """
    rows = {split: corpus.rows(split) for split in corpus.splits}
    report = corpus.manifest.report | statistics.statistics(rows, corpus.teachers)
    questions = sum(map(len, rows.values()))
    # By teacher, every row in which it has a rationale, with that rationale.
    wrote = {
        teacher: [
            (row, row.rationales[teacher])
            for part in rows.values()
            for row in part
            if teacher in row.rationales
        ]
        for teacher in corpus.teachers
    }
    lengths = {
        teacher: [len(rationale.text.split()) for _, rationale in pairs]
        for teacher, pairs in wrote.items()
    }
    return render(
        "corpus.html",
        title=f"Rationales for {corpus.task}",
        kicker=f"{corpus.task} · {corpus.manifest.source} · {questions:,} questions",
        verdict=verdict(report),
        teachers=corpus.teachers,
        splits=list(_splits(report)),
        meanings=MEANING,
        bad_flags=BAD,
        histograms=charts.histograms(lengths),
        accuracies=list(own_accuracy(report)),
        policy=report.get("policy"),
        written_by=corpus.manifest.teachers,
        origins={
            teacher: origin(report, corpus.manifest.source, teacher) for teacher in corpus.teachers
        },
        generations=report.get("generations"),
        samples=list(_samples(wrote)),
        notes=_notes(corpus, report),
        accuracy=accuracy,
        percent=percent,
        short=_short,
    )


def _splits(report: Mapping) -> Iterator[tuple[str, Mapping, list[str]]]:
    """Yields each split that has rationales, its statistics, and the flags that occur in it."""
    for split, counts in report["splits"].items():
        columns = counts["teachers"].values()
        found = [flag for flag in FLAGS if any(column[flag] for column in columns)]
        if any(column["rationales"] for column in columns):
            yield split, counts, found


def _samples(
    wrote: Mapping[str, Sequence[tuple[Row, Rationale]]],
) -> Iterator[tuple[str, str, int, list[tuple[Row, Rationale]]]]:
    """Yields a teacher, "sound" or a flag, the number of its rationales that are, and some."""
    for teacher, pairs in wrote.items():
        for flag in ("sound", *FLAGS):
            found = [pair for pair in pairs if _fits(pair[1], flag)]
            if found:
                # Those with the fewest other flags show best what the flag means.
                some = sorted(found, key=lambda pair: len(pair[1].flags))[:SHOWN]
                yield teacher, flag, len(found), some


def _fits(rationale: Rationale, flag: str) -> bool:
    if flag == "sound":
        return not {*BAD} & {*rationale.flags}
    return flag in rationale.flags


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _notes(corpus: Corpus, report: Mapping) -> list[str]:
    """What was counted and repaired on the way, other corpora, problems, and the fingerprint."""
    counts = [*report.get("log", {}).items(), *report.get("repairs", {}).items()]
    files = [line for summary in report.get("rationales", []) for line in file_lines(summary)]
    return [
        *(f"{name} {count:,}" for name, count in counts if count),
        *files,
        *map(corpus_line, report.get("corpora", [])),
        *report.get("problems", [])[:20],
        f"fingerprint {corpus.fingerprint}",
    ]
