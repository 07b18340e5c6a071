"""RiddleSense: riddles with five choices (Lin et al. 2021, arXiv 2101.00376).

A row on the hub (the parquet conversion that the hub keeps of a script-based dataset):

    {"answerKey": "E", "question": "A man is incarcerated in prison, and as his punishment …",
     "choices": {"label": ["A", "B", "C", "D", "E"],
                 "text": ["throw", "bit", "gallow", "mouse", "hole"]}}

It has no ids, so the id follows from the content. About 3,510 / 1,021 / 1,184 riddles in train /
validation / test; the test labels are not public (answerKey ""), and those rows are left out. The
released files divide the validation split.
"""

from tinyllm_jax.tasks.sources import choice_of

HUB = ("INK-USC/riddle_sense", None, "refs/convert/parquet")
OTHER_SOURCE = "use hf or released:DIR"
MAX_INPUT = 160


def from_hub(row: dict) -> dict:
    """The fields of a `Question` in one row of the hub's dataset."""
    texts, labels = row["choices"]["text"], row["choices"]["label"]
    return {
        "question": row["question"],
        "choices": texts,
        "answer": choice_of(row["answerKey"], labels, texts),
    }
