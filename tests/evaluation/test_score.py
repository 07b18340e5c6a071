"""Scoring and writing on a tiny random T5, against one choice at a time without any padding."""

import dataclasses
import random

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import score
from tinyllm_jax.student import decoding, inputs, model
from tinyllm_jax.student.config import StudentConfig
from tinyllm_jax.student.student import Student
from tinyllm_jax.student.writing import generate, write
from tinyllm_jax.tasks import Question
from tinyllm_jax.training import sharding
from tinyllm_jax.training.run import MeshShape

pytestmark = pytest.mark.usefixtures("quick_compilation")

CONFIG = StudentConfig(
    vocab_size=384, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_decoder_layers=2, num_heads=3
)
MAX_ANSWER = 6
WORDS = ["ant", "bee", "cow", "dog", "eel", "fox", "gnu", "hen"]


@pytest.fixture(scope="module")
def tokenizer():
    return inputs.load_tokenizer("byte")


@pytest.fixture(scope="module")
def t5_tokenizer(t5_tokenizer_dir):
    return inputs.load_tokenizer(t5_tokenizer_dir)


@pytest.fixture(scope="module")
def params():
    """Random, with the end of sequence (token 1) so weighted that some answers end."""
    params = model.init_params(CONFIG, jax.random.key(24))
    return params | {
        "lm_head": {"kernel": params["lm_head"]["kernel"] * jnp.full(384, 2.0).at[1].set(5.0)}
    }


def student(params, tokenizer, input_length: int = 256) -> Student:
    """A student that answers, and explains as its one teacher."""
    prefixes = {"answer": "predict", "teacher": "explain"}
    return Student(CONFIG, params, tokenizer, prefixes, input_length)


def ask(n: int, seed: int = 0) -> list[Question]:
    """Short questions with 2 choices, longer ones with 4: few shapes for the plain way."""
    rng = random.Random(seed)
    asked = []
    for i in range(n):
        text = " ".join(rng.choices(WORDS, k=1 + 4 * (i % 2)))
        choices = tuple(
            " ".join(rng.sample(WORDS, 1 + 2 * (c % 2))) + f" {c}" for c in range(2 + 2 * (i % 2))
        )
        asked.append(Question(f"q{i}", "t", "test", "", text, choices, rng.choice(choices)))
    return asked


@jax.jit
def logits(params, encoded, decoder_inputs):
    return model.apply(CONFIG, params, encoded, decoder_inputs)[0]


def plain_score(params, encoded: list[int], target: list[int]) -> float:
    """The target's log-likelihood, alone and unpadded, through `model.apply`."""
    found = np.array(logits(params, np.array([encoded]), np.array([[0, *target[:-1]]])), np.float64)
    chosen = found[np.arange(len(target)), target]
    return float((chosen - np.log(np.exp(found).sum(1))).sum())


def plain_greedy(params, encoded: list[int], most: int) -> list[int]:
    """Greedy decoding that computes everything again for each token."""
    written: list[int] = []
    while len(written) < most and 1 not in written:
        so_far = np.array([[0] + written + [0] * (most - 1 - len(written))])
        written.append(int(logits(params, np.array([encoded]), so_far)[len(written)].argmax()))
    return written


@pytest.fixture(scope="module")
def evaluated(tokenizer, params):
    asked = ask(11)
    return asked, score.evaluate(
        student(params, tokenizer),
        asked,
        max_answer=MAX_ANSWER,
        batch_size=4,
        train_questions=ask(9, seed=1),
        step=7,
    )


def test_batched_scores_equal_one_by_one(evaluated, tokenizer, params):
    asked, result = evaluated
    assert {len(question.choices) for question in asked} == {
        2,
        4,
    }  # different numbers of choices in one batch
    encoded, _ = inputs.encode_questions(tokenizer, asked, "predict", 256)
    for question, ids, found in zip(asked, encoded, result.predictions, strict=True):
        targets, _ = inputs.encode_targets(tokenizer, list(question.choices), 256)
        sums, tokens = (
            [plain_score(params, ids, target) for target in targets],
            tuple(map(len, targets)),
        )
        np.testing.assert_allclose(found.scores, sums, rtol=1e-5, atol=1e-4)
        assert found.tokens == tokens
        assert found.likelihood == int(np.argmax(sums))
        assert found.likelihood_per_token == int(np.argmax(np.array(sums) / np.array(tokens)))
        assert (found.id, found.gold) == (question.id, question.gold)


@pytest.mark.parametrize("fsdp", [1, 4])
def test_devices_that_share_the_questions_find_the_same(evaluated, tokenizer, params, fsdp):
    asked, alone = evaluated
    mesh = sharding.make_mesh(MeshShape(fsdp=fsdp))
    there = jax.device_put(params, sharding.state_shardings(params, mesh))
    found = score.evaluate(student(there, tokenizer), asked, max_answer=MAX_ANSWER, batch_size=4)
    for ours, theirs in zip(found.predictions, alone.predictions, strict=True):
        np.testing.assert_allclose(ours.scores, theirs.scores, rtol=1e-5)
        assert dataclasses.replace(ours, scores=()) == dataclasses.replace(theirs, scores=())


