"""Validation inside a run: every term's loss on held-out questions, and what cannot have one."""

import jax
import numpy as np
import pytest

from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.student import inputs, model
from tinyllm_jax.student.config import StudentConfig, student_config
from tinyllm_jax.student.student import Student
from tinyllm_jax.tasks import Question
from tinyllm_jax.training import initial, sharding
from tinyllm_jax.training.recipes import default_config, run_of, set_student
from tinyllm_jax.training.run import Objective, Run, StudentSpec, ValidationSet
from tinyllm_jax.training.tokens import tokenize
from tinyllm_jax.training.validation import Validation

pytestmark = pytest.mark.usefixtures("quick_compilation")
STUDENT = student_config("byte-tiny")


def resolved(teachers: tuple[str, ...], **objective) -> Run:
    run = Run(
        task="things", validation=ValidationSet(batch_size=5), objective=Objective(**objective)
    )
    return run.resolve(teachers)


def validation(rows: list[Row], run: Run) -> Validation:
    student = asked(STUDENT, inputs.load_tokenizer("byte"), run)
    return Validation(rows, student, run, sharding.make_mesh(run.mesh))


def asked(shape: StudentConfig, tokenizer, run: Run) -> Student:
    """A student for validation, which brings the parameters later."""
    return Student(shape, {}, tokenizer, run.objective.prefixes, 128)


def by_hand(params: dict, rows: list[Row], run: Run) -> dict[str, float]:
    """Each term's mean token loss, one question at a time through the whole model.

    All are padded to one length, and so compiled once.
    """
    tokenizer = inputs.load_tokenizer("byte")
    apply = jax.jit(model.apply, static_argnums=0)
    padded = lambda ids: np.pad(ids, [(0, 0), (0, 192 - ids.shape[1])])
    losses = {}
    for term in run.objective.terms:
        total, count = 0.0, 0
        for row in rows:
            text = row.question.answer if term == "answer" else row.rationales[term].text
            prefix = run.objective.prefixes[term]
            (asked,), _ = inputs.encode_questions(tokenizer, [row.question], prefix, 1 << 30)
            target = np.array([[*tokenizer(text, add_special_tokens=False)["input_ids"], 1]])
            before = np.concatenate([[[0]], target[:, :-1]], axis=1)
            logits = apply(STUDENT, params, padded(np.array([asked])), padded(before))
            logs = np.asarray(jax.nn.log_softmax(logits))
            chosen = logs[0, np.arange(target.size), target[0]]
            total, count = total - float(chosen.sum()), count + target.size
        losses[term] = total / count
    return losses


def test_losses_are_each_terms_mean_over_all_tokens(things_corpus):
    rows = Corpus(things_corpus).rows("validation")[:12]
    run = resolved(("material", "shape"), rationale=3.0)
    params = model.init_params(STUDENT, jax.random.key(0))
    found = validation(rows, run)
    assert (found.count, found.unknown, found.without) == (12, 0, [])
    expected = by_hand(params, rows, run)
    assert list(found.losses(params)) == ["answer", "material", "shape"]
    for term, loss in found.losses(params).items():
        np.testing.assert_allclose(loss, expected[term], rtol=1e-5)


def test_a_term_without_any_held_out_rationale_has_no_loss():
    rows = [
        Row(
            Question(f"q{i}", "things", "validation", "", f"what is {i}?", ("one", "two"), "two"),
            {"a": Rationale("because", "a")} if i else {"a": Rationale("dropped", "a", weight=0.0)},
        )
        for i in range(3)
    ]
    params = model.init_params(STUDENT, jax.random.key(0))
    found = validation(rows, resolved(("a", "b")))
    assert found.without == ["b"] and list(found.losses(params)) == ["answer", "a"]
    only_b = resolved(("b",), answer=0.0)
    assert validation(rows, only_b).losses(params) == {}


def test_questions_with_unknown_words_are_counted():
    question = lambda text: Question("q", "things", "validation", "", text, ("one", "two"), "two")
    known, other = Row(question("what is it?"), {}), Row(question("what is gopi?"), {})
    run = resolved(())
    tokenizer = initial.make_tokenizer(StudentSpec("word-tiny", tokenizer="words"), (), [known])
    student = asked(student_config("word-tiny"), tokenizer, run)
    found = Validation([known, other], student, run, sharding.make_mesh(run.mesh))
    assert (found.count, found.unknown) == (2, 1)

    # In training too, and what is to be written.
    learned = [
        Row(row.question, {"a": Rationale(text, "a")})
        for row, text in ((known, "what it is"), (other, "a gopi is"))
    ]
    run = resolved(("a",))
    student = asked(student_config("word-tiny"), tokenizer, run)
    report = tokenize(learned, student, ["answer", "a"], 64).report
    assert report["unknown_in_questions"] == 1
    assert [report["terms"][term]["unknown_in_targets"] for term in ("answer", "a")] == [0, 1]


def test_all_students_of_a_corpus_share_one_vocabulary(things_corpus):
    corpus = Corpus(things_corpus)
    rows = corpus.rows("train")
    prints = []
    for teachers in ("material", "shape", "none"):
        config = default_config()
        set_student(config, "word-tiny")
        config.objective.teachers = teachers
        spec = run_of(config).resolve(corpus.teachers).student
        prints.append(inputs.fingerprint(initial.make_tokenizer(spec, corpus.teachers, rows)))
    assert len(set(prints)) == 1


def test_a_large_vocabulary_makes_a_large_student():
    spec = StudentSpec("word-tiny", tokenizer="words")
    sizes = [initial.make_student(spec, 0, tokens)[0].vocab_size for tokens in (600, 1024, 1025)]
    assert sizes == [1024, 1024, 1152]
