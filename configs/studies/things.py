"""The demonstration as a study: every method on five worlds of made-up things.

    launch/demonstration.sh
    tinyllm study --config configs/studies/things.py --out runs/things/study

`launch/demonstration.sh` has the scripted teachers write the corpora of the five seeds, and then
runs the study. `careless` is among the teachers: he is wrong about the material of half of the
things. What policies win back is what leaving him out gains.

The student is the quickstart's and starts from nothing. Readers learn for 250 steps: after that
they know the training questions by heart and read no better. The threshold of `helpful` is where,
with seed 10, it drops half of the wrong rationales and hardly any right one.
"""

import ml_collections

from tinyllm_jax.training.recipes import neighbour


def get_config():
    """The study's config."""
    study = ml_collections.ConfigDict()
    study.base = neighbour(__file__, "../quickstart.py")
    study.corpora = {"things": "runs/things/seed-{seed}/corpus"}
    study.seeds = (0, 1, 2, 3, 4)
    study.baseline = "answers only"
    study.readers = {"steps": 250}
    study.methods = (
        {"name": "answers only"},
        {"name": "material", "teachers": "material"},
        {"name": "shape", "teachers": "shape"},
        {"name": "both", "teachers": "material+shape"},
        {"name": "all three", "teachers": "all"},
        {"name": "helpful", "teachers": "all", "policy": "helpful", "threshold": -0.25},
        {"name": "permuted", "teachers": "material+shape", "policy": "permuted"},
    )
    return study
