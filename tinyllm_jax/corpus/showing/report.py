"""The report of a corpus as text: what was counted, what was repaired, what could not be used."""

from collections.abc import Iterator, Mapping

from tinyllm_jax.corpus.judging.quality import BAD, FLAGS

LISTED = 10  # problems shown; the manifest has them all
MEANING = {  # what a rationale with a flag does
    "empty": "is empty",
    "unterminated": "breaks off in mid-sentence or at the token limit",
    "echo": "falls back into the prompt's form, mostly with another question",
    "contradicts": "argues for another answer than the gold one",
    "duplicate": "is what the teacher wrote about an earlier question too",
    "no_new_word": "adds no content word to question and choices",
    "repetition": "says a sentence twice, or goes round in circles",
    "off_topic": "shares no word with its question, and states no answer",
    "other_language": "is, or has words, in another language than its question",
    "mojibake": "holds garbled characters",
    "refusal": "refuses to answer",
    "error_message": "is a program's error message",
    "copied": "gives the answer before it says anything else",
    "truncated": "was cut to its last full sentence",
}


def format_report(report: Mapping) -> str:
    """A report of `import_released` or `build` as tables and a few lines; no newline at the end."""
    columns = _columns(report)
    table = [["split", "questions", "teacher", *(name.replace("_", " ") for name in columns)]]
    duplicates = {}
    for split, counts in report["splits"].items():
        duplicates[split] = counts["duplicate_questions"]
        for teacher, column in counts["teachers"].items():
            cells = [_cell(name, column) for name in columns]
            table.append([split, f"{counts['questions']:,}", teacher, *cells])
    lines = [
        *_align(table, left=(0, 2)),
        "",
        f"equal questions within a split: {_join(duplicates)}",
        f"equal questions across splits: {_join(report['overlap'])}",
    ]
    for name, counted in (("repaired", "repairs"), ("log", "log")):
        if counted in report:
            lines.append(f"{name}: {_join(report[counted])}")
    for summary in report.get("rationales", []):
        lines += file_lines(summary)
    lines += [corpus_line(summary) for summary in report.get("corpora", [])]
    for teacher, totals in report.get("generations", {}).items():
        lines.append(f"{teacher} wrote: {_join(totals)}")
    if "policy" in report:
        lines += _policy(report["policy"])
    lines += _unforced(report)
    lines += _problems(report.get("problems", []))
    return "\n".join(lines)


def verdict(report: Mapping) -> list[str]:
    """The report in a few plain sentences.

    They give the share of each teacher's rationales that is sound, its commonest flaw, what the
    policy does, and the teachers' own accuracy.
    """
    totals = {teacher: total(report, teacher) for teacher in teachers(report)}
    wrote = {teacher: counts for teacher, counts in totals.items() if counts["rationales"]}
    by_share = sorted(wrote, key=lambda name: -wrote[name]["sound"] / wrote[name]["rationales"])
    shares = []
    for teacher in by_share:
        sound, rationales = wrote[teacher]["sound"], wrote[teacher]["rationales"]
        shares.append(f"{percent(sound, rationales)} of {teacher}'s {rationales:,}")
    said = ["There is no rationale."]
    if shares:
        said = [f"{_listed(shares)} rationales are sound: they have no flaw that counts."]
    for teacher, counts in wrote.items():
        worst = max(BAD, key=counts.__getitem__)
        if counts[worst]:
            share = percent(counts[worst], counts["rationales"])
            said.append(
                f"The commonest flaw of {teacher}: {share} of the time it {MEANING[worst]}."
            )
    said += [
        f"{teacher} has no rationale for {counts['missing']:,} questions."
        for teacher, counts in totals.items()
        if counts["missing"]
    ]
    if "policy" in report:
        dropped = sum(kept["dropped"] for kept in report["policy"]["teachers"].values())
        count = sum(counts["rationales"] for counts in totals.values())
        kept_out = f"{dropped:,} of the {count:,}" if dropped else f"none of the {count:,}"
        name = report["policy"]["name"]
        said.append(f"The policy {name} keeps {kept_out} rationales out of training.")
    for split, teacher, own in own_accuracy(report):
        first = accuracy(own["first"])
        said.append(
            f"Without being shown the answer, {teacher} is right on {first} {split} questions."
        )
        unread = own["samples"] - own["stated"]
        if unread:
            said.append(f"Of its samples, {unread:,} state no answer that can be read.")
    return said


def teachers(report: Mapping) -> list[str]:
    """The teachers' names, in the order of the columns."""
    names: dict[str, None] = {}  # for its order
    for counts in report["splits"].values():
        names |= dict.fromkeys(counts["teachers"])
    return list(names)


def total(report: Mapping, teacher: str) -> dict[str, int]:
    """A teacher's counts over all splits (without `mean_words`)."""
    columns = [counts["teachers"][teacher] for counts in report["splits"].values()]
    names = [name for name in columns[0] if name != "mean_words"]
    return {name: sum(column[name] for column in columns) for name in names}


def origin(report: Mapping, source: str, teacher: str) -> str:
    """Where a teacher's rationales come from, in a few words.

    Args:
      report: of an import or a build.
      source: what the corpus's manifest says of the whole.
      teacher: its name.
    """
    for summary in report.get("rationales", []):
        if summary["teacher"] == teacher:
            return f"file {summary['file']}"
    for summary in report.get("corpora", []):
        if teacher in summary["teachers"]:
            return f"{summary['source']} (corpus {summary['fingerprint'][:12]})"
    return "rationale logs" if teacher in report.get("generations", {}) else source


