"""Where sentences end, in texts with everything that only looks like an end."""

import pytest

from tinyllm_jax.corpus.judging import sentences


@pytest.mark.parametrize(
    "text, parts",
    [
        ("It is hot. It melts!", ["It is hot.", "It melts!"]),
        ("It costs 3.5 dollars. It is 3. Then", ["It costs 3.5 dollars.", "It is 3.", "Then"]),
        ("E.g. dogs, i.e. pets vs. cats. Yes", ["E.g. dogs, i.e. pets vs. cats.", "Yes"]),
        ("Dr. Who met Mr. Smith. He", ["Dr. Who met Mr. Smith.", "He"]),
        (
            "Cats, dogs, etc. are pets. Cats, dogs, etc. They",
            ["Cats, dogs, etc. are pets.", "Cats, dogs, etc.", "They"],
        ),
        ("At 5 p.m. and at 6 p.m. The U.S. is", ["At 5 p.m. and at 6 p.m.", "The U.S. is"]),
        ('He said "so." She (as well.) left.', ['He said "so."', "She (as well.)", "left."]),
        ("**Answer.** Because", ["**Answer.**", "Because"]),
        ("1. Heat it. 2. Cool it.\n3. Eat", ["1. Heat it.", "2. Cool it.", "3. Eat"]),
        ("a. iron\nb. wood", ["a. iron", "b. wood"]),
        ("The answer is B. So", ["The answer is B.", "So"]),
        ("Written by J. K. Rowling. So", ["Written by J. K. Rowling.", "So"]),
        ("The answer is no. It is", ["The answer is no.", "It is"]),
        ("See no. 3 in fig. 2 first. Then", ["See no. 3 in fig. 2 first.", "Then"]),
        ("Wait... no. So... It", ["Wait... no.", "So...", "It"]),
        (
            "Why?! Because it is… nice. 天是蓝的。地",
            ["Why?!", "Because it is… nice.", "天是蓝的。", "地"],
        ),
        ("यह लोहा है। वह", ["यह लोहा है।", "वह"]),
        ("no end", ["no end"]),
        ("", []),
    ],
)
def test_split(text, parts):
    assert sentences.split(text, sentences.ends(text)) == parts


@pytest.mark.parametrize(
    "text, ended",
    [
        ("It is so.", True),
        ('It is "so."', True),
        ("It is so.)**", True),
        ("It is vitamin C.", True),
        ("It is 3.", True),
        ("It is so.\n2.", False),
        ("It is e.g.", False),
        ("It is called Mr.", False),
        ("It is so. And", False),
        ("a (b.c", False),
    ],
)
def test_the_last_end(text, ended):
    assert (sentences.ends(text)[-1:] == [len(text)]) == ended
