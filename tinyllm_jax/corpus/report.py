"""A corpus's report as text a person can read: what was counted, what was repaired, what could not be used."""

from tinyllm_jax.corpus.quality import FLAGS

COLUMNS = ("rationales", "missing", *FLAGS, "stated", "mean_words")
LISTED = 10  # problems shown; the manifest has them all


def format_report(report: dict) -> str:
    """A report of `import_released` or `build` as a compact table and a few lines under it; no newline at the end."""
    table = [["split", "questions", "teacher", *(name.replace("_", " ") for name in COLUMNS)]]
    for split, counts in report["splits"].items():
        for teacher, column in counts["teachers"].items():
            table.append([split, f"{counts['questions']:,}", teacher, *(_cell(name, column) for name in COLUMNS)])
    lines = _align(table) + [
        "",
        f"equal questions within a split: {_join({s: c['duplicate_questions'] for s, c in report['splits'].items()})}",
        f"equal questions across splits: {_join(report['overlap'])}",
    ]
    lines += [f"repaired: {_join(report['repairs'])}"] if "repairs" in report else []
    lines += [f"log: {_join(report['log'])}"] if "log" in report else []
    return "\n".join(lines + _problems(report.get("problems", [])))


def _cell(name: str, column: dict) -> str:
    """A count, and behind a flag's its share of the rationales."""
    if name not in FLAGS:
        return f"{column[name]:,}"
    return f"{column[name]:,} {100 * column[name] / max(column['rationales'], 1):.0f}%" if column[name] else "0"


def _align(table: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table)]
    left = (0, 2)  # the columns of names
    return ["  ".join(cell.ljust(width) if index in left else cell.rjust(width)
                      for index, (cell, width) in enumerate(zip(line, widths))).rstrip() for line in table]


def _join(counts: dict[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items() if count) or "none"


def _problems(problems: list[str]) -> list[str]:
    more = [f"  … and {len(problems) - LISTED:,} more: see 'report' in manifest.json"] if len(problems) > LISTED else []
    return [f"not as expected: {len(problems):,}", *(f"  {line}" for line in problems[:LISTED]), *more]
