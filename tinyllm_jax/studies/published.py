"""What the paper reports on each task, to stand beside a study's own numbers.

From the first version of arXiv 2402.04616: exact match of the written answer on test, in %, of one
run each and without an interval. The released scripts cut questions to 100 tokens, which takes
choices away, and look at test every 250 steps and never at validation. So these numbers say in
which region a student lies, and not which method is better.
"""

# The students of each size: no training, LoRA, all weights, and TinyLLM; None where it gives none.
METHODS = ("zero-shot", "LoRA", "fine-tuning", "TinyLLM")
SIZES = ("small (80M)", "base (250M)", "large (780M)")
ACCURACIES = {
    "obqa": ((16.60, 37.80, 41.60, 47.60), (None, None, 56.60, 64.20), (None, None, 71.20, 74.40)),
    "arc": ((19.31, 27.12, 27.47, 31.93), (None, None, 38.88, 47.98), (None, None, 62.92, 64.29)),
    "piqa": ((20.78, 39.93, 42.33, 52.77), (None, None, 47.55, 60.17), (None, None, 58.43, 67.90)),
    "riddle": (
        (13.33, 39.80, 42.75, 49.22),
        (None, None, 52.55, 60.78),
        (None, None, 68.82, 70.98),
    ),
    "pubmedqa": (
        (38.00, 53.75, 56.25, 62.00),
        (None, None, 64.75, 66.25),
        (None, None, 70.25, 73.00),
    ),
    "bioasq": (
        (47.97, 78.05, 78.86, 82.11),
        (None, None, 89.43, 90.24),
        (None, None, 90.24, 92.68),
    ),
}
# Its teachers on the same questions.
TEACHERS = {
    "FLAN-T5 xl": dict(
        obqa=69.20, arc=68.24, piqa=58.43, riddle=53.73, pubmedqa=71.50, bioasq=65.85
    ),
    "LLaMA 2": dict(obqa=58.60, arc=45.90, piqa=78.80, riddle=47.65, pubmedqa=54.50, bioasq=73.75),
}


def sentence(task: str) -> str:
    """What the paper reports on a task, in a sentence with its caveat; "" where it has none."""
    if task not in ACCURACIES:
        return ""
    students = [
        f"FLAN-T5 {size} "
        + ", ".join(
            f"{method} {rate:.1f}"
            for method, rate in zip(METHODS, rates, strict=True)
            if rate is not None
        )
        for size, rates in zip(SIZES, ACCURACIES[task], strict=True)
    ]
    teachers = [f"its teacher {name} {rates[task]:.1f}" for name, rates in TEACHERS.items()]
    return (
        f"The paper reports, in % by exact match of what is written: {'; '.join(students)}; "
        f"{', '.join(teachers)}. These are single runs; the released scripts cut questions to "
        "100 tokens and look at test alone, so they do not measure the methods above."
    )
