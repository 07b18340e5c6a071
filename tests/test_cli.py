"""The command line: help, one line for every kind of bad input, from teach to predict."""

import json
import pathlib
import shutil
import subprocess
import sys

import pytest
from etils import epath

from tinyllm_jax import cli, cli_students
from tinyllm_jax.corpus.store import Corpus, write_corpus

pytestmark = pytest.mark.usefixtures("quick_compilation")
REPO = pathlib.Path(__file__).resolve().parents[1]
DEBUG = [
    "--config",
    str(REPO / "configs/quickstart.py"),
    "--config.steps=4",
    "--config.batch_size=8",
    "--config.checkpoint.every=2",
    "--config.validation.questions=8",
]


def fails(capsys, *argv: str) -> str:
    """The one line that a command with bad input prints; it exits with 2."""
    with pytest.raises(SystemExit) as e:
        cli.main([str(a) for a in argv])
    lines = [
        line
        for line in capsys.readouterr().err.strip().splitlines()
        if line.startswith("tinyllm: ")
    ]
    assert e.value.code == 2 and len(lines) == 1, lines
    return lines[0]


def test_help_of_every_command_is_short(capsys):
    cli.main(["--help"])
    overview = capsys.readouterr().out
    for name in cli.COMMANDS:
        assert f"  {name} " in overview
        cli.main([*name.split(), "--help"])
        text = capsys.readouterr().out
        assert text.startswith(f"usage: tinyllm {name} --flags") and len(text.splitlines()) < 20


@pytest.mark.parametrize("module", ["tinyllm_jax", "tinyllm_jax.cli"])
def test_import_needs_no_torch_tensorflow_or_jax(module):
    code = (
        f"import sys, {module}; heavy = ('torch', 'tensorflow', 'vllm', 'jax', 'transformers'); "
        "print([m for m in heavy if m in sys.modules])"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, cwd=REPO
        ).stdout.strip()
        == "[]"
    )


def test_python_m_and_exit_status():
    run = lambda *a: subprocess.run(
        [sys.executable, "-m", "tinyllm_jax", *a], capture_output=True, text=True, cwd=REPO
    )
    assert run("--version").returncode == 0
    bad = run("trian")
    assert bad.returncode == 2 and bad.stdout == ""
    assert bad.stderr.strip().startswith("tinyllm: unknown command 'trian'; did you mean 'train'?")


@pytest.mark.parametrize(
    "argv, words",
    [
        (["corpus", "imprt"], "did you mean 'corpus import'"),
        (["corpus", "verify"], "--corpus is needed"),
        (["corpus", "verify", "--corpus", "/nowhere"], "/nowhere"),
        (["corpus", "inspect", "--corpsu", "x"], "corpsu"),
        (
            [
                "corpus",
                "import",
                "--released",
                "/nowhere",
                "--task",
                "obqa",
                "--out",
                "/nowhere/out",
            ],
            "/nowhere",
        ),
        (
            ["corpus", "import", "--released", ".", "--task", "obaq", "--out", "/nowhere/out"],
            "did you mean 'obqa'",
        ),
        (
            ["corpus", "build", "--task", "things", "--log", "/nowhere", "--out", "/nowhere/out"],
            "/nowhere",
        ),
        (
            [
                "teach",
                "--task",
                "things",
                "--source",
                "trian=4",
                "--teachers",
                "shape",
                "--out",
                "/nowhere",
            ],
            "did you mean 'train'",
        ),
        (
            ["teach", "--task", "things", "--teachers", "shapez", "--out", "/nowhere/x"],
            "did you mean 'shape'",
        ),
        (
            ["teach", "--task", "things", "--shard", "1", "--out", "/nowhere/x"],
            "--shard is '1'; write i/n",
        ),
        (
            ["teach", "--task", "things", "--shard", "2/2", "--out", "/nowhere/x"],
            "2 shards are 0/2 to 1/2",
        ),
        (
            ["teach", "--config", "configs/nothing.py", "--task", "things", "--out", "/nowhere/x"],
            "nothing.py",
        ),
        (
            [
                "teach",
                "--config",
                f"{REPO}/configs/tinyllm.py",
                "--task",
                "things",
                "--out",
                "/nowhere/x",
            ],
            "--config names no teachers",
        ),
        (
            [
                "teach",
                "--config",
                f"{REPO}/configs/teachers.py",
                "--config.teachers.qwen.max_tokns=3",
                "--task",
                "obqa",
                "--out",
                "/nowhere/x",
            ],
            "did you mean 'max_tokens'",
        ),
        (
            [
                "teach",
                "--config",
                f"{REPO}/configs/teachers_cpu.py:models=/nowhere",
                "--teachers",
                "smollm2",
                "--task",
                "things",
                "--out",
                "/nowhere/x",
            ],
            "there is no directory /nowhere/smollm2-135m",
        ),
        (["train", "--corpus", "x", "--workdir", "y"], "--config is needed"),
        (
            ["train", "--config", "configs/nothing.py", "--corpus", "x", "--workdir", "y"],
            "nothing.py",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py:recipe=papre",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "did you mean 'paper'",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py:taks=arc",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "did you mean 'task'",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py:task=obaq",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "did you mean 'obqa'",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py",
                "--config.optimizer.learning_rat=1",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "learning_rate",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/tinyllm.py",
                "--config.batch_size=many",
                "--corpus",
                "x",
                "--workdir",
                "y",
            ],
            "batch_size",
        ),
        (
            [
                "train",
                "--config",
                f"{REPO}/configs/quickstart.py",
                "--corpus",
                "/nowhere",
                "--workdir",
                "/nowhere/y",
            ],
            "/nowhere",
        ),
        (["evaluate"], "give either --workdir"),
        (["evaluate", "--workdir", "/nowhere"], "is not the workdir of a run"),
        (["evaluate", "--student", "x"], "--student needs --task and --corpus"),
        (["evaluate", "--workdir", "x", "--split", "tset"], "split"),
        (["train", "spare"], "unexpected argument 'spare'"),
    ],
)
def test_bad_input_is_one_line(capsys, argv, words):
    assert words in fails(capsys, *argv)