def test_metrics_are_the_predictions_counted(evaluated):
    asked, result = evaluated
    assert (result.task, result.split, result.n, result.step) == ("t", "test", 11, 7)
    right = sum(p.likelihood == q.gold for p, q in zip(result.predictions, asked, strict=True))
    assert result.accuracy("likelihood").correct == right
    assert result.accuracy("exact_match").correct == sum(
        p.generated == q.answer for p, q in zip(result.predictions, asked, strict=True)
    )
    assert result.chance == pytest.approx(np.mean([1 / len(q.choices) for q in asked]))
    assert result.majority.rule == "position"
    assert result.counts["answers_unfinished"] == sum(p.unfinished for p in result.predictions)


def test_batched_writing_equals_one_by_one(evaluated, tokenizer, params):
    asked, result = evaluated
    encoded, _ = inputs.encode_questions(tokenizer, asked, "predict", 256)
    assert {found.unfinished for found in result.predictions} == {True, False}
    for ids, found in zip(encoded, result.predictions, strict=True):
        tokens = plain_greedy(params, ids, MAX_ANSWER)
        assert found.generated == tokenizer.decode(tokens, skip_special_tokens=True).strip()
        assert found.unfinished == (1 not in tokens)


def test_predict_keeps_the_questions_order_and_says_what_it_cut(tokenizer, params, capsys):
    asked = ask(11)
    found = write(student(params, tokenizer), asked, "teacher", MAX_ANSWER, 4)
    encoded, _ = inputs.encode_questions(tokenizer, asked, "explain", 256)
    alone = [
        tokenizer.decode(plain_greedy(params, ids, MAX_ANSWER), skip_special_tokens=True).strip()
        for ids in encoded
    ]
    assert found == alone
    assert "cut" not in capsys.readouterr().err
    whole = max(map(len, encoded))
    long = [dataclasses.replace(asked[0], context="word " * 60), *asked[1:]]
    write(student(params, tokenizer, whole), long, "teacher", MAX_ANSWER, 4)
    said = capsys.readouterr().err
    assert f"1 of 11 contexts were cut to fit {whole} tokens" in said and "unfinished" in said


def test_padding_without_an_end_is_unfinished(tokenizer, params):
    # All logits are equal, so it writes padding (id 0) and never the end of sequence.
    mute = jax.tree.map(jnp.zeros_like, params)
    encoded, _ = inputs.encode_questions(tokenizer, ask(11), "predict", 256)
    assert generate(student(mute, tokenizer), encoded, MAX_ANSWER, 4) == [("", True)] * 11


def test_cut_contexts_are_counted(tokenizer, params):
    asked = [
        q if i % 2 else dataclasses.replace(q, context="word " * 60) for i, q in enumerate(ask(11))
    ]
    whole = max(map(len, inputs.encode_questions(tokenizer, ask(11), "predict", 256)[0]))
    result = score.evaluate(
        student(params, tokenizer, whole), asked, max_answer=MAX_ANSWER, batch_size=4
    )
    assert [p.cut for p in result.predictions] == [i % 2 == 0 for i in range(11)]
    assert result.counts["inputs_cut"] == 6


def test_long_choice_is_scored_whole(tokenizer, params):
    long = "gnu " * 40 + "end"
    asked = [Question("q", "t", "test", "", "?", (long, "hen"), "hen")]
    encoded, _ = inputs.encode_questions(tokenizer, asked, "predict", 512)
    ((sums, tokens),) = score.likelihoods(student(params, tokenizer), asked, encoded, 8)
    assert list(tokens) == [len(long) + 1, 4]
    (target,), _ = inputs.encode_targets(tokenizer, [long], 512)
    np.testing.assert_allclose(sums[0], plain_score(params, encoded[0], target), rtol=1e-5)


def test_zero_questions(tokenizer, params):
    with pytest.raises(UserError, match="no questions"):
        score.evaluate(student(params, tokenizer), [])
    assert write(student(params, tokenizer), [], "answer", 4, 2) == []


def test_two_splits_at_once(tokenizer, params):
    asked = ask(2)
    mixed = [asked[0], dataclasses.replace(asked[1], split="train")]
    with pytest.raises(UserError, match="t test, t train"):
        score.evaluate(student(params, tokenizer), mixed)


def test_diverged_student_is_refused(tokenizer, params):
    broken = jax.tree.map(lambda x: x * jnp.nan, params)
    with pytest.raises(UserError, match="not finite"):
        score.evaluate(student(broken, tokenizer), ask(11), batch_size=4)


