"""ARC-Challenge: grade-school science questions, mostly with four choices.

Clark et al. 2018, arXiv 1803.05457. A row on the hub; some rows label their choices 1 to 4, and a
few have three choices or five:

    {"id": "Mercury_SC_415702",
     "question": "George wants to warm his hands quickly by rubbing them. Which skin surface …?",
     "choices": {"text": ["dry palms", "wet palms", "palms covered with oil",
                          "palms covered with lotion"],
                 "label": ["A", "B", "C", "D"]},
     "answerKey": "A"}

1,119 / 299 / 1,172 questions in train / validation / test; the released files keep those with four
choices.
"""

from tinyllm_jax.tasks.sources import choice_of

HUB = ("allenai/ai2_arc", "ARC-Challenge", None)
TFDS = "ai2_arc/ARC-Challenge"
MAX_INPUT = 256


def from_hub(row: dict) -> dict:
    """The fields of a `Question` in one row of the hub's dataset."""
    texts, labels = row["choices"]["text"], row["choices"]["label"]
    return {
        "id": row["id"],
        "question": row["question"],
        "choices": texts,
        "answer": choice_of(row["answerKey"], labels, texts),
    }


def from_tfds(row: dict) -> dict:
    """The fields of a `Question` in one row of TFDS's dataset, where labels are class numbers."""
    texts, labels = row["choices"]["text"], row["choices"]["label"]
    return {
        "id": row["id"],
        "question": row["question"],
        "choices": texts,
        "answer": texts[labels.index(row["answerKey"])],
    }