def own_accuracy(report: Mapping) -> Iterator[tuple[str, str, dict]]:
    """Yields (split, teacher, what `choose.accuracy` counted) for each with unforced samples."""
    for split, by_teacher in report.get("unforced", {}).items():
        for teacher, counts in by_teacher.items():
            yield split, teacher, counts


def accuracy(share: Mapping) -> str:
    """A share with its 95 % interval, e.g. "61.0 % [51.2–70.0] of 100".

    Args:
      share: `correct`, `n`, and the interval's `low` and `high` as fractions.
    """
    if not share["n"]:
        return "none of 0"
    mean = 100 * share["correct"] / share["n"]
    low, high = 100 * share["low"], 100 * share["high"]
    return f"{mean:.1f} % [{low:.1f}–{high:.1f}] of {share['n']:,}"


def percent(part: int, whole: int) -> str:
    """A share in whole percent; it never shows 0 % for a few, nor 100 % for nearly all."""
    share = 100 * part / whole if whole else 0.0
    if 0 < share < 0.5:
        return "under 1 %"
    if 99.5 <= share < 100:
        return "over 99 %"
    return f"{share:.0f} %"


def _policy(policy: dict) -> list[str]:
    lines = []
    for teacher, counts in policy["teachers"].items():
        why = f" ({_join(counts['flags'])})" if counts["flags"] else ""
        cut = f", {counts['truncated']:,} truncated" if counts["truncated"] else ""
        kept, dropped = f"{counts['kept']:,} kept", f"{counts['dropped']:,} dropped"
        lines.append(f"policy {policy['name']}: {teacher} {kept}, {dropped}{why}{cut}")
    return lines


def corpus_line(summary: Mapping) -> str:
    """Where the columns of another corpus come from, and how many of its rows were used."""
    names = ("rows", "rows joined by content alone", "rows that match no question")
    wrote = ", ".join(summary["teachers"])
    return (
        f"corpus {summary['fingerprint'][:12]} ({summary['source']}) with {wrote}: "
        f"{_join({name: summary[name] for name in names})}"
    )


def file_lines(summary: Mapping) -> list[str]:
    """What a file of rationales holds, which answers they state, and which rows did not join."""
    counts = {"rows": summary["rows"], "joined": summary["joined"]}
    lines = [
        f"{summary['teacher']} from {summary['file']!r} (sha256 {summary['sha256'][:12]}): "
        f"{_join(counts)}; the stated answer beside gold: {_join(summary['stated answers'])}"
    ]
    count = sum(summary["left out"].values())
    if count:
        lines.append(f"  rows that did not join: {count:,}")
        lines += [f"    {number:,}: {why}" for why, number in summary["left out"].items()]
        lines.append("  the first of them:")
        lines += [f"    {line}" for line in summary["first left out"]]
    return lines


def _unforced(report: Mapping) -> list[str]:
    """The table of the teachers' own accuracy; no line where there is none."""
    head = ["not shown the answer", "teacher", "samples", "stated", "right", "rejected"]
    table = [[*head, "first sample", "majority vote"]]
    for split, teacher, counts in own_accuracy(report):
        shares = [
            f"{counts[name]:,} {percent(counts[name], counts['samples'])}"
            for name in ("stated", "right", "rejected")
        ]
        accuracies = [accuracy(counts["first"]), accuracy(counts["vote"])]
        table.append([split, teacher, f"{counts['samples']:,}", *shares, *accuracies])
    if len(table) == 1:
        return []
    return ["", *_align(table, left=(0, 1)), ""]


def _columns(report: Mapping) -> list[str]:
    """The columns of the table; that of a flag only where some rationale has it."""
    totals = [total(report, teacher) for teacher in teachers(report)]
    flags = [flag for flag in FLAGS if any(counts[flag] for counts in totals)]
    return ["rationales", "missing", "sound", *flags, "stated", "mean_words"]


def _cell(name: str, column: Mapping) -> str:
    """A count; one of sound or flawed rationales with its share of all rationales."""
    count = column[name]
    if name not in (*FLAGS, "sound"):
        return f"{count:,}"
    if not count:
        return "0"
    return f"{count:,} {100 * count / max(column['rationales'], 1):.0f}%"


def _align(table: list[list[str]], left: tuple[int, ...]) -> list[str]:
    """The lines of a table; the columns of names, whose indices are `left`, begin at the left."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = []
    for row in table:
        cells = []
        for index, (cell, width) in enumerate(zip(row, widths, strict=True)):
            cells.append(cell.ljust(width) if index in left else cell.rjust(width))
        lines.append("  ".join(cells).rstrip())
    return lines


def _join(counts: Mapping[str, int]) -> str:
    """The counts that are not 0, e.g. "rows 14, failed rows 2"."""
    parts = [f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count]
    return ", ".join(parts) or "none"


def _listed(parts: list[str]) -> str:
    """The parts as one enumeration, e.g. "a, b and c"."""
    if len(parts) == 1:
        return parts[0]
    return f"{', '.join(parts[:-1])} and {parts[-1]}"


def _problems(problems: list[str]) -> list[str]:
    lines = [f"not as expected: {len(problems):,}"]
    lines += [f"  {line}" for line in problems[:LISTED]]
    if len(problems) > LISTED:
        more = len(problems) - LISTED
        lines.append(f"  … and {more:,} more: see 'report' in manifest.json")
    return lines
