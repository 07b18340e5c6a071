"""Policies: which flags cost the weight, where a text is cut, and what the report says of it."""

import pytest
from small_logs import QUESTIONS, all_rows, log_row, write_log

from tinyllm_jax.corpus.joining import policy
from tinyllm_jax.corpus.joining.build import build
from tinyllm_jax.corpus.judging import quality, statistics
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

IRON = Question(
    "1", "t", "train", "", "What do magnets attract?", ("iron nails", "a metal cup"), "iron nails"
)
GOOD = "Steel contains iron, so nails stick."


def rationale(text, finish_reason="stop", **fields):
    return Rationale(
        text,
        "m",
        finish_reason=finish_reason,
        flags=quality.flags_of(text, IRON, finish_reason),
        **fields,
    )


@pytest.mark.parametrize("flag", quality.FLAGS)
def test_what_a_flag_costs(flag):
    assert policy.weight_of((flag,)) == (flag != "empty")
    for name in ("clean", "clean+truncate"):
        assert policy.weight_of((flag,), name) == (flag in ("copied", "truncated"))


def test_without_a_flag_the_weight_is_one():
    assert {policy.weight_of((), name) for name in policy.POLICIES} == {1}


@pytest.mark.parametrize(
    "text, reason, cut, flags",
    [
        (GOOD, "stop", GOOD, ()),
        (f"{GOOD} And then", "stop", GOOD, ("truncated",)),
        (f"{GOOD} And then", "length", GOOD, ("truncated",)),
        (GOOD, "length", GOOD, ("truncated",)),
        (f"{GOOD} It costs 3.5", "length", GOOD, ("truncated",)),
        (f"{GOOD}\n2.", "length", GOOD, ("truncated",)),
        (f"{GOOD}\n\n### Question 4:\nWhich is a bird? It flies.", "stop", GOOD, ("truncated",)),
        (f"{GOOD} And also\nQuestion: Which is a bird? It flies.", "stop", GOOD, ("truncated",)),
        (
            "Magnets attract iron nails. The reason for",
            "length",
            "Magnets attract iron nails.",
            ("no_new_word", "truncated"),
        ),
        ("Nails are so. Steel is so", "length", "Nails are so.", ("no_new_word", "truncated")),
        (
            "steel nails at",
            "length",
            "steel nails at",
            ("unterminated",),
        ),  # nothing is left to keep
        ("Question: which bird? It flies.", "stop", "Question: which bird? It flies.", ("echo",)),
        ("", "stop", "", ("empty",)),
    ],
)
def test_truncate(text, reason, cut, flags):
    got = policy.truncate(rationale(text, reason), IRON)
    assert (got.text, got.flags, got.finish_reason) == (cut, flags, reason)


def test_a_cut_does_not_hide_a_contradiction():
    text = "Cups are magnetic metal. So the answer is (b)"
    assert policy.truncate(rationale(text), IRON).flags == ("contradicts", "truncated")
    contradicting = Rationale("Cups are steel. And", "m", flags=("contradicts", "unterminated"))
    assert policy.truncate(contradicting, IRON).flags == ("contradicts", "truncated")


def rows_of(*texts):
    return [
        Row(
            Question(
                str(index),
                "t",
                "train",
                "",
                f"What do magnets attract {index}?",
                IRON.choices,
                IRON.answer,
            ),
            {"m": rationale(text)},
        )
        for index, text in enumerate(texts)
    ]


def test_texts_that_are_equal_once_cut_are_duplicates():
    rows = policy.apply_policy(
        "clean+truncate", rows_of(f"{GOOD} And one", f"{GOOD} And two", "Steel nails")
    )
    assert [(row.rationales["m"].flags, row.rationales["m"].weight) for row in rows] == [
        (("truncated",), 1),
        (("duplicate", "truncated"), 0),
        (("unterminated",), 0),
    ]
    did = policy.policy_report("clean+truncate", {"train": rows}, ["m", "absent"])
    assert did == {
        "name": "clean+truncate",
        "teachers": {
            "m": {
                "kept": 1,
                "dropped": 2,
                "truncated": 2,
                "flags": {"duplicate": 1, "unterminated": 1},
            },
            "absent": {"kept": 0, "dropped": 0, "truncated": 0, "flags": {}},
        },
    }


def test_only_the_truncating_policy_changes_a_text():
    rows = rows_of(f"{GOOD} And one", "")
    for name in ("keep-all", "clean"):
        assert [row.rationales["m"].text for row in policy.apply_policy(name, rows)] == [
            f"{GOOD} And one",
            "",
        ]
    assert policy.policy_report(
        "keep-all", {"train": policy.apply_policy("keep-all", rows)}, ["m"]
    )["teachers"]["m"] == {"kept": 1, "dropped": 1, "truncated": 0, "flags": {"empty": 1}}


def test_applying_a_policy_to_its_own_result_changes_nothing():
    once = policy.apply_policy(
        "clean+truncate",
        rows_of(f"{GOOD} And one", GOOD, "no sentence", f"Good steel.\nOptions:\n{GOOD}"),
    )
    assert policy.apply_policy("clean+truncate", once) == once
    for row in statistics.mark_duplicates(once):
        assert "unterminated" in row.rationales["m"].flags or row.rationales["m"].text.endswith(".")


def test_the_policy_of_a_build(tmp_path):
    rows = [
        log_row(QUESTIONS["train"][0], text="We add one. And", finish_reason="length"),
        *all_rows()[1:],
    ]
    log = write_log(tmp_path / "log", rows)
    prints = set()
    for name, text, weight in (
        ("keep-all", "We add one. And", 1),
        ("clean", "We add one. And", 0),
        ("clean+truncate", "We add one.", 1),
    ):
        report = build("things", QUESTIONS, [log], tmp_path / name, policy=name).report
        got = Corpus(tmp_path / name).rows("train")[0].rationales["b-teacher"]
        assert (got.text, got.weight) == (text, weight) and report["policy"]["name"] == name
        assert report["policy"]["teachers"]["b-teacher"]["dropped"] == 1 - weight
        prints.add(Corpus(tmp_path / name).fingerprint)
    assert len(prints) == 3
    with pytest.raises(UserError, match="unknown policy 'claen'; did you mean 'clean'"):
        build("things", QUESTIONS, [log], tmp_path / "out", policy="claen")
