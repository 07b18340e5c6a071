"""Made-up things: generated questions whose reasons only teachers tell. The demonstration's task.

    {"id": "0-train-0", "question": "What can a gopi do?",
     "choices": ["stack", "melt", "crack", "spin"], "answer": "crack"}

Every thing is made of one of six materials and shaped like one of six others. Its material decides
two of the things that it can do, and its shape two more (`MATERIALS`, `SHAPES`); in this world it
can do nothing else. A question names a thing and offers four doings, of which it can do exactly
one. No question says what the thing is made of or what its shape is: a student has to work both
out from answers, unless a teacher tells it.

It is an open-book exam: validation and test ask new questions about the things that training asks
about. No question stands in two splits, for any seeds and sizes: a hash of the thing and the
choices decides which split a question belongs to (of a thing's 224 questions about 80 %, 10 % and
10 %). Which names there are, and what is asked about them, depends on the seed; what a name is
made of does not.

Source syntax: `train=1000,validation=400,test=500,things=500,seed=0`, each part optional. Without
`things` there are half as many as training questions: two questions a thing.
"""

import hashlib
import itertools
import random
import re

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks.question import Question

OTHER_SOURCE = "they are generated: train=1000,validation=400,test=500,things=500,seed=0"
MAX_INPUT = 128
DEFAULTS = {"train": 1000, "validation": 400, "test": 500, "things": 0, "seed": 0}

# What a thing of each material, and of each shape, can do. Every doing belongs to two of the six,
# so that no doing is right more often than another, and one answer leaves two materials open.
MATERIALS = {
    "wood": ("float", "burn"),
    "wax": ("burn", "melt"),
    "ice": ("melt", "crack"),
    "glass": ("crack", "shine"),
    "gold": ("shine", "bend"),
    "cork": ("bend", "float"),
}
SHAPES = {
    "ring": ("roll", "hang"),
    "hook": ("hang", "hold"),
    "cup": ("hold", "stack"),
    "plate": ("stack", "spin"),
    "cone": ("spin", "stand"),
    "tube": ("stand", "roll"),
}
DOINGS = tuple(dict.fromkeys(itertools.chain(*MATERIALS.values(), *SHAPES.values())))

# What the gap between students means on this task, for the reader of a report. The two rates are
# those of `tests/benchmarks/bench_ceiling.py`.
GAP = (
    "The gap is one of learning and not of information: told no reason, a perfect learner that knew"
    " which doings go together would still answer 93 % of the test questions right, from the two"
    " answers a thing that training gives it (98 % from three)."
)

_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


def material_of(thing: str) -> str:
    """What a thing is made of, one of `MATERIALS`; the same wherever its name turns up."""
    return _pick("material", thing, list(MATERIALS))


def shape_of(thing: str) -> str:
    """What a thing is shaped like, one of `SHAPES`; the same wherever its name turns up."""
    return _pick("shape", thing, list(SHAPES))


def doings_of(thing: str) -> tuple[str, ...]:
    """The four doings that a thing can do: two by its material, two by its shape."""
    return MATERIALS[material_of(thing)] + SHAPES[shape_of(thing)]


def thing_of(question: str) -> str:
    """The thing that a question's text names.

    Raises:
      UserError: the text is not a question about a made-up thing.
    """
    found = re.fullmatch(r"What can a ([a-z]+) do\?", question)
    if not found:
        raise UserError(
            f"not a question about a made-up thing: {question!r}; "
            "it should read like 'What can a gopi do?'"
        )
    return found[1]


def generate(source: str = "") -> dict[str, list[Question]]:
    """The questions that a source such as "train=2000,seed=1" asks for, by split.

    Equal sources give equal questions on any machine. Each split asks about every thing equally
    often, or once more about some than about others.

    Raises:
      UserError: a setting that is unknown or no whole number, things that training does not ask
        about, or more questions than there are.
    """
    wanted = {**DEFAULTS, **_parse_source(source)}
    things = wanted["things"] or max(1, wanted["train"] // 2)
    if wanted["train"] < things:
        raise UserError(
            f"things: train={wanted['train']} leaves some of {things} things without a training "
            "question; ask for more training questions, or for fewer things"
        )
    names = _names(things, wanted["seed"])
    return {
        split: _split(split, wanted[split], names, wanted["seed"])
        for split in ("train", "validation", "test")
        if wanted[split]
    }


def _names(count: int, seed: int) -> list[str]:
    """`count` different names of two syllables, or of more where two give too few."""
    syllables = [consonant + vowel for consonant in _CONSONANTS for vowel in _VOWELS]
    length = 2
    while len(syllables) ** length < 2 * count:
        length += 1
    rng = random.Random(f"things {seed}")
    names = []
    for number in rng.sample(range(len(syllables) ** length), count):
        name = ""
        for _ in range(length):
            number, at = divmod(number, len(syllables))
            name += syllables[at]
        names.append(name)
    return names


def _split(split: str, size: int, names: list[str], seed: int) -> list[Question]:
    rng = random.Random(f"things {seed} {split}")
    order = rng.sample(names, len(names))
    drawn = []
    for index, thing in enumerate(order):
        # The first of a shuffled list have one question more where `size` is no multiple.
        count = (size - index + len(order) - 1) // len(order)
        if count:
            drawn += _questions_about(thing, split, count, rng)
    rng.shuffle(drawn)
    return [
        Question(f"{seed}-{split}-{index}", "things", split, "", text, choices, answer)
        for index, (text, choices, answer) in enumerate(drawn)
    ]


def _questions_about(
    thing: str, split: str, count: int, rng: random.Random
) -> list[tuple[str, tuple[str, ...], str]]:
    """`count` different questions of a split about a thing: (text, choices, answer)."""
    can = doings_of(thing)
    cannot = [doing for doing in DOINGS if doing not in can]
    possible = list(itertools.product(can, itertools.combinations(cannot, 3)))
    found = []
    for answer, others in rng.sample(possible, len(possible)):
        choices = (answer, *others)
        if _split_of(thing, choices) == split:
            shown = tuple(rng.sample(choices, len(choices)))
            found.append((f"What can a {thing} do?", shown, answer))
            if len(found) == count:
                return found
    raise UserError(
        f"things: only {len(found)} different {split} questions can be asked about a {thing}, not "
        f"{count}; ask for fewer {split} questions or for more things"
    )


def _split_of(thing: str, choices: tuple[str, ...]) -> str:
    """The split that a question belongs to, in whatever order its choices are shown."""
    tenth = hash_of("split", thing, *sorted(choices)) % 10
    return {8: "validation", 9: "test"}.get(tenth, "train")


def _pick(what: str, thing: str, options: list[str]) -> str:
    return options[hash_of(what, thing) % len(options)]


def hash_of(*words: str) -> int:
    """A large number that follows from the words alone, on any machine."""
    return int(hashlib.sha256(" ".join(words).encode()).hexdigest(), 16)


def _parse_source(source: str) -> dict[str, int]:
    wanted = {}
    for part in filter(None, source.split(",")):
        name, _, value = part.partition("=")
        if name not in DEFAULTS:
            raise unknown("things setting", name, DEFAULTS)
        if not value.isdecimal():
            raise UserError(f"things: {name} should be a whole number, is '{value}'")
        wanted[name] = int(value)
    return wanted
