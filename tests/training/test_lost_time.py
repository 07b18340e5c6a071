"""What a run says of its speed and of its lost time, and the profile that it writes."""

import json
import time

import jax
import numpy as np
import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import loop
from tinyllm_jax.training.lost_time import LostTime, Profile
from tinyllm_jax.training.recipes import default_config, run_of, set_student

pytestmark = pytest.mark.usefixtures("quick_compilation", "one_device")


def test_only_a_call_that_compiles_is_compilation():
    lost, double = LostTime(), jax.jit(lambda x: 2 * x)
    with lost.to_compiling(double):
        double(np.ones(3))
    once = lost.seconds["compilation"]
    with lost.to_compiling(double):
        double(np.ones(3))
    assert lost.seconds["compilation"] == once > 0
    with lost.to("input"):
        time.sleep(0.02)
    assert lost.seconds["input"] >= 0.02 and "s validation" in str(lost)


def test_a_directory_that_cannot_be_made_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="choose another local directory for --profile"):
        Profile(str(tmp_path / "file" / "profile"), 0, 10)


def test_a_run_tells_its_speed_and_writes_a_profile(things_corpus, tmp_path, capsys):
    config = default_config()
    config.task = "things"
    set_student(config, "byte-tiny")
    config.steps, config.batch_size, config.log_every = 4, 8, 1
    config.checkpoint.every, config.validation.questions = 2, 4
    config.checkpoint.minutes = 1e-9  # so every log line is late
    run, workdir = run_of(config), tmp_path / "run"
    done = loop.train(run, things_corpus, workdir, profile=str(tmp_path / "profile"))

    # Each logged step has the rates that are known of a CPU, and useful tokens alone.
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    logged = [row for row in rows if "loss" in row]
    assert len(logged) == 4 and "mfu" not in logged[0]
    for row in logged:
        # A question, its choices and three targets, in bytes.
        assert 100 < row["tokens_per_second"] / row["questions_per_second"] < 1000
        # Two FLOPs, three times, for at most all parameters, and attention.
        assert 0 < row["model_flops_per_second"] / row["tokens_per_second"] < 6 * 2 * 400_000
    assert done.rates and done.rates.tokens_per_second > 0 and done.rates.mfu is None

    # It was saved by the clock too, without validation, at steps that are not the config's.
    assert [row["step"] for row in rows if "validation_accuracy" in row] == [2, 4]
    assert {"3", "4"} <= {path.name for path in (workdir / "checkpoints").iterdir()}

    # The last row, and the last line, tell what was lost.
    lost = rows[-1]["seconds_lost"]
    assert rows[-1]["step"] == 4 and set(lost) == set(LostTime().seconds)
    assert 0 < lost["compilation"] < done.seconds and lost["validation"] > 0 < lost["checkpoints"]
    assert capsys.readouterr().err.strip().splitlines()[-1].startswith("lost  ")

    # The run was too short to skip steps; the trace holds its steps.
    (trace,) = (tmp_path / "profile").glob("plugins/profile/*/*.xplane.pb")
    assert b"train" in trace.read_bytes()

    # Nothing was lost where there was nothing to do.
    loop.train(run, things_corpus, workdir, profile=str(tmp_path / "again"))
    assert not list((tmp_path / "again").iterdir())
    assert len((workdir / "metrics.jsonl").read_text().splitlines()) == len(rows)
