"""The command `tinyllm study`."""

from __future__ import annotations

import dataclasses
import sys
from typing import TYPE_CHECKING

from absl import flags

from tinyllm_jax import cli_devices, cli_flags, shards, storage, terminal
from tinyllm_jax.errors import UserError

if TYPE_CHECKING:
    from etils import epath

    from tinyllm_jax.studies.runner import Done
    from tinyllm_jax.studies.study import Study

FAILED_CELLS = 2  # the exit status


def define_study(values, argv):
    """The flags of `study`."""
    cli_flags.define_config(values, argv, "a study's file, e.g. configs/studies/things.py")
    flags.DEFINE_string(
        "shard", "0/1", "i/n: this machine's share of the cells, counted from 0", values
    )
    flags.DEFINE_integer(
        "ray",
        0,
        "run the study in this many shards on a Ray cluster, or on this machine",
        lower_bound=0,
        flag_values=values,
    )
    flags.DEFINE_bool("only_report", False, "train nothing: write the report anew", values)
    flags.DEFINE_string(
        "out", "", "where everything is kept; a stopped study goes on there", values
    )
    return "config", "out"


def study(values) -> None:
    """Trains and tests every method of a study, each cell once, and writes its report."""
    from tinyllm_jax.studies.study import study_of

    plan = study_of(values.config)
    shard = shards.parse(values.shard)
    if values.ray and (shard != (0, 1) or values.only_report):
        raise UserError("--ray runs all shards: leave --shard and --only_report out")
    terminal.survive_its_end()
    storage.require_writable(storage.path(values.out) / "report.md", "choose another --out")
    if not values.ray:  # else the devices are the shards'
        cli_devices.prepare()
    from tinyllm_jax.evaluation import results
    from tinyllm_jax.studies import page, report, runner

    out = storage.path(values.out)
    if values.ray:
        done = _study_on_ray(values, plan, out)
    else:
        done = runner.read(plan, out) if values.only_report else runner.run(plan, out, shard)
    if done.tested:
        title = f"Study of {', '.join(plan.corpora)}"
        text = report.markdown(title, plan, done)
        results.write_text(out / "report.md", text)
        results.write_text(out / "report.html", page.html_page(title, plan, done))
        print(text)
        print(f"wrote {out / 'report.md'} and report.html")
    elif values.only_report:
        raise UserError(f"{out} holds no tested cell; run the study without --only_report first")
    if done.stopped:
        sys.exit(cli_flags.STOPPED)
    if done.failed:
        raise UserError(f"{len(done.failed)} cells failed; the same command tries them again")


def _study_on_ray(values, plan: Study, out: epath.Path) -> Done:
    """Runs the study's shards on Ray, each by this command, and reads what they did."""
    from tinyllm_jax.studies import cluster, runner

    overrides = values["config"].override_values
    codes = cluster.run(
        [
            f"--config={values['config'].config_filename}",
            *(f"--config.{name}={value}" for name, value in overrides.items()),
            f"--out={values.out}",
        ],
        values.ray,
    )
    for index, code in enumerate(codes):
        if code not in (0, FAILED_CELLS, cli_flags.STOPPED):
            raise UserError(
                f"shard {index} of {values.ray} ended with status {code}; its output says why"
            )
    stopped = cli_flags.STOPPED in codes
    return dataclasses.replace(runner.read(plan, out), stopped=stopped)
