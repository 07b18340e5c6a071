"""A corpus's report as text a person can read: what was counted, what was repaired, what could not be used."""

from collections.abc import Iterable, Mapping

from tinyllm_jax.corpus.judging.quality import BAD, FLAGS

LISTED = 10  # problems shown; the manifest has them all
MEANING = {  # what a rationale with a flag does
    "empty": "is empty",
    "unterminated": "breaks off in mid-sentence or at the token limit",
    "echo": "goes on with another question, in the prompt's own form",
    "contradicts": "argues for another answer than the gold one",
    "duplicate": "is what the teacher wrote about an earlier question too",
    "no_new_word": "adds no content word to question and choices",
    "repetition": "says a sentence twice, or goes round in circles",
    "copied": "gives the answer before it says anything else",
    "truncated": "was cut to its last full sentence",
}


def format_report(report: dict) -> str:
    """A report of `import_released` or `build` as compact tables and a few lines under them; no newline at the end."""
    columns = _columns(report)
    table = [["split", "questions", "teacher", *(name.replace("_", " ") for name in columns)]]
    for split, counts in report["splits"].items():
        for teacher, column in counts["teachers"].items():
            table.append(
                [
                    split,
                    f"{counts['questions']:,}",
                    teacher,
                    *(_cell(name, column) for name in columns),
                ]
            )
    lines = _align(table) + [
        "",
        f"equal questions within a split: {_join({s: c['duplicate_questions'] for s, c in report['splits'].items()})}",
        f"equal questions across splits: {_join(report['overlap'])}",
    ]
    lines += [f"repaired: {_join(report['repairs'])}"] if "repairs" in report else []
    lines += [f"log: {_join(report['log'])}"] if "log" in report else []
    lines += [corpus_line(told) for told in report.get("corpora", [])]
    lines += [
        f"{teacher} wrote: {_join(told)}" for teacher, told in report.get("generations", {}).items()
    ]
    lines += _policy(report["policy"]) if "policy" in report else []
    lines += _unforced(report.get("unforced", {}))
    return "\n".join(lines + _problems(report.get("problems", [])))


def verdict(report: dict) -> list[str]:
    """The report in a few plain sentences: the share of each teacher's rationales that is sound, its commonest flaw, what
    the policy does, and the teachers' own accuracy.
    """
    totals = {teacher: total(report, teacher) for teacher in teachers(report)}
    wrote = {teacher: counts for teacher, counts in totals.items() if counts["rationales"]}
    shares = [
        f"{percent(counts['sound'], counts['rationales'])} of {teacher}'s {counts['rationales']:,}"
        for teacher, counts in sorted(
            wrote.items(), key=lambda item: -item[1]["sound"] / item[1]["rationales"]
        )
    ]
    said = [
        f"{_listed(shares)} rationales are sound: they have no flaw that counts."
        if shares
        else "There is no rationale."
    ]
    for teacher, counts in wrote.items():
        worst = max(BAD, key=counts.__getitem__)
        if counts[worst]:
            said.append(
                f"The commonest flaw of {teacher}: {percent(counts[worst], counts['rationales'])} of the time it "
                f"{MEANING[worst]}."
            )
    said += [
        f"{teacher} has no rationale for {counts['missing']:,} questions."
        for teacher, counts in totals.items()
        if counts["missing"]
    ]
    if "policy" in report:
        dropped = sum(told["dropped"] for told in report["policy"]["teachers"].values())
        count = f"{dropped:,} of them" if dropped else "none"
        said.append(f"The policy {report['policy']['name']} keeps {count} out of training.")
    for split, teacher, told in own_accuracy(report):
        said.append(
            f"Without being shown the answer, {teacher} is right on {accuracy(told['first'])} {split} questions."
        )
    return said


def teachers(report: dict) -> list[str]:
    """The teachers' names, in the order of the columns."""
    return list(
        dict.fromkeys(
            teacher for counts in report["splits"].values() for teacher in counts["teachers"]
        )
    )


def total(report: dict, teacher: str) -> dict[str, int]:
    """A teacher's counts over all splits (without `mean_words`)."""
    columns = [counts["teachers"][teacher] for counts in report["splits"].values()]
    return {
        name: sum(column[name] for column in columns) for name in columns[0] if name != "mean_words"
    }


