"""The command `tinyllm train`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from absl import flags

from tinyllm_jax import cli_devices, cli_flags, storage, terminal

if TYPE_CHECKING:
    from tinyllm_jax.training.loop import Summary


def define_train(values, argv):
    """The flags of `train`."""
    cli_flags.define_config(
        values,
        argv,
        "a config file with its argument, e.g. configs/tinyllm.py:task=obqa; override a field by "
        "--config.optimizer.learning_rate=1e-4",
    )
    flags.DEFINE_string("corpus", "", "the corpus to learn from", values)
    flags.DEFINE_string(
        "workdir",
        "",
        "where the run keeps everything; the same one goes on with a stopped run",
        values,
    )
    cli_flags.define_distributed(values)
    flags.DEFINE_bool(
        "allow_changed",
        False,
        "go on though the corpus, tokenizer, objective or student changed",
        values,
    )
    flags.DEFINE_string(
        "profile", "", "a local directory for a profile of steps 10 to 15, for TensorBoard", values
    )
    flags.DEFINE_list(
        "report_to",
        ["tensorboard"],
        "where curves are shown beside metrics.jsonl: tensorboard,wandb,trackio, or none",
        values,
    )
    return "config", "corpus", "workdir"


def train(values) -> None:
    """Trains a student on a corpus, or goes on with a run that was stopped."""
    from tinyllm_jax.training.recipes import run_of

    run = run_of(values.config)
    terminal.survive_its_end()
    cli_devices.prepare(values.distributed, storage.path(values.workdir))
    from tinyllm_jax.training import loop

    done = loop.train(
        run,
        values.corpus,
        values.workdir,
        values.allow_changed,
        values.profile,
        values.report_to,
    )
    print(_summary(done))
    if done.step < done.steps:
        sys.exit(cli_flags.STOPPED)


def _summary(done: Summary) -> str:
    """What a run did, in a line."""
    parts = [f"step {done.step:,} of {done.steps:,}", f"{done.seconds:,.1f} s in steps"]
    if done.rates is not None:
        parts.append(f"{done.rates.questions_per_second:,.1f} questions/s")
        parts.append(f"{done.rates.tokens_per_second:,.0f} tokens/s")
        if done.rates.mfu is not None:
            parts.append(f"MFU {100 * done.rates.mfu:.1f} %")
    parts.append(f"{done.compiled} shapes compiled")
    parts.append(f"useful tokens {100 * done.useful['both']:.0f} %")
    if done.best_accuracy is not None:
        best = f"best validation accuracy {100 * done.best_accuracy:.1f} %"
        parts.append(f"{best} at step {done.best_step:,}")
    return "  ".join(parts)
