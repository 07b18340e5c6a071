"""PIQA: which of two ways reaches a goal in the physical world.

Bisk et al. 2020, arXiv 1911.11641. A row on the hub (a parquet copy of `ybisk/piqa`, which is a
script); it has no id, so the id follows from the content:

    {"goal": "When boiling butter, when it's ready, you can", "sol1": "Pour it onto a plate",
     "sol2": "Pour it into a jar", "label": 1}

16,113 / 1,838 questions in train / validation; the test labels are not public (label -1), and those
rows are left out. The released files divide the validation split into validation and test.
"""

HUB = ("baber/piqa", None, None)
TFDS = "piqa"
MAX_INPUT = 1152  # the longest of the released questions takes 1,109 tokens; 95 % take at most 165


def from_hub(row: dict) -> dict:
    """The fields of a `Question` in one row of the hub's dataset."""
    choices = [row["sol1"], row["sol2"]]
    answer = None if row["label"] == -1 else choices[row["label"]]
    return {"question": row["goal"], "choices": choices, "answer": answer}


def from_tfds(row: dict) -> dict:
    """The fields of a `Question` in one row of TFDS's dataset, which has no test split."""
    return {"id": row["id"], **from_hub(row)}
