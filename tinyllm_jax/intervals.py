"""The 95 % interval of a proportion: of a student's accuracy and of a teacher's."""

import math

from tinyllm_jax.errors import UserError

Z95 = 1.959963984540054  # the standard normal's 97.5 % quantile


def wilson(correct: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion, as fractions.

    Wilson (1927), "Probable inference, the law of succession, and statistical inference", JASA 22;
    without continuity correction, as Newcombe (1998) method 3. It stays inside [0, 1] and is honest
    for small n.

    Raises:
      UserError: when `n` is 0.
    """
    if n == 0:
        raise UserError(
            "no question was answered, so there is no accuracy; evaluate a split that has questions"
        )
    rate, z2 = correct / n, Z95 * Z95
    centre = rate + z2 / (2 * n)
    half = Z95 * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    # At 0 and n the bound is 0 or 1 exactly; rounding would leave it a hair outside.
    low = 0.0 if correct == 0 else (centre - half) / (1 + z2 / n)
    high = 1.0 if correct == n else (centre + half) / (1 + z2 / n)
    return low, high
