"""Reads finished corpora whose teachers become columns of a build, and joins them by content."""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.joining.logs import Identity, identity_of
from tinyllm_jax.corpus.schema import Rationale
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.tasks.question import Question


@dataclasses.dataclass(frozen=True)
class MergedColumns:
    """What other corpora hold about the questions of a build.

    Attributes:
      rationales: by teacher and question.
      sources: by teacher the directories that hold a column of it.
      summaries: of each corpus its source, fingerprint and teachers, its rows, how many of them
        were joined by content though the id differs, and how many match no question. There is no
        path in it, so that equal corpora make equal corpora.
    """

    rationales: dict[str, dict[Identity, Rationale]]
    sources: dict[str, list[str]]
    summaries: list[dict]


def read_corpora(
    corpora: Sequence[str | os.PathLike], task: str, questions: Mapping[str, Sequence[Question]]
) -> MergedColumns:
    """Reads corpora and joins their rows to the questions of a build.

    A row belongs to the question of its split, id and content. Where only the id differs, it
    belongs to the question of its split and content, if just one question and one row have them.

    Args:
      corpora: the directories.
      task: the task that they must be of.
      questions: by split.

    Raises:
      UserError: one of them is no corpus, is damaged, or is of another task.
    """
    rationales: dict[str, dict[Identity, Rationale]] = {}
    sources: dict[str, list[str]] = {}
    summaries: list[dict] = []
    for directory in sorted(map(str, corpora)):
        corpus = Corpus(directory, task)
        counts: collections.Counter[str] = collections.Counter()
        for teacher in corpus.teachers:
            sources.setdefault(teacher, []).append(directory)
            rationales[teacher] = {}
        for split in corpus.splits:
            for identity, found in _join(corpus, split, questions.get(split, ()), counts):
                for teacher, rationale in found.items():
                    rationales[teacher][identity] = rationale
        summaries.append(
            {
                "source": corpus.manifest.source,
                "fingerprint": corpus.fingerprint,
                "teachers": sorted(corpus.teachers),
                "rows": counts["rows"],
                "rows joined by content alone": counts["by content"],
                "rows that match no question": counts["unmatched"],
            }
        )
    summaries.sort(key=lambda summary: (summary["fingerprint"], summary["teachers"]))
    return MergedColumns(rationales, sources, summaries)


def _join(
    corpus: Corpus, split: str, questions: Sequence[Question], counts: collections.Counter[str]
) -> list[tuple[Identity, dict[str, Rationale]]]:
    """Each row of a split that belongs to a question: the question, and the row's rationales."""
    rows = [(row, identity_of(row.question)) for row in corpus.rows(split)]
    rows_of_content = collections.Counter(content for _, (_, _, content) in rows)
    known = {identity_of(question) for question in questions}
    known_of_content: dict[str, list[Identity]] = collections.defaultdict(list)
    for identity in known:
        known_of_content[identity[2]].append(identity)

    joined = []
    for row, identity in rows:
        counts["rows"] += 1
        content = identity[2]
        twins = known_of_content.get(content, [])
        if identity in known:
            joined.append((identity, row.rationales))
        elif len(twins) == 1 and rows_of_content[content] == 1:
            joined.append((twins[0], row.rationales))
            counts["by content"] += 1
        else:
            counts["unmatched"] += 1
    return joined
