"""The 95 % interval of a proportion: of a student's accuracy and of a teacher's."""

import math

from tinyllm_jax.errors import UserError


def wilson(correct: float, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22;
    without continuity correction, as Newcombe (1998) method 3. It stays inside [0, 1] and is honest
    for small n.

    Args:
      correct: how many of the questions were answered right. Where some count in part (see
        `scoring.credit`) the interval is too wide rather than too narrow: parts vary less than
        right and wrong do.
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
    # The formula as scipy's `binomtest` computes it, which takes whole numbers alone.
    from scipy.special import ndtri  # here, because it takes a moment to import

    z = float(ndtri(0.975))
    p, q = correct / n, 1 - correct / n
    width = 2 * (n + z**2)
    center = (2 * n * p + z**2) / width
    delta = z / width * math.sqrt(4 * n * p * q + z**2)
    low = 0.0 if correct == 0 else center - delta
    high = 1.0 if correct == n else center + delta
    return low, high
