"""The command `tinyllm teach`."""

import sys

from absl import flags

from tinyllm_jax import cli_flags, errors, shards, tasks
from tinyllm_jax.errors import UserError

ROWS_LEFT = 4  # the exit status


def define_teach(values, argv):
    """The flags of `teach`."""
    cli_flags.define_config(
        values,
        argv,
        "a file of teachers, e.g. configs/teachers.py; override a field by "
        "--config.teachers.NAME.max_tokens=100; without one: the scripted teachers of things",
    )
    flags.DEFINE_string("task", "", "the task", values)
    flags.DEFINE_string("source", "", "where the questions come from, as in corpus build", values)
    flags.DEFINE_list(
        "teachers",
        [],
        "the teachers' names, separated by commas; all of the file when not given",
        values,
    )
    flags.DEFINE_list("splits", ["train"], "the splits to write rationales for", values)
    flags.DEFINE_integer(
        "questions",
        0,
        "the first n questions of each split; 0: all",
        flag_values=values,
        lower_bound=0,
    )
    flags.DEFINE_integer(
        "seed", 0, "the seed of the in-context examples and of sampling", flag_values=values
    )
    flags.DEFINE_string(
        "shard", "0/1", "i/n: every n-th question from the i-th on, counted from 0", values
    )
    flags.DEFINE_string(
        "out", "", "the directory of the logs; an interrupted job goes on there", values
    )
    return "task", "out"


def teach(values) -> None:
    """Has teachers write rationales into append-only logs; goes on where it was stopped."""
    from tinyllm_jax.teachers import config, job

    tasks.check_task(values.task)
    if values.config and "teachers" not in values.config:
        raise UserError("--config names no teachers; give a file like configs/teachers.py")
    known = dict(values.config.teachers) if values.config else config.scripted()
    for name in values.teachers:
        if name not in known:
            raise errors.unknown("teacher", name, known)
    chosen = {name: known[name] for name in values.teachers or known}
    done = job.teach(
        values.task,
        values.source,
        chosen,
        values.out,
        tuple(values.splits),
        values.seed,
        shards.parse(values.shard),
        values.questions,
    )
    if any(result.stopped for result in done.values()) or len(done) < len(chosen):
        errors.tell("stopped; the same command goes on from here")
        sys.exit(cli_flags.STOPPED)
    if left := sum(result.left for result in done.values()):
        why = job.reasons(done.values())
        errors.tell(f"rows left: {left:,} ({why}); the same command asks for them again")
        sys.exit(ROWS_LEFT)
