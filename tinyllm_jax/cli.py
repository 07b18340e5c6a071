"""The command line: `tinyllm COMMAND --flags`. Each command is a thin function over the packages.

Flags are absl's and configs are ml_collections files, as JAX programs have them; each command has
its own small set of flags. A command imports what it needs when it runs, so that `--help` and a bad
flag answer at once.
"""

import os
import sys
from collections.abc import Callable, Sequence

from absl import flags

from tinyllm_jax import (
    cli_checkpoints,
    cli_corpus,
    cli_devices,
    cli_flags,
    cli_plan,
    cli_students,
    cli_studies,
    errors,
    storage,
    tasks,
    terminal,
)
from tinyllm_jax.errors import UserError


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
        sys.exit(_fail(str(e)))
    except BrokenPipeError:  # `tinyllm corpus inspect | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as e:
        if not e.filename and e.errno not in storage.FULL:
            raise
        sys.exit(_fail(f"cannot open or write {e.filename or 'a file'}: {e.strerror}; mend that"))
    except KeyboardInterrupt:
        sys.exit(_fail("interrupted", 130))


def _fail(message: str, status: int = 2) -> int:
    line = " ".join(errors.printable(message).split())
    print(f"tinyllm: {line}", file=sys.stderr)
    return status


def _dispatch(argv: list[str]) -> None:
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
    usage = "usage: tinyllm COMMAND --flags      (tinyllm COMMAND --help for its flags)"
    lines = [
        f"  {name:18}{(run.__doc__ or '').splitlines()[0]}" for name, (run, _) in COMMANDS.items()
    ]
    return "\n".join([usage, "", *lines])


def _check_task(task: str) -> None:
    if task not in tasks.TASKS:
        raise errors.unknown("task", task, tasks.TASKS)


# --------------------------------------------------------------------------------------------------
# Teachers.


def _define_teach(values, argv):
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

    _check_task(values.task)
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
        cli_flags.shard(values.shard),
        values.questions,
    )
    if any(result.stopped for result in done.values()) or len(done) < len(chosen):
        print("tinyllm: stopped; the same command goes on from here", file=sys.stderr)
        sys.exit(3)
    if left := sum(result.left for result in done.values()):
        why = job.reasons(done.values())
        sys.exit(_fail(f"rows left: {left:,} ({why}); the same command asks for them again", 4))


# --------------------------------------------------------------------------------------------------
# Training.


def _define_train(values, argv):
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
    print("  ".join(parts))
    if done.step < done.steps:
        sys.exit(3)


# --------------------------------------------------------------------------------------------------
# Evaluation.


def _define_evaluate(values, argv):
    cli_students.define(values)
    flags.DEFINE_integer(
        "max_answer", 64, "tokens of a generated answer", flag_values=values, lower_bound=1
    )
    flags.DEFINE_string(
        "out", "", "with --student: where to write the results; a workdir keeps its own", values
    )
    flags.DEFINE_string("report", "", "an HTML page to write", values)


def evaluate(values) -> None:
    """Scores students by choice likelihood and by the answers that they write, from checkpoints."""
    if values.report:
        storage.require_writable(values.report, "choose another --report")
    cli_devices.prepare(values.distributed, cli_students.shared_directory(values))
    from tinyllm_jax.evaluation import page, report, results, score

    students = cli_students.given(values)
    if values.out and len(students) > 1:
        raise UserError(
            "--out takes the results of one student; leave it out, and each workdir keeps its own"
        )
    cli_students.check_names([given.name for given in students])
    for given in students:
        folder = values.out or (given.workdir and given.workdir / "evaluation")
        if folder:
            file = storage.path(folder) / "results.json"
            storage.require_writable(file, "choose another --out")
    reports = []
    for given in students:
        questions = given.questions(values.split, values.questions)
        result = score.evaluate(
            given.student,
            questions,
            max_answer=values.max_answer,
            batch_size=values.batch_size,
            train_questions=given.questions("train"),
            step=given.step,
        )
        out = values.out
        if not out and given.workdir:
            name = results.directory_name(
                values.split,
                given.corpus.fingerprint,
                len(questions),
                values.max_answer,
                given.step,
            )
            out = given.workdir / "evaluation" / name
        if out and cli_devices.is_first():
            results.write(out, result)
            print(f"wrote {out}")
        reports.append(report.StudentReport(given.name, result, given.metrics, given.about))
    samples = _samples(students, values) if values.report else []
    if not cli_devices.is_first():
        return
    print(report.table(reports))
    if values.report:
        task = reports[0].result.task
        gap = getattr(tasks.TASKS[task], "GAP", "")
        results.write_text(
            values.report, page.html_page(f"TinyLLM on {task}", reports, samples, gap)
        )
        print(f"wrote {values.report}")


