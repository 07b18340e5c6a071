"""Every config builds, and trains two steps with a tiny student in place of its own."""

import importlib.util
import pathlib

import pytest

from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.studies.study import study_of
from tinyllm_jax.teachers import config as teachers
from tinyllm_jax.training import loop
from tinyllm_jax.training.recipes import run_of, set_student

pytestmark = pytest.mark.usefixtures("quick_compilation", "one_device")
CONFIGS = pathlib.Path(__file__).resolve().parents[1] / "configs"
ARGUMENTS = {
    "tinyllm": [
        "recipe=paper",
        "recipe=released",
        "recipe=recommended,teachers=material:0.5",
        "",
        "recipe=released,teachers=none",
    ],
    "debug_gpu": [""],
    "quickstart": ["", "teachers=none", "teachers=shape"],
}


def load(name: str, arg: str):
    spec = importlib.util.spec_from_file_location(name, CONFIGS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, module.get_config(arg) if arg else module.get_config()


TEACHERS = {"teachers": "", "teachers_cpu": "mode=unforced"}


def test_no_config_is_left_out():
    assert {p.stem for p in CONFIGS.glob("*.py")} == {*ARGUMENTS, *TEACHERS}


@pytest.mark.parametrize("name", TEACHERS)
def test_teachers_are_as_they_must_be(name):
    module, config = load(name, TEACHERS[name])
    assert f"configs/{name}.py" in module.__doc__ and len(config.teachers) > 2
    for teacher in config.teachers:
        teachers.check(teacher, config.teachers[teacher])


def test_studies_are_as_they_must_be():
    for path in sorted((CONFIGS / "studies").glob("*.py")):
        module, config = load(f"studies/{path.stem}", "")
        assert f"configs/studies/{path.name}" in module.__doc__
        assert len(study_of(config).cells()) > 2


@pytest.mark.parametrize("name, arg", [(n, a) for n, args in ARGUMENTS.items() for a in args])
def test_two_steps(name, arg, things_corpus, tmp_path):
    module, config = load(name, arg)
    assert f"configs/{name}.py" in module.__doc__  # its command
    config.task = "things"
    if name != "quickstart":
        set_student(config, "byte-tiny")
    config.steps, config.batch_size, config.checkpoint.every = 2, 8, 2
    config.validation.questions, config.log_every = 4, 1
    done = loop.train(run_of(config), things_corpus, tmp_path / "run")
    assert done.step == done.steps == 2 and done.best_step == 2
    wanted = {"answer"} if "none" in arg else {"answer", "material", "shape"}
    if "material:0.5" in arg:
        wanted = {"answer", "material"}
    elif arg == "teachers=shape":
        wanted = {"answer", "shape"}
    from tinyllm_jax.training import metrics

    rows = [row for row in metrics.read(tmp_path / "run" / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == [1, 2] and set(rows[0]["terms"]) == wanted


def test_every_recipe_fits_a_run_of_any_length():
    shares = {"tinyllm": {"recommended": 0.05}, "debug_gpu": {"": 0.1}, "quickstart": {"": 0.06}}
    for name, recipes in shares.items():
        for recipe, share in recipes.items():
            planned = run_of(load(name, f"recipe={recipe}" if recipe else "")[1])
            for steps in (3, 80, 500, 10_000):
                assert planned.of_steps(steps).optimizer.warmup_steps == round(share * steps)
    for recipe in ("paper", "released"):  # the paper names no warm-up
        planned = run_of(load("tinyllm", f"recipe={recipe}")[1])
        assert planned.of_steps(80).optimizer.warmup_steps == 0


def test_only_the_recipes_of_others_tell_the_encoder():
    told = {
        recipe: load("tinyllm", f"recipe={recipe}")[1].objective.prefix
        for recipe in ("paper", "released", "recommended")
    }
    assert told == {"paper": "encoder", "released": "encoder", "recommended": "decoder"}
    assert load("quickstart", "")[1].objective.prefix == "decoder"


def test_the_quickstart_weighs_each_teacher_alike():
    corpus = ("careless", "material", "shape")
    terms = lambda arg: run_of(load("quickstart", arg)[1]).resolve(corpus).objective.terms
    assert terms("teachers=none") == {"answer": 1.0}
    assert terms("teachers=material+shape") == {"answer": 1.0, "material": 3.0, "shape": 3.0}
    assert terms("") == {"answer": 1.0, "careless": 3.0, "material": 3.0, "shape": 3.0}
    assert terms("teachers=shape:0.5") == {"answer": 1.0, "shape": 0.5}


def test_a_run_whose_rationales_follow_the_answer(things_corpus, tmp_path):
    from tinyllm_jax.evaluation import score
    from tinyllm_jax.training import metrics, restore

    _, config = load("quickstart", "")
    config.objective.after, config.objective.final = 0.5, 0.5
    config.steps, config.batch_size, config.log_every = 60, 32, 20
    config.checkpoint.every, config.validation.questions = 60, 8
    loop.train(run_of(config), things_corpus, tmp_path / "run")
    rows = metrics.read(tmp_path / "run" / "metrics.jsonl")
    (validated,) = (row["validation_terms"] for row in rows if "validation_terms" in row)
    assert {*rows[0]["terms"]} == {*validated} == {"answer", "rationale after"}

    # It stops behind the answer, though it was trained to go on.
    student = restore.restore(tmp_path / "run", 60)
    assert student.teachers == []
    questions = [row.question for row in Corpus(things_corpus).rows("train")][:16]
    result = score.evaluate(student, questions)
    assert result.counts["answers_unfinished"] == 0
    assert all(len(p.generated.split()) == 1 for p in result.predictions)


def test_a_lora_run_is_restored_merged(things_corpus, tmp_path):
    from flax import traverse_util

    from tinyllm_jax.training import restore

    _, config = load("quickstart", "")
    config.student.lora_rank, config.student.lora_targets = 2, ("q", "wo")
    config.steps, config.batch_size = 2, 8
    config.checkpoint.every, config.validation.questions = 2, 4
    loop.train(run_of(config), things_corpus, tmp_path / "run")
    trained = restore.restore(tmp_path / "run", 2)
    assert trained.config.lora_rank == 0
    assert not [k for k in traverse_util.flatten_dict(trained.params, sep="/") if "lora" in k]
