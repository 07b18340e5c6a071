"""The demonstration's table: students of the made-up things, over several seeds.

    python tests/benchmarks/bench_demonstration.py --out runs/demonstration --seeds 0,1,2,3,4
    python tests/benchmarks/bench_demonstration.py --ceiling

Everything goes through the commands and the config of `launch/quickstart.sh`. Students beside the
quickstart's four: with the careless teacher too, and, as a control, both teachers' rationales
permuted across the training questions. What is finished is kept in `--out` and not done again.
Fields of the config can be overridden behind `--`, e.g. `-- --config.optimizer.name=adamw`.
"""

import argparse
import itertools
import pathlib
import random
import statistics

from tinyllm_jax import cli
from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.schema import Row
from tinyllm_jax.evaluation import report, results, stats
from tinyllm_jax.tasks import things

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "quickstart.py"
# Student → the teachers that it learns from, as the config's argument.
STUDENTS = {
    "answers only": "none",
    "material": "material",
    "shape": "shape",
    "both": "material+shape",
    "both + careless": "careless+material+shape",
    "both permuted": "material+shape",
}
METRIC = report.HEADLINE


def main() -> None:
    """Trains what is missing, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--out", type=pathlib.Path, default="runs/demonstration")
    parser.add_argument("--seeds", default="0,1,2,3,4")
    parser.add_argument("--students", default=",".join(STUDENTS))
    parser.add_argument("--split", default="test", choices=("validation", "test"))
    parser.add_argument(
        "--ceiling", action="store_true", help="what a perfect learner reaches from answers"
    )
    parser.add_argument("overrides", nargs="*")
    arguments = parser.parse_args()
    if arguments.ceiling:
        print_ceiling()
        return
    seeds, names = arguments.seeds.split(","), arguments.students.split(",")
    found: dict[str, list[results.Result]] = {name: [] for name in names}
    for seed, name in itertools.product(seeds, names):
        folder = arguments.out / f"seed-{seed}"
        corpus = folder / ("permuted" if "permuted" in name else "corpus")
        if not corpus.exists():
            make_corpora(folder, seed)
        workdir = folder / name.replace(" + ", "-").replace(" ", "-")
        found[name].append(
            evaluated(workdir, corpus, STUDENTS[name], seed, arguments.split, arguments.overrides)
        )
    print_table(seeds, found)


def make_corpora(folder: pathlib.Path, seed: str) -> None:
    """Has the teachers write, and builds the corpus and its permuted twin."""
    questions = ["--task", "things", "--source", f"seed={seed}"]
    cli.main(["teach", *questions, "--splits", "train,validation", "--out", str(folder / "logs")])
    cli.main(
        [
            "corpus",
            "build",
            *questions,
            "--log",
            str(folder / "logs"),
            "--out",
            str(folder / "corpus"),
        ]
    )
    corpus = store.Corpus(folder / "corpus")
    rows = {split: corpus.rows(split) for split in corpus.splits}
    rationales = [row.rationales for row in rows["train"]]
    random.Random(seed).shuffle(rationales)
    rows["train"] = [
        Row(row.question, other) for row, other in zip(rows["train"], rationales, strict=True)
    ]
    store.write_corpus(
        folder / "permuted", "things", corpus.teachers, rows, corpus.manifest.report, "permuted"
    )


def evaluated(
    workdir: pathlib.Path,
    corpus: pathlib.Path,
    teachers: str,
    seed: str,
    split: str,
    overrides: list[str],
) -> results.Result:
    """A student's result, trained and evaluated unless that was done before."""
    if not list(workdir.glob(f"evaluation/{split}-*/results.json")):
        cli.main(
            [
                "train",
                "--config",
                f"{CONFIG}:teachers={teachers}",
                f"--config.seed={seed}",
                *overrides,
                "--corpus",
                str(corpus),
                "--workdir",
                str(workdir),
            ]
        )
        cli.main(["evaluate", "--workdir", str(workdir), "--split", split])
    (folder,) = workdir.glob(f"evaluation/{split}-*")
    return results.read(folder)


def print_table(seeds: list[str], found: dict[str, list[results.Result]]) -> None:
    """Accuracies by seed, their mean and least; then paired tests of all seeds together."""
    print(
        f"\n{'accuracy in %':18}"
        + "".join(f"{'seed ' + seed:>9}" for seed in seeds)
        + f"{'mean':>9}{'least':>9}"
    )
    for name, some in found.items():
        rates = [100 * result.accuracy(METRIC).rate for result in some]
        columns = [*rates, statistics.mean(rates), min(rates)]
        print(f"{name:18}" + "".join(f"{rate:9.1f}" for rate in columns))
    print("\nexact McNemar test, the questions of all seeds together:")
    right = {
        name: [answer for result in some for answer in result.right(METRIC)]
        for name, some in found.items()
    }
    for first, second in itertools.combinations(found, 2):
        test = stats.paired(right[second], right[first])
        found_in = f"{test.points:+.1f} points of {test.n:,} questions, {report.p_value(test.p)}"
        print(f"{second} against {first}: {found_in}")


def print_ceiling(draws: int = 20_000) -> None:
    """How often a perfect learner is right who sees some answers about a thing.

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
