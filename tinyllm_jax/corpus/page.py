"""The corpus report as one HTML page: no script, nothing fetched, and every text that a model or dataset wrote is escaped."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyllm_jax.corpus import bars
from tinyllm_jax.corpus.judging import statistics
from tinyllm_jax.corpus.judging.quality import BAD, FLAGS
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.showing.report import (
    MEANING,
    accuracy,
    corpus_line,
    own_accuracy,
    percent,
    teachers,
    verdict,
)
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.style import document
from tinyllm_jax.style import escape as _e

SHOWN = 2  # samples of each teacher and flag
LONGEST = 1200  # characters of a text that a sample shows
STYLE = """
.wide td .bar { min-width: 90px; max-width: 140px; margin-top: 4px; }
.split { margin: 0 0 14px; } .split > summary { margin-bottom: 8px; }
.good .dot { fill: var(--good); } tr.rule th, tr.rule td { border-top: 2px solid var(--soft); }
.hash { font-family: ui-monospace, monospace; font-size: .8rem; overflow-wrap: anywhere; }
.samples > summary { margin: 6px 0 10px; } .samples article { margin-left: 14px; } .samples p { margin: 12px 0 0; }
.tag { border: 1px solid var(--rule); border-radius: 6px; padding: 0 6px; font-size: .8rem; color: var(--soft); }
blockquote { margin: 8px 0 0; padding: 2px 0 2px 14px; border-left: 3px solid var(--colour); }
"""
READING = """
<dl>
<dt>Sound</dt><dd>A rationale without a flag that makes it bad to learn from: empty, unterminated, echo, contradicts,
duplicate, no new word, repetition. The policies <i>clean</i> and <i>clean+truncate</i> train on just these.</dd>
<dt>Flags</dt><dd>They are found in the text alone, by rules; one rationale may have several, so that the shares do not add
up to 100&nbsp;%.</dd>
<dt>Right without being shown the answer</dt><dd>The teacher is asked for a rationale and an answer. <i>First sample</i> is
its accuracy when asked once; <i>majority vote</i> lets its samples vote. The band is the 95&nbsp;% (Wilson) interval: how far
another draw of as many questions could move it.</dd>
<dt>Weight</dt><dd>What the policy gave a rationale in the training objective; 0 keeps it out.</dd>
</dl>"""


def write_page(directory: str | os.PathLike, path: str | os.PathLike) -> None:
    """Writes the page of the corpus in `directory` to a file.

    Raises:
      UserError: not a corpus, a damaged one, or the file cannot be written.
    """
    text = html_page(Corpus(directory))
    try:
        Path(path).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror}; choose another path for --report"
        ) from None


def html_page(corpus: Corpus) -> str:
    """The page of a corpus; counts are made anew from its rows. Raises `UserError` where a shard is damaged."""
    rows = {split: corpus.rows(split) for split in corpus.splits}
    report = corpus.manifest.report | statistics.statistics(rows, corpus.teachers)
    questions = sum(map(len, rows.values()))
    sections = [
        ("What is wrong with them", _flag_tables(report)),
        ("How long they are", _lengths(rows, corpus.teachers)),
        ("Right without being shown the answer", _accuracies(report)),
        ("What training sees", _policy(report)),
        ("Where they come from", _provenance(corpus, report)),
        ("Samples", _samples(rows, corpus.teachers)),
        ("How to read this page", READING),
        ("Notes", _notes(corpus, report)),
    ]
    kicker = f"{corpus.task} · {corpus.manifest.source} · {questions:,} questions"
    return document(f"Rationales for {corpus.task}", kicker, verdict(report), sections, STYLE)


def _table(head: Sequence[str], body: str) -> str:
    """A table; `head` is HTML."""
    cells = "".join(f"<th scope='col'>{cell}</th>" for cell in head)
    return f"<div class='wide'><table><thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>"


def _name(index: int, teacher: str) -> str:
    return f"<span class='key s{index % bars.SERIES}'></span>{_e(teacher)}"


def _flag_tables(report: Mapping) -> str:
    """A table for each split; the first is open, as the others mostly say the same again."""
    tables = []
    for split, counts in report["splits"].items():
        columns = list(counts["teachers"].values())
        if not any(column["rationales"] for column in columns):
            continue
        open_ = "" if tables else " open"
        head = ["", *(_name(index, teacher) for index, teacher in enumerate(counts["teachers"]))]
        tables.append(
            f"<details class='split'{open_}><summary>{_e(split)}: {counts['questions']:,} questions</summary>"
            f"{_table(head, _flag_rows(columns))}</details>"
        )
    return "".join(tables)


def _flag_rows(columns: Sequence[Mapping]) -> str:
    lines = [
        _number_row("rationales", [f"{column['rationales']:,}" for column in columns]),
        _number_row("missing", [f"{column['missing']:,}" for column in columns]),
        _number_row(
            "mean words",
            [f"{column['mean_words']:,}" if column["rationales"] else "–" for column in columns],
        ),
        _share_row("sound", "has none of the flaws that count", "class='good rule'", columns),
    ]
    for flag in FLAGS:
        if any(column[flag] for column in columns):
            lines.append(_share_row(flag, MEANING[flag], "", columns))
    never = [flag.replace("_", " ") for flag in BAD if not any(column[flag] for column in columns)]
    if never:
        lines.append(
            f"<tr class='baseline'><th scope='row'>never: {_e(', '.join(never))}</th>"
            f"<td colspan='{len(columns)}'></td></tr>"
        )
    return "".join(lines)


def _number_row(heading: str, values: Sequence[str]) -> str:
    return (
        f"<tr><th scope='row'>{heading}</th>"
        + "".join(f"<td class='number'>{value}</td>" for value in values)
        + "</tr>"
    )


def _share_row(name: str, meaning: str, attributes: str, columns: Sequence[Mapping]) -> str:
    cells = []
    for index, column in enumerate(columns):
        if not column[name]:
            cells.append(f"<td class='number small'>{'none' if column['rationales'] else '–'}</td>")
            continue
        share = percent(column[name], column["rationales"])
        bar = bars.share(
            column[name] / column["rationales"], index, f"{name.replace('_', ' ')}: {share}"
        )
        count = f"<span class='small'>{column[name]:,}</span>"
        cells.append(f"<td><span class='number'><b>{_e(share)}</b> {count}</span>{bar}</td>")
    return (
        f"<tr {attributes}><th scope='row'>{_e(name.replace('_', ' '))}<span class='small'>{_e(meaning)}</span></th>"
        f"{''.join(cells)}</tr>"
    )


def _lengths(rows: Mapping[str, Sequence[Row]], names: Sequence[str]) -> str:
    lengths = {
        teacher: [
            len(row.rationales[teacher].text.split())
            for part in rows.values()
            for row in part
            if teacher in row.rationales
        ]
        for teacher in names
    }
    charts = bars.histograms(lengths)
    figures = "".join(
        f"<figure><figcaption>{_name(index, teacher)}</figcaption>{charts[teacher]}</figure>"
        for index, teacher in enumerate(names)
        if teacher in charts
    )
    return (
        figures
        and f"<div class='figures'>{figures}</div><p class='small'>Share of all splits' rationales by length.</p>"
    )


def _accuracies(report: Mapping) -> str:
    names, lines = teachers(report), []
    for split, teacher, told in own_accuracy(report):
        cells = f"<td class='number'>{told['samples']:,}</td>"
        cells += "".join(
            f"<td class='number'>{_e(percent(told[name], told['samples']))}</td>"
            for name in ("stated", "right")
        )
        for name in ("first", "vote"):
            text = accuracy(told[name])
            bar = bars.interval(told[name], names.index(teacher), text) if told[name]["n"] else ""
            cells += f"<td><span class='number'>{_e(text)}</span>{bar}</td>"
        lines.append(
            f"<tr><th scope='row'>{_name(names.index(teacher), teacher)}<span class='small'>{_e(split)}</span></th>"
            f"{cells}</tr>"
        )
    head = (
        "teacher",
        "samples",
        "state an answer",
        "state the gold one",
        "first sample",
        "majority vote",
    )
    return (lines and _table(head, "".join(lines))) or ""


def _policy(report: Mapping) -> str:
    if "policy" not in report:
        return ""
    lines = []
    for index, (teacher, told) in enumerate(report["policy"]["teachers"].items()):
        cells = "".join(
            f"<td class='number'>{told[name]:,}</td>" for name in ("kept", "dropped", "truncated")
        )
        why = ", ".join(
            f"{flag.replace('_', ' ')} {count:,}" for flag, count in told["flags"].items()
        )
        lines.append(
            f"<tr><th scope='row'>{_name(index, teacher)}</th>{cells}<td>{_e(why)}</td></tr>"
        )
    about = f"<p class='small'>Policy {_e(report['policy']['name'])}. A rationale may be dropped for several reasons.</p>"
    return (
        _table(
            ("teacher", "kept", "dropped", "cut to full sentences", "dropped because"),
            "".join(lines),
        )
        + about
    )


def _provenance(corpus: Corpus, report: Mapping) -> str:
    lines = []
    for index, (teacher, entries) in enumerate(corpus.manifest.teachers.items()):
        for entry in entries:
            told = {
                "revision": entry["revision"],
                "sampling": entry["sampling"] if entry["sampling"] != "{}" else "",
                "template": entry["prompt_hash"][:16],
            }
            details = "".join(
                f"<div><span class='small'>{name}</span> <span class='hash'>{_e(value)}</span></div>"
                for name, value in told.items()
                if value
            )
            shown = "shown the gold answer" if entry["forced"] else "not shown the gold answer"
            lines.append(
                f"<tr><th scope='row'>{_name(index, teacher)}</th><td>{_e(entry['model']) or 'not known'}{details}"
                f"</td><td>{shown}</td><td class='number'>{entry['rows']:,}</td></tr>"
            )
    return _table(("teacher", "model", "how", "rationales"), "".join(lines)) + _tokens(
        report.get("generations", {})
    )


def _tokens(generations: Mapping[str, Mapping[str, int]]) -> str:
    lines = "".join(
        f"<tr><th scope='row'>{_e(teacher)}</th>"
        + "".join(
            f"<td class='number'>{told[name]:,}</td>"
            for name in ("rows", "prompt_tokens", "tokens", "contexts_cut", "context_words_cut")
        )
        + "</tr>"
        for teacher, told in generations.items()
    )
    head = (
        "teacher",
        "texts written",
        "tokens read",
        "tokens written",
        "contexts cut",
        "words cut off them",
    )
    return lines and _table(head, lines)


def _samples(rows: Mapping[str, Sequence[Row]], names: Sequence[str]) -> str:
    parts = []
    for index, teacher in enumerate(names):
        pairs = [
            (row, row.rationales[teacher])
            for part in rows.values()
            for row in part
            if teacher in row.rationales
        ]
        for flag in ("sound", *FLAGS):
            found = [pair for pair in pairs if _fits(pair[1], flag)]
            # Those with the fewest other flags show best what the flag means.
            some = sorted(found, key=lambda pair: len(pair[1].flags))[:SHOWN]
            shown = "".join(_sample(row, rationale, index) for row, rationale in some)
            if shown:
                parts.append(
                    f"<details class='samples'><summary>{_name(index, teacher)}: {_e(flag.replace('_', ' '))} "
                    f"<span class='small'>({len(found):,})</span></summary>{shown}</details>"
                )
    return "".join(parts)


def _fits(rationale: Rationale, flag: str) -> bool:
    return not {*BAD} & {*rationale.flags} if flag == "sound" else flag in rationale.flags


def _sample(row: Row, rationale: Rationale, index: int) -> str:
    question = row.question
    choices = "".join(
        f"<li{' class=gold' if choice == question.answer else ''}>{_e(choice)}"
        f"{' <b>✓ gold</b>' if choice == question.answer else ''}</li>"
        for choice in question.choices
    )
    context = (
        f"<details><summary>Context</summary><p>{_e(_short(question.context))}</p></details>"
        if question.context
        else ""
    )
    tags = " ".join(
        f"<span class='tag'>{_e(text)}</span>"
        for text in (
            f"{question.split} {question.id}",
            f"weight {rationale.weight:g}",
            *(flag.replace("_", " ") for flag in rationale.flags),
        )
    )
    return (
        f"<article><h3>{_e(question.question)}</h3>{context}<ol type='a'>{choices}</ol>"
        f"<blockquote class='text s{index % bars.SERIES}'>{_e(_short(rationale.text)) or '(nothing)'}</blockquote>"
        f"<p>{tags}</p></article>"
    )


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _notes(corpus: Corpus, report: Mapping) -> str:
    counts = {name: report.get(name, {}) for name in ("log", "repairs")}
    lines = [
        f"{name} {count:,}" for told in counts.values() for name, count in told.items() if count
    ]
    lines += [corpus_line(told) for told in report.get("corpora", [])]
    lines += report.get("problems", [])[:20]
    lines.append(f"fingerprint {corpus.fingerprint}")
    return "<ul>" + "".join(f"<li>{_e(line)}</li>" for line in lines) + "</ul>"
