"""The command line: `tinyllm COMMAND --flags`. Each command is a thin function over the packages.

Flags are absl's and configs are ml_collections files, as JAX programs have them; each command has
its own small set of flags. A command imports what it needs when it runs, so that `--help` and a bad
flag answer at once.
"""

import os
import sys
from collections.abc import Callable, Sequence

from tinyllm_jax import (
    cli_checkpoint,
    cli_corpus,
    cli_demo,
    cli_evaluate,
    cli_export,
    cli_flags,
    cli_plan,
    cli_predict,
    cli_study,
    cli_teach,
    cli_train,
    errors,
    storage,
)
from tinyllm_jax.errors import UserError

INTERRUPTED, BROKEN_PIPE = 130, 141  # exit statuses, as a shell has them

# Each command: its function, and the one that defines its flags. `tinyllm X` is in cli_X.py.
COMMANDS: dict[str, tuple[Callable, Callable]] = {
    "corpus import": (cli_corpus.corpus_import, cli_corpus.define_import),
    "corpus build": (cli_corpus.corpus_build, cli_corpus.define_build),
    "corpus select": (cli_corpus.corpus_select, cli_corpus.define_select),
    "corpus inspect": (cli_corpus.corpus_inspect, cli_corpus.define_inspect),
    "corpus verify": (cli_corpus.corpus_verify, cli_corpus.define_verify),
    "corpus export": (cli_corpus.corpus_export, cli_corpus.define_export),
    "teach": (cli_teach.teach, cli_teach.define_teach),
    "train": (cli_train.train, cli_train.define_train),
    "plan": (cli_plan.plan, cli_plan.define_plan),
    "evaluate": (cli_evaluate.evaluate, cli_evaluate.define_evaluate),
    "predict": (cli_predict.predict, cli_predict.define_predict),
    "demo": (cli_demo.demo, cli_demo.define_demo),
    "checkpoint list": (cli_checkpoint.checkpoint_list, cli_checkpoint.define),
    "checkpoint verify": (cli_checkpoint.checkpoint_verify, cli_checkpoint.define),
    "study": (cli_study.study, cli_study.define_study),
    "export": (cli_export.export, cli_export.define_export),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs one command and exits.

    The status is 0 when it did its work, 2 with one line on standard error for bad input, 3 when
    it was stopped and the same command goes on, and 4 when `teach` went through all questions and
    rows are left, which the same command tries again.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        _dispatch(argv)
    except UserError as e:
        errors.tell(str(e))
        sys.exit(cli_flags.BAD_INPUT)
    except BrokenPipeError:  # `tinyllm corpus inspect | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(BROKEN_PIPE)
    except OSError as e:
        if not e.filename and e.errno not in storage.FULL:
            raise
        errors.tell(f"cannot open or write {e.filename or 'a file'}: {e.strerror}; mend that")
        sys.exit(cli_flags.BAD_INPUT)
    except KeyboardInterrupt:
        errors.tell("interrupted")
        sys.exit(INTERRUPTED)


def _dispatch(argv: list[str]) -> None:
    """Runs the command that the arguments name, or prints what they ask for."""
    if not argv or argv[0] in ("--help", "-h", "help"):
        print(_overview())
        return
    if argv[0] == "--version":
        from tinyllm_jax import __version__

        print(__version__)
        return
    group = argv[0] if argv[0] in ("corpus", "checkpoint") else ""
    words = 2 if group else 1
    name = " ".join(argv[:words])
    if group and name in (group, f"{group} --help", f"{group} -h"):
        print("\n".join(line for line in _overview().splitlines() if line.startswith(f"  {group}")))
        return
    if name not in COMMANDS:
        raise errors.unknown("command", name, COMMANDS)
    run, define = COMMANDS[name]
    values = cli_flags.parse(f"tinyllm {name}", argv[words:], run, define)
    if values is not None:
        run(values)


def _overview() -> str:
    """All commands, each with the first line of its docstring."""
    usage = "usage: tinyllm COMMAND --flags      (tinyllm COMMAND --help for its flags)"
    lines = [
        f"  {name:18}{(run.__doc__ or '').splitlines()[0]}" for name, (run, _) in COMMANDS.items()
    ]
    return "\n".join([usage, "", *lines])
