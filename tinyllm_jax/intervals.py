"""The 95 % interval of a proportion: of a student's accuracy and of a teacher's."""

from tinyllm_jax.errors import UserError


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22;
    without continuity correction, as Newcombe (1998) method 3. It stays inside [0, 1] and is honest
    for small n.

    Args:
      correct: how many of the questions were answered right.
      n: the number of questions.

    Returns:
      The lower and the upper bound, as fractions.

    Raises:
      UserError: `n` is 0.
    """
    if n == 0:
        raise UserError(
            "no question was answered, so there is no accuracy; evaluate a split that has questions"
        )
    from scipy.stats import binomtest  # here, because it takes a second to import

    interval = binomtest(correct, n).proportion_ci(confidence_level=0.95, method="wilson")
    return float(interval.low), float(interval.high)
