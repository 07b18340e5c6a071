"""What a log's rows add up to: rows, tokens, time and failures."""

import dataclasses
from collections.abc import Iterable

from tinyllm_jax.corpus.logrow import LogRow


@dataclasses.dataclass(frozen=True)
class Totals:
    """The totals of a log's good and failed rows; as a string, one line for a person.

    Attributes:
      rows: good rows.
      failed: rows that failed and have not been made good.
      unforced: good rows that were not shown the gold answer.
      prompt_tokens: tokens read for the good rows (an engine that counts none adds none).
      tokens: tokens written in the good rows (likewise).
      seconds: the time spent, failures included.
      unfinished: good rows that ended at max_tokens.
      contexts_cut: good rows whose context was cut to fit the window.
    """

    rows: int
    failed: int
    unforced: int
    prompt_tokens: int
    tokens: int
    seconds: float
    unfinished: int
    contexts_cut: int

    def __str__(self) -> str:
        seconds = max(self.seconds, 1e-9)
        parts = [
            f"{self.rows:,} rows in {self.seconds:,.1f} s ({self.rows / seconds:,.2f} rows/s, "
            f"{self.tokens / seconds:,.1f} tokens/s)",
            f"{self.prompt_tokens:,} tokens read, {self.tokens:,} written",
            f"{self.unforced:,} unforced",
            f"{self.unfinished:,} ended at max_tokens",
            f"{self.contexts_cut:,} contexts cut",
            f"{self.failed:,} failed",
        ]
        return "; ".join(parts)


def add_up(rows: Iterable[LogRow], failed: Iterable[LogRow]) -> Totals:
    """The totals of a log's good rows and of its failed ones."""
    rows, failed = list(rows), list(failed)
    return Totals(
        rows=len(rows),
        failed=len(failed),
        unforced=sum(not row.forced for row in rows),
        prompt_tokens=sum(max(row.prompt_tokens, 0) for row in rows),
        tokens=sum(max(row.tokens, 0) for row in rows),
        seconds=sum(row.seconds for row in rows + failed),
        unfinished=sum(row.finish_reason == "length" for row in rows),
        contexts_cut=sum(row.context_cut > 0 for row in rows),
    )
