"""Walks on a line with walls: generated questions whose answer needs every step in between.

    {"id": "3-0-train-0", "question": "From 8 go +3 -2 +1", "choices": ["2", "8", "5", "9"], "answer": "8"}

The line has the places 0 to 9; a move past an end stops there, so the moves' sum is not enough and their order matters.
`level` is the number of moves. Of the four choices one is where the walk ends; every place is the end equally often.

The splits share no walk, for any seed and size: a hash of the walk itself decides which split it belongs to (80 %,
10 %, 10 %). About 40, 450, 4,700 and 47,000 different training puzzles can be made at levels 1, 2, 3 and 4.
At level 3, part of the way already helps: of the four choices, the one nearest to where the start and the moves' sum
point is right for 78 % of the puzzles, the one nearest to the start for 31 %.

Source syntax: `train=2000,validation=300,test=300,level=3,seed=0`, each part optional.
"""

import hashlib
import random

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks.question import Question

OTHER_SOURCE = "they are generated: train=2000,validation=300,test=300,level=3,seed=0"
MAX_INPUT = 128
DEFAULTS = {"train": 2000, "validation": 300, "test": 300, "level": 3, "seed": 0}
LAST_PLACE = 9
LARGEST_MOVE = 5


def generate(source: str = "") -> dict[str, list[Question]]:
    """The puzzles that a source such as "train=2000,level=3" asks for; equal sources give equal puzzles anywhere."""
    wanted = {**DEFAULTS, **_parse_source(source)}
    return {split: _split(split, wanted[split], wanted["level"], wanted["seed"])
            for split in ("train", "validation", "test") if wanted[split]}


def walk(question: str) -> list[tuple[int, int, int]]:
    """The (place before, move, place after) of each step of a question's walk; the last place is the answer.

    Raises:
      UserError: the text is not a puzzle's.
    """
    try:
        start, moves = question.removeprefix("From ").split(" go ")
        return _steps(int(start), [int(move) for move in moves.split()])
    except ValueError:
        raise UserError(f"not a puzzle: {question!r}; it should read like 'From 8 go +3 -2 +1'") from None


def _steps(place: int, moves: list[int]) -> list[tuple[int, int, int]]:
    steps = []
    for move in moves:
        after = min(max(place + move, 0), LAST_PLACE)
        steps.append((place, move, after))
        place = after
    return steps


def _split(split: str, size: int, level: int, seed: int) -> list[Question]:
    rng = random.Random(f"puzzles {split} {level} {seed}")
    walks = list(_draw_walks(rng, split, size, level).items())
    rng.shuffle(walks)
    return [_question(rng, f"{level}-{seed}-{split}-{index}", split, text, end)
            for index, (text, end) in enumerate(walks)]


def _draw_walks(rng: random.Random, split: str, size: int, level: int) -> dict[str, int]:
    """`size` different walks of a split, text to last place, each place being the last equally often."""
    moves = [move for move in range(-LARGEST_MOVE, LARGEST_MOVE + 1) if move]
    room = [(size + place) // (LAST_PLACE + 1) for place in range(LAST_PLACE + 1)]
    walks: dict[str, int] = {}
    in_vain = 0
    while len(walks) < size:
        start, drawn = rng.randint(0, LAST_PLACE), rng.choices(moves, k=level)
        end = _steps(start, drawn)[-1][2]
        text = f"From {start} go " + " ".join(f"{move:+d}" for move in drawn)
        if room[end] and text not in walks and _split_of(text) == split:
            walks[text], in_vain = end, 0
            room[end] -= 1
        elif (in_vain := in_vain + 1) == 100_000:
            raise UserError(f"puzzles: level {level} has too few different walks for {split}={size} (found "
                            f"{len(walks)}); ask for fewer, or for a higher level")
    return walks


def _question(rng: random.Random, name: str, split: str, text: str, end: int) -> Question:
    others = rng.sample([place for place in range(LAST_PLACE + 1) if place != end], 3)
    choices = [str(place) for place in rng.sample([end, *others], 4)]
    return Question(name, "puzzles", split, "", text, tuple(choices), str(end))


def _split_of(text: str) -> str:
    bucket = int(hashlib.sha256(text.encode()).hexdigest(), 16) % 10
    return {8: "validation", 9: "test"}.get(bucket, "train")


def _parse_source(source: str) -> dict[str, int]:
    wanted = {}
    for part in filter(None, source.split(",")):
        name, _, value = part.partition("=")
        if name not in DEFAULTS:
            raise unknown("puzzles setting", name, DEFAULTS)
        if not value.isdecimal() or name == "level" and value == "0":
            raise UserError(f"puzzles: {name} should be a whole number{' above 0' * (name == 'level')}, is '{value}'")
        wanted[name] = int(value)
    return wanted
