"""The columns of finished corpora, joined to the questions of a build."""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.joining.logs import Slot, slot_of
from tinyllm_jax.corpus.schema import Rationale
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.tasks.question import Question


@dataclasses.dataclass(frozen=True)
class Beside:
    """What corpora hold about the questions of a build.

    Attributes:
      rationales: by teacher and question.
      sources: by teacher the directory that its column comes from.
      told: of each corpus its source, fingerprint and teachers, its rows, how many of them were
        joined by content though the id differs, and how many match no question. No path: equal
        corpora make equal corpora.
    """

    rationales: dict[str, dict[Slot, Rationale]]
    sources: dict[str, list[str]]
    told: list[dict]


def read_corpora(
    corpora: Sequence[str | os.PathLike], task: str, questions: Mapping[str, Sequence[Question]]
) -> Beside:
    """Reads corpora and joins their rows: by split, id and content; where the id differs but nothing else of the split
    has the content, on both sides, by split and content.

    Raises:
      UserError: one is no corpus, damaged, or of another task.
    """
    rationales: dict[str, dict[Slot, Rationale]] = {}
    sources, told = collections.defaultdict(list), []
    for directory in sorted(map(str, corpora)):
        corpus = Corpus(directory, task)
        counts = collections.Counter()
        for teacher in corpus.teachers:
            sources[teacher].append(directory)
            rationales[teacher] = {}
        for split in corpus.splits:
            for slot, found in _join(corpus, split, questions.get(split, ()), counts):
                for teacher, rationale in found.items():
                    rationales[teacher][slot] = rationale
        told.append(
            {
                "source": corpus.manifest.source,
                "fingerprint": corpus.fingerprint,
                "teachers": sorted(corpus.teachers),
                "rows": counts["rows"],
                "rows joined by content alone": counts["by content"],
                "rows that match no question": counts["unmatched"],
            }
        )
    return Beside(
        rationales,
        dict(sources),
        sorted(told, key=lambda one: (one["fingerprint"], one["teachers"])),
    )


def _join(
    corpus: Corpus, split: str, questions: Sequence[Question], counts: collections.Counter
) -> list[tuple[Slot, dict[str, Rationale]]]:
    rows = [(row, slot_of(row.question)) for row in corpus.rows(split)]
    known = {slot_of(question) for question in questions}
    theirs, ours = (
        collections.Counter(key for _, (_, _, key) in rows),
        collections.defaultdict(list),
    )
    for slot in known:
        ours[slot[2]].append(slot)
    joined = []
    for row, slot in rows:
        counts["rows"] += 1
        twins = ours.get(slot[2], [])
        if slot in known:
            joined.append((slot, row.rationales))
        elif len(twins) == 1 and theirs[slot[2]] == 1:
            joined.append((twins[0], row.rationales))
            counts["by content"] += 1
        else:
            counts["unmatched"] += 1
    return joined
