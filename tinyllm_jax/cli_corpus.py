"""The `tinyllm corpus` commands: import, build, select, inspect, verify, export."""

import sys

from absl import flags
from etils import epath

from tinyllm_jax import cli_devices, cli_flags, storage, tasks
from tinyllm_jax.errors import UserError


def define_import(values, argv):
    """The flags of `corpus_import`."""
    flags.DEFINE_string(
        "released", "", "the directory of the authors' files: DIR/TASK/TASK_train.json, ...", values
    )
    flags.DEFINE_string("task", "", "the task", values)
    flags.DEFINE_string("out", "", "the corpus to write", values)
    return "released", "task", "out"


def corpus_import(values) -> None:
    """Reads the corpora that the TinyLLM authors released, reports every flaw, writes a corpus."""
    from tinyllm_jax.corpus.importing.released import import_released
    from tinyllm_jax.corpus.showing.report import format_report

    tasks.check_task(values.task)
    manifest = import_released(values.released, values.task, values.out)
    print(format_report(manifest.report))
    print(f"wrote {values.out}")


def define_build(values, argv):
    """The flags of `corpus_build`."""
    from tinyllm_jax.corpus.joining import policy

    flags.DEFINE_string("task", "", "the task", values)
    flags.DEFINE_string(
        "source",
        "",
        "where the questions come from: hf, hf:NAME_OR_DIR, tfds, released:DIR, jsonl:PATH; "
        "things: train=N,things=N,seed=N",
        values,
    )
    flags.DEFINE_integer(
        "questions",
        0,
        "the first n questions of each split; 0: all",
        flag_values=values,
        lower_bound=0,
    )
    flags.DEFINE_multi_string(
        "log", [], "a log of `tinyllm teach`, or a directory of them; may be given again", values
    )
    flags.DEFINE_multi_string(
        "corpus", [], "a finished corpus whose columns to put beside; may be given again", values
    )
    flags.DEFINE_multi_string(
        "rationales",
        [],
        "NAME=FILE, rationales of any origin and the name of their column; FILE is a JSON list, "
        "JSON lines or Parquet, a directory of them, or a Hugging Face dataset user/name[:split]; "
        "may be given again",
        values,
    )
    flags.DEFINE_enum(
        "policy",
        policy.KEEP_ALL,
        policy.POLICIES,
        "how flaws become weights: keep-all (as in the paper), "
        "clean, or clean+truncate, which first cuts to the last full sentence",
        flag_values=values,
    )
    flags.DEFINE_string("out", "", "the corpus to write", values)
    flags.DEFINE_bool(
        "overwrite", False, "replace a corpus of the task at --out, such as a partial one", values
    )
    flags.DEFINE_string("report", "", "an HTML page to write", values)
    return "task", "out"


def corpus_build(values) -> None:
    """Joins logs, files of rationales and other corpora with their questions; writes a corpus."""
    from tinyllm_jax.corpus.joining.build import build
    from tinyllm_jax.corpus.showing import page
    from tinyllm_jax.corpus.showing.report import format_report

    if not (values.log or values.corpus or values.rationales):
        raise UserError(
            "--log, --rationales or --corpus is needed; see tinyllm corpus build --help"
        )
    rationales = _rationale_files(values.rationales)
    logs: list[epath.Path] = []
    for path in values.log:
        logs += _logs(storage.path(path))
    questions = {}
    for split, part in tasks.load(values.task, values.source).items():
        questions[split] = part[: values.questions or None]
    manifest = build(
        values.task,
        questions,
        logs,
        values.out,
        values.corpus,
        values.policy,
        rationales,
        values.overwrite,
    )
    print(format_report(manifest.report))
    print(f"wrote {values.out}")
    if values.report:
        page.write_page(values.out, values.report)
        print(f"wrote {values.report}")


def _logs(path: epath.Path) -> list[epath.Path]:
    """The log at a path, or all logs in it where it is a directory."""
    found = [path]
    if path.is_dir():
        found = sorted(log for log in path.iterdir() if log.suffix == ".tfrecord")
    if not found or not found[0].exists():
        raise UserError(f"{path} holds no log (*.tfrecord); run tinyllm teach --out {path} first")
    return found


