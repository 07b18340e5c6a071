"""A corpus split as tokens: every question's input, and its target of every term."""

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np

from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs
from tinyllm_jax.student.student import ANSWER, Encoded, Student
from tinyllm_jax.training.run import AFTER


class Ragged:
    """Rows of token ids of different lengths, flat in memory."""

    def __init__(self, rows: list[list[int]]):
        self.lengths = np.array([len(row) for row in rows], np.int64)
        self._ends = np.cumsum(self.lengths)
        self._tokens = np.fromiter(itertools.chain(*rows), np.int32, int(self.lengths.sum()))

    def __getitem__(self, index: int) -> np.ndarray:
        """The token ids of one row."""
        end = self._ends[index]
        return self._tokens[end - self.lengths[index] : end]

    def rows(self) -> list[np.ndarray]:
        """The token ids of all rows."""
        return [self[index] for index in range(len(self.lengths))]


@dataclasses.dataclass(frozen=True)
class Tokens:
    """One split as tokens.

    Attributes:
      inputs: every question's input: per term, or one for all terms where the decoder is given the
        prefix.
      targets: per term, every question's target (empty where the rationale is missing).
      weight: (terms, questions) float32, the corpus's row weights; 0 where the rationale is
        missing.
      after: for every question how many tokens of the answer's target come before the rationale
        that follows it; what lies behind belongs to the last row of `weight`. None: no rationale
        follows an answer.
      report: counts to print: questions, and per term the missing rationales, the cut contexts, the
        cut targets.
      prefix_tokens: per term, how many tokens each target begins with that the student is given and
        does not learn to write; () for none.
    """

    inputs: list[Ragged]
    targets: list[Ragged]
    weight: np.ndarray
    report: dict
    prefix_tokens: tuple[int, ...] = ()
    after: np.ndarray | None = None

    def __len__(self) -> int:
        return self.weight.shape[1]


@dataclasses.dataclass(frozen=True)
class _Targets:
    """Every question's target of one term.

    Attributes:
      ids: the token ids of each, [] where it is missing or has no weight.
      weight: (questions,) float32, the corpus's row weights; 0 where the target is missing.
      report: counts of the term, as `Tokens.report` has them.
    """

    ids: list[list[int]]
    weight: np.ndarray
    report: dict[str, int]


def tokenize(
    rows: Sequence[Row],
    student: Student,
    terms: Sequence[str],
    length: int,
    teachers: Sequence[str] = (),
) -> Tokens:
    """The rows of a split as tokens.

    Args:
      rows: at least one.
      student: whose tokenizer, prefixes and input length are used.
      terms: the objective's, in their order.
      length: the most tokens of a target, and of a rationale that follows an answer.
      teachers: whose rationales may follow an answer, where AFTER is among the terms.

    Raises:
      UserError: no row has any target.
    """
    # The inputs: one for each term, or, where the decoder is given the prefix, one for all terms.
    questions = [row.question for row in rows]
    own = [term for term in terms if term != AFTER]  # the terms that have a target of their own
    shared = student.prefix_side == "decoder"
    encoded = [student.encode(questions, term) for term in (own[:1] if shared else own)]

    # The targets.
    asked = encoded * len(own) if shared else encoded
    prefixes = [student.decoder_prefix(term) for term in own]
    found = {
        term: _targets(rows, student, term, length, of_term, prefix)
        for term, of_term, prefix in zip(own, asked, prefixes, strict=True)
    }
    targets = [Ragged(found[term].ids) for term in own]

    # A rationale that follows the answer stands behind the answer's end of sequence. So a student
    # stops there when it answers, and nothing that asks students need know of it.
    after = None
    if AFTER in terms:
        after = targets[0].lengths
        found[AFTER] = _targets(rows, student, AFTER, length, asked[0], [], teachers)
        pairs = zip(found[own[0]].ids, found[AFTER].ids, strict=True)
        targets[0] = Ragged([[*answer, *rationale] for answer, rationale in pairs])

    if not any(each.weight.any() for each in found.values()):
        raise UserError(
            f"the corpus has no target for any of the terms {', '.join(terms)}; "
            "choose other teachers"
        )
    report = {
        "questions": len(rows),
        "target_length": length,
        "terms": {term: each.report for term, each in found.items()},
        "unknown_in_questions": inputs.unknown_tokens(student.tokenizer, encoded[0].rows),
    }
    return Tokens(
        [Ragged(each.rows) for each in encoded],
        targets,
        np.stack([each.weight for each in found.values()]),
        report,
        tuple(map(len, prefixes)),
        after,
    )


def _targets(
    rows: Sequence[Row],
    student: Student,
    term: str,
    length: int,
    asked: Encoded,
    prefix: list[int],
    teachers: Sequence[str] = (),
) -> _Targets:
    """Tokenizes every question's target of a term.

    Args:
      rows: at least one.
      student: whose tokenizer is used.
      term: the term.
      length: the most tokens of a target, its prefix aside.
      asked: the questions, as they ask for this target.
      prefix: token ids that each target begins with.
      teachers: for AFTER, as `target_of` takes them.
    """
    texts, row_weights = zip(*(target_of(row, term, teachers) for row in rows), strict=True)
    weight = np.array(row_weights, np.float32)
    written, cut = inputs.encode_targets(student.tokenizer, texts, length)
    ids = [prefix + target if w else [] for target, w in zip(written, weight, strict=True)]
    report = {
        "targets": int(np.count_nonzero(weight)),
        "missing_or_weightless": int(np.count_nonzero(weight == 0)),
        "input_length": asked.length,
        "contexts_cut": int(np.count_nonzero(asked.cut)),
        "targets_cut": int(np.count_nonzero(np.array(cut) * weight)),
        "unknown_in_targets": inputs.unknown_tokens(student.tokenizer, ids),
    }
    return _Targets(ids, weight, report)


def target_of(row: Row, term: str, teachers: Sequence[str] = ()) -> tuple[str, float]:
    """The text and the weight of a question's target of a term; ("", 0) where it has none.

    Args:
      row: the question and its rationales.
      term: the answer, a teacher, or AFTER.
      teachers: for AFTER: of their rationales the one with the largest weight is taken, the first
        of equals.
    """
    if term == ANSWER:
        return row.question.answer, 1.0
    names = teachers if term == AFTER else (term,)
    found = [row.rationales[name] for name in names if name in row.rationales]
    written = [(rationale.text, rationale.weight) for rationale in found if rationale.text]
    return max(written, key=lambda pair: pair[1], default=("", 0.0))
