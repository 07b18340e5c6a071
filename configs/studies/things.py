"""The demonstration as a study: every method on five worlds of made-up things.

    launch/demonstration.sh
    tinyllm study --config configs/studies/things.py --out runs/things/study
    tinyllm study --config configs/studies/things.py:curve --out runs/things/curve

`launch/demonstration.sh` has the scripted teachers write the corpora, and then runs both. The first
compares methods, with two training questions a thing. `careless` is among the teachers: he is wrong
about the material of half of the things. What policies win back is what leaving him out gains. The
second asks how far more questions about each thing, from one to four, close the gap between the
students of answers and of both teachers.

The student is the quickstart's and starts from nothing. Readers learn for 250 steps; with 500 they
read no better. `helpful` doubts `careless` in every world, for readers are misled by 15 to 23 % of
his rationales, and by 1 to 4 % of the others'. He is then heard where he helps more than they do,
which is next to nowhere: `material` knows all that he knows.
"""

import ml_collections

from tinyllm_jax.training.recipes import neighbour


def get_config(part: str = "methods"):
    """The study's config, of the part "methods" or "curve"."""
    study = ml_collections.ConfigDict()
    study.base = neighbour(__file__, "../quickstart.py")
    study.baseline = "answers only"
    if part == "curve":
        study.corpora = {"things": "runs/things/four-questions-{seed}/corpus"}
        study.seeds = (0, 1, 2)
        study.fractions = (0.25, 0.5, 0.75, 1.0)
        study.methods = (
            {"name": "answers only"},
            {"name": "both", "teachers": "material+shape"},
        )
        return study
    study.corpora = {"things": "runs/things/seed-{seed}/corpus"}
    study.seeds = (0, 1, 2, 3, 4)
    study.readers = {"steps": 250}
    study.methods = (
        {"name": "answers only"},
        {"name": "material", "teachers": "material"},
        {"name": "shape", "teachers": "shape"},
        {"name": "both", "teachers": "material+shape"},
        {"name": "all three", "teachers": "all"},
        {"name": "helpful", "teachers": "all", "policy": "helpful"},
        {"name": "permuted", "teachers": "material+shape", "policy": "permuted"},
    )
    return study
