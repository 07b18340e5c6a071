"""What a study shows: means with intervals, paired tests, and what it could have shown.

Several seeds answer the same questions, or each its own. Whatever the case, answers to one question
are not independent, so intervals and tests take questions as clusters.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

DRAWS = 10_000  # of the permutation test and of the bootstrap over questions
MEAN_DRAWS = 2_000  # of the bootstrap over seeds and questions
BINS = 10  # of the calibration error
LEVEL, POWER = 0.05, 0.8

# The answers of one method to some questions: question → a 0 or 1 for each seed that asked it.
Answers = Mapping[str, Sequence[float]]


@dataclasses.dataclass(frozen=True)
class Mean:
    """A mean accuracy with its 95 % interval; all fractions."""

    mean: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Difference:
    """One method against another on the same questions.

    Attributes:
      mean, low, high: how far the first is ahead, a fraction, with its 95 % interval.
      p: the two-sided p-value of a permutation test, corrected by Holm where `holm` made it.
      answers: the number of pairs of answers.
      discordant: the share of them in which just one of the two is right.
    """

    mean: float
    low: float
    high: float
    p: float
    answers: int
    discordant: float


def mean(by_seed: Mapping[int, Mapping[str, float]], seed: int = 0) -> Mean:
    """The mean accuracy over seeds and questions.

    The interval is a bootstrap's that draws seeds and, within them, questions; where seeds share
    their questions, the same draw of questions serves all seeds.

    Args:
      by_seed: for each seed of a study question → 1 where it was answered right, else 0.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    tables = [np.array(list(answers.values())) for answers in by_seed.values()]
    rates = np.array([table.mean() for table in tables])
    shared = len({tuple(answers) for answers in by_seed.values()}) == 1
    count, size = len(tables), len(tables[0])
    draws = np.empty(MEAN_DRAWS)
    for draw in range(MEAN_DRAWS):
        some = rng.integers(count, size=count)
        if shared:
            questions = rng.integers(size, size=size)
            draws[draw] = np.mean([tables[one][questions].mean() for one in some])
        else:
            picks = [tables[one][rng.integers(len(tables[one]), size=size)] for one in some]
            draws[draw] = np.mean([pick.mean() for pick in picks])
    low, high = np.quantile(draws, (0.025, 0.975))
    return Mean(float(rates.mean()), float(low), float(high))


def difference(first: Answers, second: Answers, seed: int = 0) -> Difference | None:
    """The paired test of two methods, clustered by question.

    If the methods do not differ, each question's difference is as likely to have the other sign.
    With one answer a question and no ties this is McNemar's test.

    Args:
      first: question → the answers of all seeds, in an order that `second` shares.
      second: the other method's, of the same questions.
      seed: of the draws.

    Returns:
      The difference; None where the methods answered different questions.
    """
    if {q: len(a) for q, a in first.items()} != {q: len(a) for q, a in second.items()}:
        return None
    gaps = {q: np.asarray(first[q], float) - np.asarray(second[q], float) for q in first}
    sums = np.array([gap.sum() for gap in gaps.values()])
    answers = sum(len(gap) for gap in gaps.values())
    discordant = sum(int(np.count_nonzero(gap)) for gap in gaps.values())
    rng = np.random.default_rng(seed)

    # The bootstrap over questions, and the permutation test: each question's sign drawn anew. Only
    # questions with a difference count in the test.
    low, high = np.quantile(_resampled(sums, rng) / answers, (0.025, 0.975))
    nonzero = sums[sums != 0]
    signs = rng.choice((-1.0, 1.0), (DRAWS, len(nonzero)))
    as_large = np.abs(signs @ nonzero) >= abs(nonzero.sum()) - 1e-9
    p = (1 + int(as_large.sum())) / (1 + DRAWS) if len(nonzero) else 1.0
    return Difference(
        float(sums.sum() / answers), float(low), float(high), p, answers, discordant / answers
    )


def _resampled(sums: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The sum over questions drawn with replacement, `DRAWS` times."""
    counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), DRAWS)
    return counts @ sums


def holm(tests: Mapping[str, Difference]) -> dict[str, Difference]:
    """The tests with p-values corrected for their number (Holm 1979)."""
    ordered = sorted(tests, key=lambda name: tests[name].p)
    corrected, largest = {}, 0.0
    for rank, name in enumerate(ordered):
        largest = max(largest, min(1.0, (len(ordered) - rank) * tests[name].p))
        corrected[name] = dataclasses.replace(tests[name], p=largest)
    return {name: corrected[name] for name in tests}


def answers_needed(points: float, discordant: float) -> int:
    """How many paired answers show a difference with a power of 80 % at the level of 5 %.

    The normal approximation of McNemar's test (Connor 1987).

    Args:
      points: the difference, a fraction.
      discordant: the share of pairs in which just one of the two is right.
    """
    from scipy.stats import norm  # here, because it takes a second to import

    both, one = norm.ppf(1 - LEVEL / 2), norm.ppf(POWER)
    root = both * math.sqrt(discordant) + one * math.sqrt(max(discordant - points**2, 0.0))
    return math.ceil((root / points) ** 2)


def calibration_error(confidence: np.ndarray, right: np.ndarray) -> float:
    """The expected calibration error: the mean gap of confidence and accuracy, in ten bins.

    Args:
      confidence: (N,), the probability of the likeliest choice.
      right: (N,), whether it is the gold one.
    """
    bins = np.minimum((confidence * BINS).astype(int), BINS - 1)
    gaps = [
        (bins == b).mean() * abs(confidence[bins == b].mean() - right[bins == b].mean())
        for b in range(BINS)
        if (bins == b).any()
    ]
    return float(sum(gaps))
