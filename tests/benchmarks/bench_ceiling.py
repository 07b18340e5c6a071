"""What a perfect learner reaches on the made-up things from answers alone.

    python tests/benchmarks/bench_ceiling.py

So a gap between students of answers and students of rationales is one of learning, and not of
information (`things.GAP`).
"""

import itertools
import random

from tinyllm_jax.tasks import things


def main(draws: int = 20_000) -> None:
    """Prints how often a perfect learner is right who sees some answers about a thing.

    It knows `MATERIALS` and `SHAPES`, keeps every (material, shape) that the answers allow, and
    takes the likeliest choice.
    """
    kinds = list(itertools.product(things.MATERIALS, things.SHAPES))
    can = {kind: {*things.MATERIALS[kind[0]], *things.SHAPES[kind[1]]} for kind in kinds}
    rng = random.Random(0)

    def ask(kind: tuple[str, str]) -> tuple[str, set[str]]:
        answer = rng.choice(sorted(can[kind]))
        return answer, {answer, *rng.sample(sorted(set(things.DOINGS) - can[kind]), 3)}

    for count in (1, 2, 3, 4):
        right = 0.0
        for _ in range(draws):
            kind = rng.choice(kinds)
            possible = kinds
            for answer, choices in (ask(kind) for _ in range(count)):
                possible = [other for other in possible if can[other] & choices == {answer}]
            answer, choices = ask(kind)
            # The test question says something too: exactly one of its choices is right.
            votes = [
                min(can[other] & choices) for other in possible if len(can[other] & choices) == 1
            ]
            most = max(votes.count(choice) for choice in choices)
            best = [choice for choice in choices if votes.count(choice) == most]
            right += (answer in best) / len(best)
        print(f"{count} answers a thing: {100 * right / draws:.1f} %")


if __name__ == "__main__":
    main()
