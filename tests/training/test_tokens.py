"""Questions and targets as tokens: what is missing, what is cut, what is told to the decoder."""

import numpy as np
import pytest

from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.student.config import PRESETS
from tinyllm_jax.student.inputs import load_tokenizer
from tinyllm_jax.student.student import Student
from tinyllm_jax.tasks import Question
from tinyllm_jax.training import data, tokens
from tinyllm_jax.training.run import AFTER


def test_ragged_keeps_its_rows():
    assert [r.tolist() for r in tokens.Ragged([[5, 6], [], [7]]).rows()] == [[5, 6], [], [7]]


def row(i: int, **rationales: Rationale) -> Row:
    question = Question(f"q{i}", "things", "train", "", f"what is {i}?", ("one", "two"), "two")
    return Row(question, rationales)


def tokenize(
    rows: list[Row], terms: list[str], prefix_side: str = "encoder", teachers: tuple = ()
) -> tokens.Tokens:
    """The rows as a student of bytes reads them, targets of at most 256 bytes."""
    prefixes = {"answer": "predict", "a": "explain a"}
    tokenizer = load_tokenizer("byte")
    student = Student(PRESETS["byte-tiny"], {}, tokenizer, prefixes, 128, prefix_side)
    return tokens.tokenize(rows, student, terms, 256, teachers)


def test_tokenize_counts_missing_and_cut_targets():
    rows = [
        row(0, a=Rationale("because", "a")),
        row(1, a=Rationale("x" * 300, "a")),
        row(2),
        row(3, a=Rationale("dropped", "a", weight=0.0)),
        row(4, a=Rationale("", "a")),
    ]
    found = tokenize(rows, ["answer", "a"])
    assert found.report["terms"]["a"] | {"input_length": 0} == {
        "targets": 2,
        "missing_or_weightless": 3,
        "input_length": 0,
        "contexts_cut": 0,
        "targets_cut": 1,
        "unknown_in_targets": 0,
    }
    assert found.report["terms"]["answer"]["targets"] == 5
    assert found.targets[1].lengths.tolist() == [8, 256, 0, 0, 0]
    tokenizer = load_tokenizer("byte")
    assert tokenizer.decode(found.inputs[1].rows()[0], skip_special_tokens=True) == (
        "explain a: what is 0?\nAnswer Choices:\n(a) one\n(b) two"
    )


def test_tokenize_for_a_decoder_that_is_given_the_prefix():
    rows = [row(0, a=Rationale("because", "a")), row(1)]
    found = tokenize(rows, ["answer", "a"], "decoder")
    assert len(found.inputs) == 1 and found.prefix_tokens == (0, len("explain a: "))
    assert found.targets[1].lengths.tolist() == [len("explain a: because") + 1, 0]
    batch = data.Batches(found, [1.0, 2.0], 2, seed=0)(0)
    count = lambda segments: len(np.unique(segments[segments > 0]))
    assert count(batch["input_segments"]) == 2 and count(batch["target_segments"]) == 3
    rationale = batch["term"] == 1
    written = batch["targets"][rationale], batch["weight"][rationale]
    assert (
        load_tokenizer("byte").decode(written[0], skip_special_tokens=True) == "explain a: because"
    )
    assert written[1].tolist() == [0] * 11 + [1] * 8 and batch["tokens"].tolist() == [8, 8]
    # Both targets of question 0 are decoded from its one input.
    shared = set(batch["target_inputs"][rationale])
    assert (
        len(shared) == 1
        and (batch["target_inputs"][batch["target_segments"] > 0] == shared.pop()).sum() == 19 + 4
    )


@pytest.mark.parametrize("prefix_side", ["encoder", "decoder"])
def test_a_rationale_follows_the_answer_in_its_target(prefix_side):
    rows = [
        row(0, a=Rationale("so", "a", weight=0.5), b=Rationale("thus", "b")),
        row(1, a=Rationale("dropped", "a", weight=0.0)),
        row(2, b=Rationale("since", "b", weight=0.5), a=Rationale("as", "a", weight=0.5)),
    ]
    found = tokenize(rows, ["answer", AFTER], prefix_side, ("a", "b"))
    assert len(found.inputs) == len(found.targets) == 1 and found.prefix_tokens == (0,)
    byte = load_tokenizer("byte")
    texts = [byte.decode(ids).split("</s>") for ids in found.targets[0].rows()]
    assert texts == [["two", "thus", ""], ["two", ""], ["two", "as", ""]]
    assert found.after.tolist() == [4, 4, 4]
    assert found.weight.tolist() == [[1, 1, 1], [1, 0, 0.5]]
    assert found.report["terms"][AFTER]["missing_or_weightless"] == 1

    # The answer's tokens are one term, and what follows them is the other.
    batch = data.Batches(found, [1.0, 0.5], 3, seed=0)(0)
    written = batch["target_segments"] > 0
    assert batch["tokens"].tolist() == [12, 8]
    assert np.bincount(batch["term"][written], batch["weight"][written]).tolist() == [12, 6.5]
    np.testing.assert_allclose(batch["scale"], [1 / 12, 0.5 * (2 / 3) / 8], rtol=1e-6)


def test_the_weights_of_rationales_change_with_the_steps():
    found = tokenize([row(i, a=Rationale("so", "a")) for i in range(4)], ["answer", "a"])
    batches = data.Batches(found, [1.0, 2.0], 4, seed=0)
    count = batches(0)["tokens"][1]
    batches.ramp([1.0, 0.0], 5)
    found = [float(batches(step)["scale"][1] * count) for step in range(5)]
    np.testing.assert_allclose(found, [2.0, 1.5, 1.0, 0.5, 0.0], atol=1e-6)


def test_tokenize_refuses_a_corpus_without_targets():
    with pytest.raises(UserError, match="no target for any of the terms a"):
        tokenize([row(0)], ["a"])
