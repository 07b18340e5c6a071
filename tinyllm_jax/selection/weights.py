"""From what is known of each rationale to its weight: pure functions on arrays.

A table has a row for each of Q questions and a column for each of T teachers; NaN stands where
nothing is known, because there is no rationale or no vote. There the weight is 1: what is not
judged stays as it was.
"""

import numpy as np

THRESHOLD = -0.5  # nats; below it a rationale harms a reader, see `helpful`
# A teacher is doubted if the share of his rationales that harm is higher by more than this than
# that of the teacher who harms least.
DOUBTED = 0.1
# A single rationale of a trusted teacher is dropped from so many times the threshold on.
SURE = 2.0


def helpful(utility: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Drops what harms by far of trusted teachers, and what does not clearly help of doubted ones.

    One utility is noisy, and says nothing where the question does not hang on what the rationale
    tells. So it is read beside its teacher's others. A teacher who is not `doubted` is trusted:
    where he seems to harm, it is mostly the reader who errs, and what is dropped may be said
    nowhere else. So he is believed unless he harms by far. What a doubted teacher says is likely to
    be wrong unless it is seen to be right: he is heard only where he helps clearly more than every
    trusted teacher, and than no rationale at all.

    Args:
      utility: (Q, T) nats, from `reader.utilities`.
      threshold: below 0; a rationale harms if its utility is below it, harms by far if it is below
        `SURE` times it, and helps clearly more than another if its utility is higher by more than
        the threshold's opposite.

    Returns:
      Weights (Q, T), 0 or 1.
    """
    known = ~np.isnan(utility)
    distrusted = doubted(utility, threshold)
    trusted = np.where(known & ~distrusted, utility, 0.0)
    most = np.max(trusted, axis=1, keepdims=True, initial=0.0)
    kept = np.where(distrusted, utility - most > -threshold, utility >= SURE * threshold)
    return np.where(known & ~kept, 0.0, 1.0)


def doubted(utility: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Which teachers harm clearly more often than the one who harms least.

    A weak reader is misled by a share of the best teacher's rationales too. What all teachers have
    in common is the reader's doing and says nothing about any of them.

    Args:
      utility: (Q, T) nats, from `reader.utilities`.
      threshold: as of `helpful`.

    Returns:
      (T,) of bool. A single teacher is never doubted.
    """
    judged = (~np.isnan(utility)).sum(axis=0)
    harmful = (utility < threshold).sum(axis=0) / np.maximum(judged, 1)
    return harmful > np.min(harmful, where=judged > 0, initial=1.0) + DOUBTED


def selected(utility: np.ndarray) -> np.ndarray:
    """Keeps each question's most helpful rationale, the first of equals.

    Args:
      utility: (Q, T).

    Returns:
      Weights (Q, T), 0 or 1; a question without any utility keeps all that it has.
    """
    known = ~np.isnan(utility)
    best = np.argmax(np.where(known, utility, -np.inf), axis=1)
    chosen = np.arange(utility.shape[1]) == best[:, None]
    return np.where(known & ~chosen, 0.0, 1.0)


def soft(utility: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Shares each question's weight out by softmax: the soft form of `selected`.

    Args:
      utility: (Q, T).
      temperature: in the unit of the utility; the higher, the more alike the weights.

    Returns:
      Weights (Q, T), whose mean over a question's known rationales is 1, as without any policy.
    """
    known = ~np.isnan(utility)
    scores = np.where(known, utility, -np.inf) / temperature
    highest = np.max(scores, axis=1, keepdims=True, initial=-np.inf)
    exponentials = np.exp(scores - np.where(np.isfinite(highest), highest, 0.0))
    total = exponentials.sum(axis=1, keepdims=True)
    share = np.divide(exponentials, total, out=np.zeros_like(exponentials), where=total > 0)
    return np.where(known, share * known.sum(axis=1, keepdims=True), 1.0)


def votes(share: np.ndarray) -> np.ndarray:
    """Weighs each rationale by how often its teacher answers the question right by itself.

    Args:
      share: (Q, T), the share of the teacher's own answers that are right.

    Returns:
      Weights (Q, T), from 0 to 1.
    """
    return np.where(np.isnan(share), 1.0, share)
