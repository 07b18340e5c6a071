"""Made-up things: the rule holds, splits share no question, all processes make the same ones."""

import collections
import hashlib
import itertools
import re
import subprocess
import sys

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import things

SMALL = "train=200,validation=50,test=50"
SIZES = [
    SMALL,
    "",
    "train=40,validation=7,test=13,seed=3",
    "train=900,things=50,validation=120,test=90",
    "train=3,things=3,validation=0,test=1",
    "train=12000,validation=3000,test=3000,seed=5",
]

# The stated rule once more, the other way round: what each doing needs.
NEEDS = {
    "float": "wood cork",
    "burn": "wood wax",
    "melt": "wax ice",
    "crack": "ice glass",
    "shine": "glass gold",
    "bend": "gold cork",
    "roll": "ring tube",
    "hang": "ring hook",
    "hold": "hook cup",
    "stack": "cup plate",
    "spin": "plate cone",
    "stand": "cone tube",
}


def can(thing: str, doing: str) -> bool:
    return bool({things.material_of(thing), things.shape_of(thing)} & set(NEEDS[doing].split()))


@pytest.mark.parametrize("source", SIZES)
def test_a_thing_can_do_the_answer_and_no_other_choice(source):
    for questions in tasks.load("things", source).values():
        for question in questions:
            (thing,) = re.fullmatch(r"What can a (\w+) do\?", question.question).groups()
            assert [c for c in question.choices if can(thing, c)] == [question.answer]
            assert len(set(question.choices)) == 4 and not tasks.problem(question)
            assert things.thing_of(question.question) == thing


@pytest.mark.parametrize("source", SIZES)
def test_held_out_questions_are_new_ones_about_known_things(source):
    splits = tasks.load("things", source)
    about, asked = {}, []
    for split, questions in splits.items():
        names = [things.thing_of(question.question) for question in questions]
        about[split] = collections.Counter(names)
        asked += [(name, frozenset(q.choices)) for name, q in zip(names, questions, strict=True)]
        # Every thing is asked about equally often, or once more.
        every = len(about["train"])
        assert set(about[split].values()) <= {len(questions) // every, -(-len(questions) // every)}
    assert len(set(asked)) == len(asked)
    for split in splits:
        assert set(about[split]) <= set(about["train"])


def test_sizes_are_as_asked():
    splits = tasks.load("things", "train=900,things=50,validation=120,test=90")
    assert {split: len(questions) for split, questions in splits.items()} == {
        "train": 900,
        "validation": 120,
        "test": 90,
    }
    assert len({q.question for q in splits["train"]}) == 50
    assert len({q.question for q in tasks.load("things", "train=900")["train"]}) == 450


def test_splits_are_disjoint_for_any_seeds():
    # Few names, so that the seeds share many.
    loads = [
        tasks.load("things", f"train=20000,things=2000,validation=400,test=400,seed={seed}")
        for seed in range(3)
    ]
    same = lambda question: (question.question, frozenset(question.choices))
    train = {same(question) for splits in loads for question in splits["train"]}
    held_out = {
        same(question) for splits in loads for question in splits["validation"] + splits["test"]
    }
    names = [{question.question for question in splits["train"]} for splits in loads]
    assert len(names[0] & names[1]) > 500
    assert len(train) > 50_000 and len(held_out) > 2300 and not train & held_out


def test_materials_shapes_and_answers_are_even():
    questions = tasks.load("things", "train=12000")["train"]
    names = {things.thing_of(question.question) for question in questions}
    for fact in (things.material_of, things.shape_of):
        counts = collections.Counter(map(fact, names))
        assert len(counts) == 6 and max(counts.values()) < 1.15 * min(counts.values())
    answers = collections.Counter(question.answer for question in questions)
    assert len(answers) == 12 and max(answers.values()) < 1.25 * min(answers.values())
    places = collections.Counter(question.gold for question in questions)
    assert max(places.values()) < 1.07 * min(places.values())


def test_the_rule_has_twelve_doings_of_two_each():
    pairs = [
        (name, doing)
        for kind in (things.MATERIALS, things.SHAPES)
        for name, doings in kind.items()
        for doing in doings
    ]
    assert sorted(pairs) == sorted((n, d) for d, names in NEEDS.items() for n in names.split())
    assert not set(itertools.chain(*things.MATERIALS.values())) & set(
        itertools.chain(*things.SHAPES.values())
    )


def test_equal_in_another_process():
    code = (
        f"import hashlib; from tinyllm_jax import tasks; "
        f"print(hashlib.sha256(repr(tasks.load('things', '{SMALL}')).encode()).hexdigest())"
    )
    here = hashlib.sha256(repr(tasks.load("things", SMALL)).encode()).hexdigest()
    there = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    ).stdout.strip()
    assert here == there
    assert tasks.load("things", SMALL) != tasks.load("things", SMALL + ",seed=1")


def test_pinned():
    assert tasks.load("things", "train=1,validation=0,test=0") == {"train": [PINNED]}
    assert (things.material_of("gopi"), things.shape_of("gopi")) == GOPI


@pytest.mark.parametrize(
    "source,message",
    [
        ("trian=3", "did you mean 'train'"),
        ("train=x", "whole number"),
        ("train=-1", "whole number"),
        ("train=3,things=4", "leaves some of 4 things without a training question"),
        ("train=0,validation=0,test=0", "leaves some of 1 things without"),
        ("train=4000,things=4", "different train questions can be asked about a"),
        ("train=4,validation=0,test=200", "different test questions can be asked about a"),
    ],
)
def test_bad_source(source, message):
    with pytest.raises(UserError, match=message):
        tasks.load("things", source)


def test_not_about_a_thing():
    with pytest.raises(UserError, match="not a question about a made-up thing"):
        things.thing_of("The sun is responsible for")


PINNED = tasks.Question(
    "0-train-0",
    "things",
    "train",
    "",
    "What can a tugu do?",
    ("spin", "stand", "hang", "stack"),
    "stand",
)
GOPI = ("glass", "ring")
