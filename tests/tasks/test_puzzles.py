"""Puzzles: right answers, disjoint splits for any seed, and the same puzzles in every process."""

import collections
import hashlib
import re
import subprocess
import sys

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError

SMALL = "train=200,validation=50,test=50"


def end_of(question: str) -> int:
    """The end of a walk, worked out apart from the package: a bit per place, shifted and caught at the walls."""
    start, *moves = map(int, re.findall(r"[+-]?\d+", question))
    place = list(range(10))[start]
    for move in moves:
        for _ in range(abs(move)):
            place = {True: min, False: max}[move > 0](place + (1 if move > 0 else -1), 9 if move > 0 else 0)
    return place


@pytest.mark.parametrize("level", [2, 3, 4, 6])
def test_answers_are_right(level):
    size = 30 if level == 2 else 100
    for questions in tasks.load("puzzles", f"train={size},validation=10,test=10,level={level}").values():
        for question in questions:
            assert question.answer == str(end_of(question.question))
            assert len(set(question.choices)) == 4 and not tasks.problem(question)
            assert len(re.findall(r"[+-]", question.question)) == level


def test_every_place_is_the_end_equally_often():
    counts = collections.Counter(question.answer for question in tasks.load("puzzles", "train=200")["train"])
    assert set(counts.values()) == {20} and len(counts) == 10
    shown = collections.Counter(question.gold for question in tasks.load("puzzles", "train=2000")["train"])
    assert max(shown.values()) < 600  # the answer's letter is no hint: 500 each, were it even


def test_splits_are_disjoint_for_any_seeds():
    loads = [tasks.load("puzzles", f"train=1500,validation=200,test=200,seed={seed}") for seed in range(4)]
    train = {question.question for splits in loads for question in splits["train"]}
    held_out = {question.question for splits in loads for question in splits["validation"] + splits["test"]}
    assert len(train) > 2500 and len(held_out) > 600 and not train & held_out


def test_equal_in_another_process():
    code = f"import hashlib; from tinyllm_jax import tasks; " \
           f"print(hashlib.sha256(repr(tasks.load('puzzles', '{SMALL}')).encode()).hexdigest())"
    here = hashlib.sha256(repr(tasks.load("puzzles", SMALL)).encode()).hexdigest()
    there = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    assert here == there
    assert tasks.load("puzzles", SMALL) != tasks.load("puzzles", SMALL + ",seed=1")


def test_pinned():
    assert tasks.load("puzzles", "train=1,validation=0,test=0") == {"train": [PINNED]}


def test_walls():
    assert tasks.puzzles.walk("From 8 go +3 -2 -9") == [(8, 3, 9), (9, -2, 7), (7, -9, 0)]


@pytest.mark.parametrize("source,message", [
    ("trian=3", "did you mean 'train'"),
    ("train=x", "whole number"),
    ("train=-1", "whole number"),
    ("level=0", "above 0"),
    ("level=1", "too few different walks for train=2000"),
    ("train=0,validation=0,test=0", "no question"),
])
def test_bad_source(source, message):
    with pytest.raises(UserError, match=message):
        tasks.load("puzzles", source)


def test_not_a_puzzle():
    with pytest.raises(UserError, match="not a puzzle"):
        tasks.puzzles.walk("The sun is responsible for")


PINNED = tasks.Question("3-0-train-0", "puzzles", "train", "", "From 5 go +4 -1 +2", ("0", "9", "5", "7"), "9")
