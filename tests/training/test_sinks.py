"""Where curves are shown: wandb and trackio are told the right things, and know a run again."""

import sys
import types

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import loop, metrics, sinks
from tinyllm_jax.training.recipes import default_config, run_of, set_student

pytestmark = pytest.mark.usefixtures("quick_compilation", "one_device")


@pytest.fixture
def calls(monkeypatch) -> dict[str, list]:
    """What wandb and trackio are called with: stand-ins for both, which note everything."""
    noted: dict[str, list] = {"wandb": [], "trackio": []}

    def note(package: str, function: str):
        return lambda *args, **more: noted[package].append((function, *args, more))

    for package in noted:
        functions = ("init", "log", "define_metric", "finish")
        fake = types.SimpleNamespace(**{name: note(package, name) for name in functions})
        monkeypatch.setitem(sys.modules, package, fake)
    return noted


BOTH = ("tensorboard", "wandb", "trackio")


def test_both_are_told_every_curve_and_know_the_run_again(calls, tmp_path):
    workdir = tmp_path / "my run"
    workdir.mkdir()
    for step in (2, 4):  # the second time the run is resumed
        log = metrics.Metrics(workdir, step - 2, True, BOTH, {"seed": 7})
        log.write(step, loss=0.5, terms={"answer": 0.25})
        log.close()

    init, defined, first, finished, *again = calls["wandb"]
    assert init[1] == {
        "project": "tinyllm_jax",
        "id": init[1]["id"],
        "name": init[1]["id"],
        "config": {"seed": 7},
        "dir": str(workdir),
        "resume": "allow",
    }
    assert init[1]["id"].startswith("my-run-")
    assert defined == ("define_metric", "*", {"step_metric": "step"})
    assert first == ("log", {"step": 2, "loss": 0.5, "terms/answer": 0.25}, {})
    assert finished == ("finish", {}) and again[0] == init
    assert again[2][1]["step"] == 4

    init, first, _, resumed, second, _ = calls["trackio"]
    assert (init[1]["project"], init[1]["resume"]) == ("tinyllm_jax", "allow")
    assert init == resumed and init[1]["name"].startswith("my-run-")
    assert first == ("log", {"loss": 0.5, "terms/answer": 0.25}, {"step": 2})
    assert second[2] == {"step": 4}
    assert list((workdir / "tensorboard").iterdir())


def test_none_writes_the_rows_alone(tmp_path, calls):
    log = metrics.Metrics(tmp_path, 0, True, ("none",))
    log.write(1, loss=1.0)
    log.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]
    assert calls == {"wandb": [], "trackio": []}


@pytest.mark.parametrize(
    "names, words",
    [
        (("wandbb",), "did you mean 'wandb'"),
        (("none", "wandb"), "give none alone"),
        (("tensorboard", "trackio"), "pip install trackio"),
    ],
)
def test_bad_names_and_absent_packages_are_one_line(names, words, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace())
    monkeypatch.setitem(sys.modules, "trackio", None)
    with pytest.raises(UserError, match=words):
        loop.train(run_of(default_config()), "/nowhere", tmp_path / "run", report_to=names)
    assert not list(tmp_path.iterdir())


def test_a_refusal_is_one_line_without_the_key(monkeypatch, tmp_path):
    def init(**about):
        raise RuntimeError("the key 5ecret\nis not known")

    monkeypatch.setitem(sys.modules, "wandb", types.SimpleNamespace(init=init))
    monkeypatch.setenv("WANDB_API_KEY", "5ecret")
    with pytest.raises(UserError, match="--report_to=wandb: the key … is not known; leave wandb"):
        sinks.Tracker("wandb", tmp_path, {})


def test_a_run_goes_on_where_it_reported(calls, things_corpus, tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "5ecret")
    config = default_config()
    config.task = "things"
    set_student(config, "byte-tiny")
    config.batch_size, config.log_every, config.validation.questions = 8, 1, 4
    config.steps, config.checkpoint.every, config.optimizer.schedule = 1, 1, "constant"
    for steps in (1, 2):
        config.steps = steps
        loop.train(run_of(config), things_corpus, tmp_path / "run", report_to=("wandb",))
    inits = [call[1] for call in calls["wandb"] if call[0] == "init"]
    assert inits[0]["id"] == inits[1]["id"] and inits[1]["config"]["steps"] == 2
    losses = [call[1]["step"] for call in calls["wandb"] if call[0] == "log" and "loss" in call[1]]
    assert losses == [1, 2]
    told = b"".join(p.read_bytes() for p in (tmp_path / "run").rglob("*") if p.is_file())
    assert b"5ecret" not in told and "5ecret" not in str(calls)