def test_teach_takes_a_config_file_and_its_fields(tmp_path, capsys):
    (tmp_path / "teachers.py").write_text(
        "import ml_collections\nfrom tinyllm_jax.teachers.config import teacher\n"
        "def get_config(arg=''):\n    return ml_collections.ConfigDict({'teachers': {"
        "'one-two': teacher(engine='scripted', model='shape', shots=0), "
        "'other': teacher(engine='scripted', model='material', shots=0)}})\n"
    )
    argv = [
        "teach",
        "--config",
        str(tmp_path / "teachers.py"),
        "--task",
        "things",
        "--source",
        "train=9,validation=1,test=1",
        "--out",
        str(tmp_path / "logs"),
    ]
    cli.main(
        [
            *argv,
            "--teachers",
            "one-two",
            '--config.teachers["one-two"].mode=unforced',
            "--questions",
            "4",
        ]
    )
    cli.main([*argv, "--shard", "1/2"])
    assert "one-two: 0 rows done before, 4 written now" in capsys.readouterr().out
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "logs").iterdir()) == [
        "one",
        "one",
        "other",
    ]


@pytest.fixture(scope="module")
def workdir(things_corpus, tmp_path_factory) -> pathlib.Path:
    """A run of four steps."""
    directory = tmp_path_factory.mktemp("cli") / "run"
    cli.main(["train", *DEBUG, "--corpus", str(things_corpus), "--workdir", str(directory)])
    return directory


def test_evaluate_writes_results_and_a_page(workdir, capsys, tmp_path):
    cli.main(
        [
            "evaluate",
            "--workdir",
            f"tiny student={workdir}",
            "--report",
            str(tmp_path / "page.html"),
        ]
    )
    printed = capsys.readouterr().out
    assert (
        "tiny student" in printed
        and "chance" in printed
        and "picking at random gives 25.0 %" in printed
    )
    (folder,) = (workdir / "evaluation").glob("validation-*-24questions-64tokens-*")
    found = json.loads((folder / "results.json").read_text())
    assert found["n"] == 24 and found["split"] == "validation" and found["task"] == "things"
    predictions = [
        json.loads(line) for line in (folder / "predictions.jsonl").read_text().splitlines()
    ]
    right = sum(p["likelihood"] == p["gold"] for p in predictions)
    assert found["metrics"]["likelihood"]["correct"] == right
    assert "tiny student" in (tmp_path / "page.html").read_text()


def test_evaluate_takes_test_only_when_asked_and_another_step(workdir):
    cli.main(
        [
            "evaluate",
            "--workdir",
            str(workdir),
            "--split",
            "test",
            "--step",
            "2",
            "--questions",
            "5",
        ]
    )
    (folder,) = (workdir / "evaluation").glob("test-*-5questions-64tokens-2")
    assert json.loads((folder / "results.json").read_text())["n"] == 5


def test_an_evaluation_overwrites_no_other(workdir, things_corpus, tmp_path, capsys):
    # The run's own corpus without one question.
    corpus = Corpus(things_corpus)
    rows = {split: corpus.rows(split)[1:] for split in ("train", "validation", "test")}
    write_corpus(tmp_path / "other", "things", corpus.teachers, rows, {}, "a test")

    written = []
    for questions, others in ((2, []), (2, []), (1, []), (2, ["--corpus", tmp_path / "other"])):
        argv = ["evaluate", "--workdir", workdir, "--questions", questions, "--max_answer", 2]
        cli.main([str(arg) for arg in (*argv, *others)])
        printed = capsys.readouterr()
        written.append(printed.out.splitlines()[0])
        assert "no longer the corpus" not in printed.err
    assert written[0] == written[1] and len(set(written)) == 3
    assert "the results of one student" in fails(
        capsys, "evaluate", f"--workdir=a={workdir}", f"--workdir=b={workdir}", "--out=x"
    )


