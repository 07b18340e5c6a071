"""Reads files of rationales of any origin as columns of a build, and joins them by content.

Of a joined rationale the sentence at its end that states the answer is cut off; one that states
another answer than the gold one gets the flag `contradicts`, as a logged one does. Every row that
does not join is counted by its reason.
"""

import collections
import dataclasses
import os
from collections.abc import Mapping, Sequence

from tinyllm_jax.corpus.importing.rationales import FileRow, read_rationales
from tinyllm_jax.corpus.joining.find_questions import QuestionIndex, words
from tinyllm_jax.corpus.joining.logs import Identity, identity_of
from tinyllm_jax.corpus.judging import answers, quality
from tinyllm_jax.corpus.schema import Rationale
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

LISTED = 5  # rows that a report lists of those that do not join
QUOTED = 80  # characters that it shows of one
STATED = ("agrees", "disagrees", "states none", "cut off")


@dataclasses.dataclass(frozen=True)
class FileColumns:
    """What files of rationales hold about the questions of a build.

    Attributes:
      rationales: by teacher and question.
      sources: by teacher its file.
      summaries: of each file its teacher, name and hash; the number of its rows and of the joined
        ones; of these the numbers of `STATED`; of the others the number by reason, and the first of
        them. There is no path in it, so that equal files make equal corpora.
    """

    rationales: dict[str, dict[Identity, Rationale]]
    sources: dict[str, str]
    summaries: list[dict]


def read_files(
    files: Mapping[str, str | os.PathLike], questions: Mapping[str, Sequence[Question]]
) -> FileColumns:
    """Reads files and joins their rows to the questions of a build.

    A row belongs to the question that `QuestionIndex` finds. Questions that are equal in text,
    choices, context and answer are one question that occurs several times: each row about it goes
    to the next occurrence. Where different questions fit equally the row is ambiguous and left out.

    Args:
      files: by teacher what `read_rationales` reads.
      questions: by split.

    Raises:
      UserError: a file cannot be read, a row has no known form, or no row of a file joins.
    """
    index = QuestionIndex(question for part in questions.values() for question in part)
    rationales, sources, summaries = {}, {}, []
    for teacher, file in sorted(files.items()):
        read = read_rationales(file)
        joined = _Join(index, teacher)
        for row in read.rows:
            joined.add(row)
        if not joined.rationales:
            first = f"; the first: {joined.listed[0]}" if joined.listed else ", for it has none"
            raise UserError(
                f"no row of {file} joins a question{first}; give the rationales of this task, or "
                f"the questions that they are about"
            )
        rationales[teacher] = joined.rationales
        sources[teacher] = os.fspath(file)
        summaries.append(
            {
                "teacher": teacher,
                "file": read.name,
                "sha256": read.sha256,
                "rows": len(read.rows),
                "joined": len(joined.rationales),
                "stated answers": {name: joined.stated[name] for name in STATED},
                "left out": dict(joined.left_out),
                "first left out": joined.listed,
            }
        )
    return FileColumns(rationales, sources, summaries)


class _Join:
    """The join of one file's rows: what was joined so far, and what was counted.

    Args:
      index: the questions of the build.
      teacher: the name of the column.

    Attributes:
      rationales: by question.
      stated: the number of rationales whose stated answer "agrees" with gold or "disagrees", that
        it was "cut off" from, and whose text "states none".
      left_out: the number of rows that did not join, by reason.
      listed: a line about each of the first of them.
    """

    def __init__(self, index: QuestionIndex, teacher: str):
        self._index = index
        self._teacher = teacher
        self.rationales: dict[Identity, Rationale] = {}
        self.stated: collections.Counter[str] = collections.Counter()
        self.left_out: collections.Counter[str] = collections.Counter()
        self.listed: list[str] = []

    def add(self, row: FileRow) -> None:
        """Joins one row, or counts why it does not join."""
        question = row.wrong or self._question_of(row)
        if isinstance(question, Question):
            text = answers.without_stated_answer(row.rationale, question)
            if text:
                self._keep(row, question, text)
                return
            question = "its rationale is nothing but an answer"
        self.left_out[question] += 1
        if len(self.listed) < LISTED:
            self.listed.append(f"{row.where}: {question}: {row.about[:QUOTED]!r}")

    def _keep(self, row: FileRow, question: Question, text: str) -> None:
        stated = answers.stated_answer(row.rationale, question)
        if stated is None:
            self.stated["states none"] += 1
        else:
            agrees = question.choices[stated] == question.answer
            self.stated["agrees" if agrees else "disagrees"] += 1
        self.stated["cut off"] += text != row.rationale.strip()
        flags = quality.flags_of(text, question, stated=stated)
        votes = tuple(float(index == stated) for index in range(len(question.choices)))
        self.rationales[identity_of(question)] = Rationale(
            text, self._teacher, flags=flags, votes=() if stated is None else votes
        )

    def _question_of(self, row: FileRow) -> Question | str:
        """The question that a row belongs to, or why there is none."""
        found: list[Question] | str
        if row.instruction:
            found = self._index.in_text(row.instruction)
        elif row.question:
            found = self._index.of_content(row.question, row.choices)
        else:
            found = self._index.of_id(row.id)
        if isinstance(found, str):
            return found
        if row.split:
            found = [question for question in found if question.split == row.split]
            if not found:
                return "its question is in another split"
        if row.id:
            found = [question for question in found if question.id == row.id] or found
        if len(set(map(_content, found))) > 1:
            return "ambiguous: different questions fit equally"
        for question in found:
            if identity_of(question) not in self.rationales:
                return question
        return "a second row about its question: the first was kept"


def _content(question: Question) -> tuple:
    """A value that is equal for questions that differ in case and white space only."""
    choices = tuple(words(choice) for choice in question.choices)
    return words(question.context), words(question.question), choices, question.gold
