"""Which hand-made rationales repeat themselves."""

import pytest
from iron_question import IRON

from tinyllm_jax.corpus.judging import quality


@pytest.mark.parametrize(
    "text, there",
    [
        ("Steel is a hard metal. Steel is a hard metal.", True),
        ("Steel holds much iron. Nails stick. STEEL holds, much iron!", True),
        ("1. Steel holds much iron.\n2. Steel holds much iron.", True),
        ("First, steel holds iron.\nSecond, steel holds iron", True),
        (
            "(a) It is so.\n(b) It is so.\n(c) It is so.\n(d) It is so.",
            False,
        ),  # four choices, the same said of each
        ("It is so.\n" * 5, True),
        ("Perfume is a liquid. Cups hold liquids. Perfume is a liquid.", True),  # short sentences
        ("It melts. It melts.", True),
        ("Nails hold steel.Nails hold steel.", True),
        ("Hint 1: Iron is a metal.\nHint 2: Iron is a metal.", True),
        ("### Step 1\nIron is a metal.\n### Step 2\nIron is a metal.", True),
        ("Birds use a beak to eat. Birds could use their beaks to eat.", True),  # the same words
        ("iron iron iron iron iron.", True),
        ("Steel sticks.\n#\n#\n#\n#\n#\n", True),
        ("Frogs can swim far. Frogs cannot swim far.", False),
        ("(a) nails: this is metal.\n(b) a cup: this is metal.", False),
        ("We add nails. So, it is hot steel. We add cups. So, it is hot steel.", False),
        ("The answer is iron nails. Steel holds iron. So the answer is iron nails.", False),
        ("It is steel and steel and steel and steel and steel.", True),
        ("It gets bigger and bigger and bigger.", False),
        ("We get 10 10 10 10 10 10 10 10 of them.", False),  # numbers may recur
        ("Steel is a metal. Iron is a metal. A cup is no metal. So a cup is not steel.", False),
        (
            "Steel holds much iron. Nails stick.\nQuestion: x\nSteel holds much iron.",
            False,
        ),  # after the echo
    ],
)
def test_repetition(text, there):
    assert ("repetition" in quality.flags_of(text, IRON)) == there