def test_a_corpus_that_is_no_longer_the_runs_is_told(workdir, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(workdir, run)
    fixed = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(fixed | {"corpus": "0123456789"}))
    cli.main(["evaluate", "--workdir", str(run), "--questions", "2", "--max_answer", "4"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "no longer" in line]
    assert "its fingerprint was 01234567, is " in line


def test_predict_writes_answers_and_rationales(workdir, tmp_path):
    for target in ("answer", "material"):
        out = tmp_path / f"{target}.jsonl"
        cli.main(
            [
                "predict",
                "--workdir",
                str(workdir),
                "--target",
                target,
                "--questions",
                "3",
                "--out",
                str(out),
                "--max_tokens",
                "8",
            ]
        )
        rows = [json.loads(line) for line in out.read_text().splitlines()]
        assert len(rows) == 3 and all(
            row["target"] == target and isinstance(row["text"], str) for row in rows
        )


def test_bad_input_to_a_workdir_is_one_line(workdir, capsys, tmp_path):
    assert "did you mean 'shape'" in fails(
        capsys, "predict", "--workdir", workdir, "--target", "shapez", "--out", tmp_path / "x"
    )
    assert "has no checkpoint of step 3" in fails(
        capsys, "evaluate", "--workdir", workdir, "--step", "3"
    )
    assert "best, last or a step" in fails(
        capsys, "evaluate", "--workdir", workdir, "--step", "first"
    )
    assert "choose another --out" in fails(
        capsys,
        "predict",
        "--workdir",
        workdir,
        "--questions",
        "1",
        "--max_tokens",
        "2",
        "--out",
        workdir / "config.json" / "x",
    )


def test_what_cannot_be_done_at_the_end_is_known_before_any_work(
    workdir, capsys, tmp_path, monkeypatch
):
    from tinyllm_jax.evaluation import score

    monkeypatch.setattr(score, "evaluate", lambda *_, **__: 1 / 0)
    same = ["--workdir", workdir, "--workdir", workdir]
    assert "two students are called 'run'; name them" in fails(capsys, "evaluate", *same)
    page = workdir / "config.json" / "page.html"
    assert "choose another --report" in fails(
        capsys, "evaluate", "--workdir", workdir, "--report", page
    )
    assert "choose another --out" in fails(
        capsys, "evaluate", "--workdir", workdir, "--out", workdir / "config.json"
    )


def test_a_path_may_hold_an_equals_sign_and_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    named = {
        "runs/lr=3": ("", "runs/lr=3"),
        "mine=runs/lr=3": ("mine", "runs/lr=3"),
        "lr=1": ("", "lr=1"),
        "mine=~/run": ("mine", "/home/someone/run"),
    }
    for text, (name, path) in named.items():
        assert cli_students._named(text) == (name, epath.Path(path))


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(28, "No space left on device"), "cannot open or write a file: No space left"),
        (PermissionError(13, "Permission denied", "/x/y"), "cannot open or write /x/y: Permission"),
    ],
)
def test_an_error_of_the_system_is_one_line(capsys, monkeypatch, error, words):
    def refuse(values):
        raise error

    _, define = cli.COMMANDS["corpus verify"]
    monkeypatch.setitem(cli.COMMANDS, "corpus verify", (refuse, define))
    assert words in fails(capsys, "corpus", "verify", "--corpus", "x")


def test_teach_exits_with_4_when_rows_are_left(tmp_path, capsys, monkeypatch):
    from tinyllm_jax.teachers import engine, scripted

    def generate(self, requests, stop):
        for index, request in enumerate(requests):
            text = "" if index == 0 else "It is a ring."
            yield engine.Result(request, text, "length" if index == 0 else "stop")

    argv = [
        "teach",
        "--task",
        "things",
        "--source",
        "train=3,validation=1,test=1",
        "--teachers",
        "shape",
    ]
    argv += ["--out", str(tmp_path)]
    with monkeypatch.context() as mocked, pytest.raises(SystemExit) as left:
        mocked.setattr(scripted.ScriptedEngine, "generate", generate)
        cli.main(argv)
    line = "rows left: 1 (1 × no text within max_tokens; raise max_tokens); the same command"
    assert left.value.code == 4 and line in capsys.readouterr().err
    cli.main(argv)
    assert "2 rows done before, 1 written now, 0 left" in capsys.readouterr().out


def test_what_a_run_held_out_is_its_validation(things_corpus):
    corpus = Corpus(things_corpus)
    given = cli_students.Given("it", None, corpus, held_out=0.25)
    whole = cli_students.Given("it", None, corpus)
    train, held_out = given.questions("train"), given.questions("validation")
    assert held_out and not {*train} & {*held_out}
    assert {*train, *held_out} == {*whole.questions("train")}
    assert given.questions("test") == whole.questions("test")
    assert given.questions("validation", 2) == held_out[:2]
