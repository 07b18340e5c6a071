"""Which questions are held out, and which are too long to train on."""

import pytest

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.student.config import PRESETS
from tinyllm_jax.student.inputs import load_tokenizer
from tinyllm_jax.student.student import Student
from tinyllm_jax.tasks import Question
from tinyllm_jax.training import questions
from tinyllm_jax.training.run import ValidationSet

STUDENT = Student(PRESETS["byte-tiny"], {}, load_tokenizer("byte"), {"answer": "predict"}, 64)


def row(index: int, length: int = 0, context: str = "") -> Row:
    text = f"what is {index}?" + "x" * length
    return Row(Question(f"q{index}", "custom", "train", context, text, ("one", "two"), "two"), {})


def test_a_share_is_held_out_by_content():
    rows = [row(index) for index in range(400)]
    learned, held_out = questions.hold_out(rows, 0.2)
    assert len(learned) + len(held_out) == 400 and 60 < len(held_out) < 100
    # Where a question goes does not depend on the others, and a larger share holds out more.
    of_some = [row for row in held_out if row in rows[:300]]
    assert questions.hold_out(rows[:300], 0.2)[1] == of_some
    _, more = questions.hold_out(rows, 0.3)
    assert {row.question.id for row in held_out} < {row.question.id for row in more}
    with pytest.raises(UserError, match="holds 0 of 1 training questions out"):
        questions.hold_out([row(0)], 0.0001)


def test_a_corpus_without_validation_questions_is_refused_unless_a_share_is_held_out(tmp_path):
    store.write_corpus(
        tmp_path / "c", "custom", (), {"train": [row(i) for i in range(40)]}, {}, "made"
    )
    corpus = Corpus(tmp_path / "c")
    with pytest.raises(UserError, match="no validation questions.*config.validation.share=0.1"):
        questions.split(corpus, ValidationSet())
    learned, held_out = questions.split(corpus, ValidationSet(share=0.25, questions=3))
    assert len(held_out) == 3 and not {r.question.id for r in held_out} & {
        r.question.id for r in learned
    }


def test_a_question_that_is_too_long_is_left_out_and_a_long_context_is_not():
    rows = [row(0), row(1, length=500), row(2, context="c" * 500), row(3, length=90)]
    kept, left = questions.leave_out(rows, STUDENT, 200)
    assert [r.question.id for r in kept] == ["q0", "q2", "q3"]
    assert left == {"q1": len(STUDENT.encode([rows[1].question]).rows[0])}
    assert questions.leave_out(rows, STUDENT, 0) == (rows, {})
    with pytest.raises(UserError, match="raise config.lengths.most_input"):
        questions.leave_out(rows[1:2], STUDENT, 200)