def own_accuracy(report: dict) -> Iterable[tuple[str, str, dict]]:
    """Yields (split, teacher, what `choose.accuracy` told) for each that has unforced samples."""
    for split, told in report.get("unforced", {}).items():
        for teacher, counts in told.items():
            yield split, teacher, counts


def accuracy(told: dict) -> str:
    """E.g. "61.0 % [51.2–70.0] of 100"; the brackets are the 95 % interval."""
    if not told["n"]:
        return "none of 0"
    return f"{100 * told['correct'] / told['n']:.1f} % [{100 * told['low']:.1f}–{100 * told['high']:.1f}] of {told['n']:,}"


def percent(part: int, whole: int) -> str:
    """A share in whole percent that shows neither none nor all where there are some, or all but some."""
    share = 100 * part / whole if whole else 0.0
    return (
        "under 1 %" if 0 < share < 0.5 else "over 99 %" if 99.5 <= share < 100 else f"{share:.0f} %"
    )


def _policy(policy: dict) -> list[str]:
    lines = []
    for teacher, told in policy["teachers"].items():
        why = f" ({_join(told['flags'])})" if told["flags"] else ""
        cut = f", {told['truncated']:,} truncated" if told["truncated"] else ""
        lines.append(
            f"policy {policy['name']}: {teacher} {told['kept']:,} kept, {told['dropped']:,} dropped{why}{cut}"
        )
    return lines


def corpus_line(told: dict) -> str:
    """Where the columns of another corpus come from, and how many of its rows were used."""
    names = ("rows", "rows joined by content alone", "rows that match no question")
    return (
        f"corpus {told['fingerprint'][:12]} ({told['source']}) with {', '.join(told['teachers'])}: "
        f"{_join({name: told[name] for name in names})}"
    )


def _unforced(unforced: Mapping[str, Mapping[str, dict]]) -> list[str]:
    if not unforced:
        return []
    table = [
        [
            "not shown the answer",
            "teacher",
            "samples",
            "stated",
            "right",
            "rejected",
            "first sample",
            "majority vote",
        ]
    ]
    for split, teacher, told in own_accuracy({"unforced": unforced}):
        counts = [
            f"{told[name]:,} {percent(told[name], told['samples'])}"
            for name in ("stated", "right", "rejected")
        ]
        table.append(
            [
                split,
                teacher,
                f"{told['samples']:,}",
                *counts,
                accuracy(told["first"]),
                accuracy(told["vote"]),
            ]
        )
    return ["", *_align(table, left=(0, 1)), ""]


def _columns(report: dict) -> list[str]:
    """The columns of the table; that of a flag only where some rationale has it."""
    found = {
        flag
        for counts in report["splits"].values()
        for column in counts["teachers"].values()
        for flag in FLAGS
        if column[flag]
    }
    return [
        "rationales",
        "missing",
        "sound",
        *(flag for flag in FLAGS if flag in found),
        "stated",
        "mean_words",
    ]


def _cell(name: str, column: dict) -> str:
    """A count, and behind a flag's its share of the rationales."""
    if name not in (*FLAGS, "sound"):
        return f"{column[name]:,}"
    return (
        f"{column[name]:,} {100 * column[name] / max(column['rationales'], 1):.0f}%"
        if column[name]
        else "0"
    )


def _align(table: list[list[str]], left: tuple[int, ...] = (0, 2)) -> list[str]:
    """The lines of a table; `left` are its columns of names."""
    widths = [max(map(len, column)) for column in zip(*table)]
    return [
        "  ".join(
            cell.ljust(width) if index in left else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(line, widths))
        ).rstrip()
        for line in table
    ]


def _join(counts: Mapping[str, int]) -> str:
    return (
        ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)
        or "none"
    )


def _listed(parts: list[str]) -> str:
    return ", ".join(parts[:-1]) + (" and " if parts[1:] else "") + parts[-1]


def _problems(problems: list[str]) -> list[str]:
    more = (
        [f"  … and {len(problems) - LISTED:,} more: see 'report' in manifest.json"]
        if len(problems) > LISTED
        else []
    )
    return [
        f"not as expected: {len(problems):,}",
        *(f"  {line}" for line in problems[:LISTED]),
        *more,
    ]
