"""Several rows about one question: which becomes the rationale, and how good the teacher is."""

import itertools
import random

import pytest
from small_logs import FIRST, QUESTIONS, contents, failed, log_row, unforced, write_log

from tinyllm_jax import intervals
from tinyllm_jax.corpus.joining import choose
from tinyllm_jax.corpus.joining.build import build
from tinyllm_jax.corpus.joining.logs import identity_of
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question

# FIRST asks "What is 0 + 1?": (a) 0, (b) 1
RIGHT = "Counting up from zero gives one. So the answer is (b)."
WRONG = "Nothing changes. So the answer is (a)."
NOTHING = "Hard to tell."
RUN_ON = (
    "Counting up from zero gives one. So the answer is (b). And then"  # right, and unterminated
)
FORCED = log_row(text="We count up by one.")


def chosen(rows, question=FIRST):
    return choose.rationale(rows, question, choose.stated_answers(rows, question))


@pytest.mark.parametrize(
    "rows, winner",
    [
        (
            [unforced(WRONG, 0), unforced(RIGHT, 1), FORCED],
            1,
        ),  # the unforced one that reaches gold, not the forced one
        ([unforced(WRONG, 0), unforced(NOTHING, 1), FORCED], 2),
        (
            [unforced(RUN_ON, 0, mean_logprob=-0.1), unforced(RIGHT, 1, mean_logprob=-2.0)],
            1,
        ),  # fewer flags
        (
            [unforced(RIGHT, 0, mean_logprob=-0.7), unforced(RIGHT + " ", 1, mean_logprob=-0.2)],
            1,
        ),  # likelier
        ([unforced(RIGHT, 0, mean_logprob=None), unforced(RIGHT + " ", 1, mean_logprob=-9.0)], 1),
        ([unforced(RIGHT, 0), unforced(RIGHT + " ", 1)], 0),  # lower sample
        ([unforced(RIGHT, 0, finish_reason="length"), unforced(RIGHT, 1)], 1),
        (
            [unforced("(a)" if FIRST.gold == 0 else "(b)", 0), FORCED],
            1,
        ),  # a bare letter is no rationale
        ([unforced(RIGHT, 10), unforced(RIGHT + " ", 9)], 1),
        ([FORCED], 0),
    ],
)
def test_which_row_is_chosen(rows, winner):
    for order in itertools.permutations(rows):
        got = chosen(order)
        assert (got.text, got.forced) == (rows[winner].text, rows[winner].forced)


def test_no_rationale_where_no_sample_reaches_gold():
    assert chosen([unforced(WRONG, 0), unforced(NOTHING, 1)]) is None


@pytest.mark.parametrize(
    "texts, forced, votes",
    [
        ([RIGHT, WRONG, NOTHING, RIGHT], False, (0.25, 0.5)),
        ([WRONG], True, (1.0, 0.0)),
        ([], True, ()),
        ([RIGHT], True, (0.0, 1.0)),
    ],
)
def test_votes(texts, forced, votes):
    rows = [unforced(text, index) for index, text in enumerate(texts)] + [FORCED] * forced
    assert chosen(rows).votes == votes


def test_equal_choices_are_one_answer():
    question = Question("q", "things", "train", "", "Which?", ("cats", "dogs", "cats"), "cats")
    assert choose.stated_answers(
        [unforced("It is (c): the answer is (c).", question=question)], question
    ) == {0: "cats"}


def stated(**answers):
    """By question number what its samples state: stated(q0="10-") is 1, 0 and nothing."""
    return {
        identity_of(QUESTIONS["train"][int(name[1:])]): {
            sample: None if mark == "-" else mark
            for sample, mark in enumerate(marks)
            if mark != "x"
        }
        for name, marks in answers.items()
    }


def test_accuracy():
    """The gold answers of the first questions are 1, 2, 3 and 4; "x" is a sample that failed."""
    own = choose.accuracy(QUESTIONS["train"], stated(q0="10-", q1="022", q2="---", q3="x4"))
    assert (
        own["questions"],
        own["samples"],
        own["stated"],
        own["right"],
        own["rejected"],
    ) == (4, 10, 6, 4, 6)
    # What states no answer is neither right nor wrong.
    low, high = intervals.wilson(1, 2)
    assert own["first"] == {"correct": 1, "n": 2, "low": round(low, 6), "high": round(high, 6)}
    # q0: 1 and 0 have a vote each and the earlier is taken; q1: 2 has the majority; q2: none; q3:
    # 4.
    assert (own["vote"]["correct"], own["vote"]["n"]) == (3, 3)


def test_a_tie_goes_to_the_earliest_sample():
    assert choose.accuracy(QUESTIONS["train"], stated(q0="0101"))["vote"]["correct"] == 0
    assert choose.accuracy(QUESTIONS["train"], stated(q0="-1100"))["vote"]["correct"] == 1


def test_a_build_of_samples_that_never_reach_gold_says_so(tmp_path):
    rows = [unforced(WRONG, 0), unforced(NOTHING, 1), unforced(WRONG, 0, QUESTIONS["train"][1])]
    line = "none of the 3 unforced .*: 2 state another, 1 none that can be read"
    with pytest.raises(UserError, match=line):
        build("things", QUESTIONS, [write_log(tmp_path / "log", rows)], tmp_path / "out")


def test_no_first_sample_no_knowledge():
    assert choose.accuracy(QUESTIONS["train"], stated(q0="x1"))["first"] == {
        "correct": 0,
        "n": 0,
        "low": 0.0,
        "high": 1.0,
    }


def test_build_with_unforced_first(tmp_path):
    """Samples of questions 0 to 2: only those of 0 reach gold; 1 and 3 have a forced row."""
    train = QUESTIONS["train"]
    rows = [
        unforced(WRONG, 0),
        unforced(RIGHT, 1),
        failed(unforced("", 2)),
        unforced(WRONG, 0, train[1]),
        unforced(WRONG, 1, train[1]),
        log_row(train[1]),
        unforced(NOTHING, 0, train[2]),
        unforced(WRONG, 1, train[2]),
        log_row(train[3]),
    ]
    for name, seed in (("one", 1), ("two", 2)):
        random.Random(seed).shuffle(rows)
        logs = [write_log(tmp_path / f"{name}{part}", rows[part::2]) for part in range(2)]
        report = build("things", QUESTIONS, logs, tmp_path / name).report
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    got = [row.rationales.get("b-teacher") for row in Corpus(tmp_path / "one").rows("train")]
    assert [r and (r.text == RIGHT, r.forced, r.votes) for r in got] == [
        (True, False, (0.5, 0.5)),
        (False, True, (1.0, 0.0)),
        None,
        (False, True, ()),
        None,
        None,
    ]
    own = report["unforced"]["train"]["b-teacher"]
    assert (own["questions"], own["samples"], own["rejected"], own["first"]["correct"]) == (
        3,
        6,
        5,
        0,
    )
    assert list(report["unforced"]) == ["train"] and report["generations"]["b-teacher"]["rows"] == 8
    provenance = Corpus(tmp_path / "one").manifest.teachers["b-teacher"]
    assert [(entry["forced"], entry["rows"]) for entry in provenance] == [(True, 2), (False, 1)]
