"""The demonstration as a study: every method on five worlds of made-up things.

    launch/demonstration.sh
    tinyllm study --config configs/studies/things.py --out runs/things/study

`launch/demonstration.sh` has the scripted teachers write the corpora of the five seeds, and then
runs the study. `careless` is among the teachers: he is wrong about the material of half of the
things. What policies win back is what leaving him out gains.

The student is the quickstart's and starts from nothing. Readers learn for 250 steps: after that
they know the training questions by heart and read no better.
"""

import importlib.util
import pathlib

import ml_collections


def get_config():
    """The study's config."""
    study = ml_collections.ConfigDict()
    study.base = _quickstart()
    study.corpora = {"things": "runs/things/seed-{seed}/corpus"}
    study.seeds = (0, 1, 2, 3, 4)
    study.baseline = "answers only"
    study.readers = {"steps": 250}
    study.methods = (
        {"name": "answers only"},
        {"name": "answers only twice as long", "overrides": {"steps": 1000}},
        {"name": "material", "teachers": "material"},
        {"name": "shape", "teachers": "shape"},
        {"name": "both", "teachers": "material+shape"},
        {"name": "all three", "teachers": "all"},
        {"name": "helpful", "teachers": "all", "policy": "helpful"},
        {"name": "selected", "teachers": "all", "policy": "selected"},
        {
            "name": "selected after",
            "teachers": "all",
            "policy": "selected",
            "overrides": {"objective.after": 0.5},
        },
        {"name": "soft", "teachers": "all", "policy": "soft"},
        {"name": "permuted", "teachers": "material+shape", "policy": "permuted"},
    )
    return study


def _quickstart():
    """The config of `configs/quickstart.py`, which is loaded by its path as config files are."""
    path = pathlib.Path(__file__).resolve().parents[1] / "quickstart.py"
    spec = importlib.util.spec_from_file_location("quickstart", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