def _samples(students: list[cli_students.Given], values) -> list:
    """The split's first questions, with what each student writes as each of its teachers."""
    from tinyllm_jax.evaluation import report
    from tinyllm_jax.student.writing import write

    questions = students[0].questions(values.split, 3)
    rationales: list[dict[str, dict[str, str]]] = [{} for _ in questions]
    for given in students:
        for teacher in given.student.teachers:
            texts = write(given.student, questions, teacher, 128, len(questions))
            for written, text in zip(rationales, texts, strict=True):
                written.setdefault(given.name, {})[teacher] = text
    return [report.Sample(*pair) for pair in zip(questions, rationales, strict=True)]


def _define_predict(values, argv):
    cli_students.define(values)
    flags.DEFINE_string(
        "target",
        "answer",
        "what to write: answer, or a teacher whose rationales it learned",
        values,
    )
    flags.DEFINE_integer("max_tokens", 128, "tokens of a text", flag_values=values, lower_bound=1)
    flags.DEFINE_string("out", "", "the JSONL file to write", values)
    return ("out",)


def predict(values) -> None:
    """Has a student write answers, or rationales as one of its teachers would, as JSON lines."""
    storage.require_writable(values.out, "choose another --out")
    cli_devices.prepare(values.distributed, cli_students.shared_directory(values))
    from tinyllm_jax.evaluation import results
    from tinyllm_jax.student.writing import write

    students = cli_students.given(values)
    if len(students) > 1:
        raise UserError("predict takes one --workdir; run it once for each")
    (given,) = students
    questions = given.questions(values.split, values.questions)
    texts = write(given.student, questions, values.target, values.max_tokens, values.batch_size)
    if not cli_devices.is_first():
        return
    ids = [question.id for question in questions]
    results.write_texts(values.out, values.target, list(zip(ids, texts, strict=True)))
    print(f"wrote {values.out}  {len(texts):,} {values.split} questions")


def _define_demo(values, argv):
    cli_students.define_students(values)
    flags.DEFINE_integer(
        "port", 7860, "where it listens, on 127.0.0.1", 1, 65535, flag_values=values
    )


def demo(values) -> None:
    """Shows a page on this machine, on which typed questions are put to students."""
    cli_devices.prepare()
    from tinyllm_jax.demo import page

    page.load_gradio()  # before the students, which take a while
    page.serve(cli_students.students(values), values.port)


# --------------------------------------------------------------------------------------------------
# Export.


def _define_export(values, argv):
    flags.DEFINE_string("workdir", "", "the workdir of a run", values)
    flags.DEFINE_string(
        "step", "best", "the checkpoint: best (on validation), last, or a step", values
    )
    flags.DEFINE_string("out", "", "the directory to write, new or empty", values)
    flags.DEFINE_bool("adapter", False, "write the LoRA updates alone, for PEFT", values)
    flags.DEFINE_string(
        "push",
        "",
        "USER/NAME: upload it to the Hugging Face hub too, where a new model is public",
        values,
    )
    return "workdir", "out"


def export(values) -> None:
    """Writes a student as Hugging Face's libraries load it, with a card; --push uploads it."""
    cli_devices.prepare()
    from tinyllm_jax.publishing import export, hub

    if values.push:
        hub.check(values.push)
    step = export.export(
        storage.path(values.workdir), values.out, values.step, values.adapter, values.push
    )
    print(f"wrote {values.out}  step {step:,}")
    if values.push:
        print(f"uploaded to {hub.push(values.out, values.push)}")


COMMANDS: dict[str, tuple[Callable, Callable]] = {
    "corpus import": (cli_corpus.corpus_import, cli_corpus.define_import),
    "corpus build": (cli_corpus.corpus_build, cli_corpus.define_build),
    "corpus select": (cli_corpus.corpus_select, cli_corpus.define_select),
    "corpus inspect": (cli_corpus.corpus_inspect, cli_corpus.define_inspect),
    "corpus verify": (cli_corpus.corpus_verify, cli_corpus.define_verify),
    "corpus export": (cli_corpus.corpus_export, cli_corpus.define_export),
    "teach": (teach, _define_teach),
    "train": (train, _define_train),
    "plan": (cli_plan.plan, cli_plan.define_plan),
    "evaluate": (evaluate, _define_evaluate),
    "predict": (predict, _define_predict),
    "demo": (demo, _define_demo),
    "checkpoint list": (cli_checkpoints.checkpoint_list, cli_checkpoints.define),
    "checkpoint verify": (cli_checkpoints.checkpoint_verify, cli_checkpoints.define),
    "study": (cli_studies.study, cli_studies.define_study),
    "export": (export, _define_export),
}