def _rationale_files(given: list[str]) -> dict[str, str]:
    """The files of --rationales by the names of their columns."""
    files: dict[str, str] = {}
    for value in given:
        name, _, file = value.partition("=")
        if not name or not file:
            raise UserError(
                f"--rationales '{value}': write NAME=FILE, e.g. --rationales gpt-4o=gpt-4o.jsonl"
            )
        if name in files:
            raise UserError(
                f"--rationales names '{name}' twice: {files[name]} and {file}; leave one out, or "
                f"give them different names"
            )
        files[name] = file
    return files


def define_inspect(values, argv):
    """The flags of `corpus_inspect`."""
    flags.DEFINE_string("corpus", "", "the corpus", values)
    flags.DEFINE_bool("json", False, "print JSON", values)
    flags.DEFINE_integer(
        "sample", 2, "questions to show of each split", flag_values=values, lower_bound=0
    )
    flags.DEFINE_string("report", "", "an HTML page to write", values)
    return ("corpus",)


def corpus_inspect(values) -> None:
    """Prints a sample of a corpus and its statistics."""
    from tinyllm_jax.corpus.showing import page
    from tinyllm_jax.corpus.showing.inspect import inspect

    print(inspect(values.corpus, values.json, values.sample))
    if values.report:
        page.write_page(values.corpus, values.report)
        print(f"wrote {values.report}", file=sys.stderr if values.json else sys.stdout)


def define_select(values, argv):
    """The flags of `corpus_select`."""
    flags.DEFINE_string("corpus", "", "the corpus; it stays as it is", values)
    flags.DEFINE_string(
        "policy", "", "helpful, selected, soft or router (by readers), clean or votes", values
    )
    cli_flags.define_config(
        values,
        argv,
        "how the readers are trained: the config file of a student and its overrides; "
        "they learn answers alone, whatever it says of teachers",
    )
    flags.DEFINE_string(
        "workdir", "", "where the readers are kept; the same one goes on where it stopped", values
    )
    flags.DEFINE_float(
        "threshold",
        -0.5,
        "of helpful, in nats, below 0: what is below it harms",
        flag_values=values,
    )
    flags.DEFINE_string("out", "", "the corpus to write", values)
    return "corpus", "policy", "out"


def corpus_select(values) -> None:
    """Weighs a corpus's rationales by a policy, and writes the corpus with these weights."""
    cli_devices.prepare()
    from tinyllm_jax.corpus.store import Corpus
    from tinyllm_jax.selection import select
    from tinyllm_jax.training.recipes import run_of

    manifest = select.select(
        Corpus(values.corpus),
        values.policy,
        values.out,
        run_of(values.config) if values.config else None,
        storage.path(values.workdir) if values.workdir else None,
        values.threshold,
    )
    print(*select.lines(manifest.report["selection"]), sep="\n")
    print(f"wrote {values.out}")


def define_verify(values, argv):
    """The flags of `corpus_verify`."""
    flags.DEFINE_string("corpus", "", "the corpus", values)
    return ("corpus",)


def corpus_verify(values) -> None:
    """Checks every byte of a corpus; names the first damaged shard and exits with 2."""
    from tinyllm_jax.corpus.verify import verify

    manifest = verify(values.corpus)
    shards = sum(map(len, manifest.splits.values()))
    print(f"{values.corpus} is whole: {shards} shard(s), fingerprint {manifest.fingerprint[:16]}")


def define_export(values, argv):
    """The flags of `corpus_export`."""
    flags.DEFINE_string("corpus", "", "the corpus", values)
    flags.DEFINE_string("out", "", "the directory to write, new or empty", values)
    return "corpus", "out"


def corpus_export(values) -> None:
    """Writes a corpus as Parquet with a card, as `datasets` and the Hugging Face hub read it."""
    from tinyllm_jax.corpus.exporting.parquet import export

    written = export(values.corpus, values.out)
    counts = ", ".join(f"{split} {rows:,}" for split, rows in written.items())
    print(f"wrote {values.out}  {counts} rows")
