"""PubMedQA: yes, no or maybe, from the abstract of a medical paper.

Jin et al. 2019, arXiv 1909.06146. A row on the hub:

    {"pubid": 21645374,
     "question": "Do mitochondria play a role in remodelling lace plant leaves …?",
     "context": {"contexts": ["Programmed cell death (PCD) is …", "The following paper …"],
                 "labels": ["BACKGROUND", "RESULTS"],
                 "meshes": […]},
     "long_answer": "Results depicted mitochondrial dynamics …",
     "final_decision": "yes"}

The labelled part is 1,000 questions, on the hub all in one split, "train"; the released files
divide it into 500 / 100 / 400. The abstract is the context, so that truncation never reaches the
question. `long_answer` is the paper's conclusion and is not shown.
"""

from tinyllm_jax.tasks.question import SEPARATOR

HUB = ("qiaojin/PubMedQA", "pqa_labeled", None)
OTHER_SOURCE = "use hf or released:DIR"
MAX_INPUT = 640
CHOICES = ("yes", "no", "maybe")


def from_hub(row: dict) -> dict:
    """The fields of a `Question` in one row of the hub's dataset."""
    return {
        "id": str(row["pubid"]),
        "context": SEPARATOR.join(row["context"]["contexts"]),
        "question": row["question"],
        "choices": CHOICES,
        "answer": row["final_decision"],
    }
