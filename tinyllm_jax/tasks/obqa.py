"""OpenBookQA: elementary science questions with four choices.

Mihaylov et al. 2018, arXiv 1809.02789. A row on the hub:

    {"id": "7-980", "question_stem": "The sun is responsible for",
     "choices": {"text": ["puppies learning new tricks", "children growing up and getting old",
                          "flowers wilting in a vase", "plants sprouting, blooming and wilting"],
                 "label": ["A", "B", "C", "D"]},
     "answerKey": "D"}

4,957 / 500 / 500 questions in train / validation / test.
"""

from tinyllm_jax.tasks.sources import choice_of

HUB = ("allenai/openbookqa", "main", None)
TFDS = "openbookqa"
MAX_INPUT = 160


def from_hub(row: dict) -> dict:
    """The fields of a `Question` in one row of the hub's dataset."""
    texts, labels = row["choices"]["text"], row["choices"]["label"]
    return {
        "id": row["id"],
        "question": row["question_stem"],
        "choices": texts,
        "answer": choice_of(row["answerKey"], labels, texts),
    }


def from_tfds(row: dict) -> dict:
    """The fields of a `Question` in one row of TFDS's dataset, which has no ids."""
    choices = [row["question"][f"choice_{letter}"] for letter in "ABCD"]
    return {
        "question": row["question"]["stem"],
        "choices": choices,
        "answer": choices[row["answerKey"]],
    }