# The cases of SQuAD's normalize_answer, and what it leaves alone.
@pytest.mark.parametrize(
    "text, expected",
    [
        ("The  Cat.", "cat"),
        ("a dog, an eel", "dog eel"),
        ("theatre", "theatre"),
        ("U.S.A.", "usa"),
        ("Ünïcode\n text ", "ünïcode text"),
        ("1,000.5", "10005"),
        ("the", ""),
        ("", ""),
        ("don't", "dont"),
        ("a-the", "athe"),
    ],
)
def test_normalise(text, expected):
    assert score.normalise(text) == expected


@pytest.mark.parametrize(
    "choices, written, exact, normalised",
    [
        (("the sun", "moon"), "the sun", True, True),
        (("the sun", "moon"), "the  sun ", True, True),
        (("the sun", "moon"), "Sun.", False, True),
        (("the sun", "moon"), "sunny", False, False),
        (("the sun", "moon"), "", False, False),
        (("+", "-"), "-", False, False),  # normalisation leaves nothing of either
        (("A", "B"), "", False, False),
        (("3", "-3"), "-3", False, False),  # normalisation makes two choices equal
        (("3", "-3"), "3", True, True),
    ],
)
def test_matches(choices, written, exact, normalised):
    question = Question("q", "t", "test", "", "?", choices, choices[0])
    assert score.exact_match(written, question) == exact
    assert score.normalised_match(written, question) == normalised


@pytest.mark.parametrize(
    "text, expected", [("(b)", True), (" c", True), ("(b) hen", False), ("B12", False), ("", False)]
)
def test_is_letter(text, expected):
    assert score.is_letter(text) == expected


@pytest.mark.parametrize(
    "choices, spelled",
    [
        (("an apple", "a pear"), "an apple"),
        (("two  spaces", "one"), "two spaces"),
        (("a jar .", "a jar ?"), "a jar ."),
        (("he did n't", "he sang"), "he did n't"),
        (("a ﬁg … m²", "two"), "a fig ... m2"),  # T5 normalises what it reads
        (("the set {1, 2}", "no set"), "the set 1, 2"),  # it has no braces
        (("m²", "m2"), "m²"),  # it cannot tell these two apart, nor the next two
        (("x ≤ 0", "x ≥ 0"), "x ≤ 0"),
        (("水", "fire"), "水"),  # nothing would be left
        (("x", "x ≤ 0", "x ≥ 0"), "x"),
        (("yes", "no", "yes"), "yes"),
    ],
)
def test_answers_as_the_tokenizer_spells_them(choices, spelled, t5_tokenizer):
    question = Question("q", "t", "test", "", "?", choices, choices[0])
    (found,) = score.as_spelled(t5_tokenizer, [question])
    assert found.answer == spelled

    # What a student writes that has learned the answer is right where it can be told to be.
    ids, _ = inputs.encode_targets(t5_tokenizer, [choices[0]], 64)
    (text,) = inputs.decode(t5_tokenizer, ids)
    told = found is not question or " ".join(text.split()) == choices[0]
    assert score.exact_match(text, found) == score.normalised_match(text, found) == told


def test_unwritable_answers_are_counted(t5_tokenizer):
    answers = ["an apple", "the set {1, 2}", "two  spaces", "3.5 %"]
    assert score.unwritable(t5_tokenizer, answers) == 1
    assert score.unwritable(t5_tokenizer, ["a jar .", "he did n't", "growth ?"]) == 0


def test_ties_are_worth_their_share_and_counted(tokenizer, params):
    # All logits are equal: the shortest choices tie.
    mute = jax.tree.map(jnp.zeros_like, params)
    asked = ask(11)
    found = score.evaluate(student(mute, tokenizer), asked, max_answer=MAX_ANSWER, batch_size=4)
    ties = 0
    for question, prediction in zip(asked, found.predictions, strict=True):
        least = min(map(len, question.choices))
        shortest = [choice for choice in question.choices if len(choice) == least]
        ties += len(shortest) > 1
        worth = (question.answer in shortest) / len(shortest)
        assert prediction.likelihood_credit == prediction.right("likelihood") == worth
    assert found.counts["ties"] == ties > 0


def test_time_is_told_without_compilation(tokenizer, params):
    decoding.score.clear_cache()
    first, again = (
        score.evaluate(student(params, tokenizer), ask(11), max_answer=MAX_ANSWER, batch_size=4)
        for _ in range(2)
    )
    assert first.compilation > again.compilation == 0.0
    assert first.seconds > 0 and again.seconds > 0


def test_compiles_once_per_shape(tokenizer, params):
    asked = ask(23)
    encoded, _ = inputs.encode_questions(tokenizer, asked, "predict", 256)
    decoding.score.clear_cache()  # another test may have had the same shapes
    score.likelihoods(student(params, tokenizer), asked, encoded, 5)
    compiled = decoding.score._cache_size()
    assert 0 < compiled <= 2
    score.likelihoods(student(params, tokenizer), asked, encoded, 5)
    assert decoding.score._cache_size() == compiled
