"""`tinyllm corpus build` and `inspect`: logs, other corpora, policies and the page."""

import json

import pytest
from command_lines import fails

from tinyllm_jax import cli, tasks
from tinyllm_jax.corpus import tfrecord
from tinyllm_jax.corpus.logrow import LogRow, row_key
from tinyllm_jax.corpus.store import Corpus

SOURCE = "train=8,validation=3,test=3"
THINGS = ["--task", "things", "--source", SOURCE]


def write_log(path, teacher, texts):
    """A log with a forced row of `teacher` on each train question; `texts` are used in turn."""
    path.parent.mkdir(exist_ok=True)
    with path.open("wb") as file:
        for index, question in enumerate(tasks.load("things", SOURCE)["train"]):
            row = LogRow(
                row_key(question, teacher, "m", "p", "{}", 0),
                question.id,
                question.key,
                "things",
                "train",
                teacher,
                "m",
                "",
                "p",
                "{}",
                0,
                True,
                0,
                f"Row {index}: {texts[index % len(texts)]}",
                "stop",
                5,
                7,
                None,
                0,
                0.1,
                "",
            )
            tfrecord.write_record(file, row.to_bytes())
    return path


@pytest.fixture
def logs(tmp_path):
    """A directory with the logs of two teachers, one of them a shard of a job."""
    write_log(tmp_path / "logs" / "shape.tfrecord", "shape", ["we walk.", "we walk. And then"])
    write_log(tmp_path / "logs" / "qwen-1a2b3c4d.0-of-4.tfrecord", "qwen", ["it goes on."])
    (tmp_path / "logs" / "ledger.json").write_text("{}")
    return tmp_path / "logs"


def run(*argv):
    cli.main([str(argument) for argument in argv])


def test_build_takes_every_log_of_a_directory(logs, tmp_path, capsys):
    run(
        "corpus",
        "build",
        *THINGS,
        "--log",
        logs,
        "--out",
        tmp_path / "out",
        "--report",
        tmp_path / "page.html",
    )
    printed = capsys.readouterr().out
    assert (
        Corpus(tmp_path / "out").teachers == ("qwen", "shape")
        and "policy keep-all: shape 8 kept, 0 dropped" in printed
    )
    assert f"wrote {tmp_path / 'out'}\nwrote {tmp_path / 'page.html'}" in printed
    page = (tmp_path / "page.html").read_text()
    assert "Rationales for things" in page and page.rstrip().endswith("</html>")


def test_build_of_the_first_questions_with_a_policy_and_other_corpora(logs, tmp_path, capsys):
    run(
        "corpus",
        "build",
        *THINGS,
        "--log",
        logs / "shape.tfrecord",
        "--out",
        tmp_path / "old",
        "--policy",
        "clean+truncate",
    )
    run(
        "corpus",
        "build",
        *THINGS,
        "--log",
        logs / "qwen-1a2b3c4d.0-of-4.tfrecord",
        "--corpus",
        tmp_path / "old",
        "--questions",
        3,
        "--out",
        tmp_path / "out",
        "--policy",
        "clean",
    )
    corpus = Corpus(tmp_path / "out")
    assert {split: corpus.manifest.rows(split) for split in corpus.splits} == {
        "train": 3,
        "validation": 3,
        "test": 3,
    }
    assert [row.rationales["shape"].text for row in corpus.rows("train")] == [
        f"Row {index}: we walk." for index in range(3)
    ]
    assert "rows 14, rows that match no question 5" in capsys.readouterr().out


def test_a_corpus_needs_no_log(logs, tmp_path):
    run("corpus", "build", *THINGS, "--log", logs, "--out", tmp_path / "old")
    run("corpus", "build", *THINGS, "--corpus", tmp_path / "old", "--out", tmp_path / "new")
    old, new = Corpus(tmp_path / "old"), Corpus(tmp_path / "new")
    assert old.fingerprint == new.fingerprint and old.rows("train") == new.rows("train")


def test_inspect_writes_the_page_beside_the_json(logs, tmp_path, capsys):
    run(
        "corpus",
        "build",
        *THINGS,
        "--log",
        logs,
        "--out",
        tmp_path / "out",
        "--report",
        tmp_path / "one.html",
    )
    capsys.readouterr()
    run(
        "corpus",
        "inspect",
        "--corpus",
        tmp_path / "out",
        "--json",
        "--sample",
        1,
        "--report",
        tmp_path / "two.html",
    )
    inspected = json.loads(capsys.readouterr().out)
    assert inspected["report"]["policy"]["name"] == "keep-all"
    assert inspected["report"]["generations"]["qwen"]["tokens"] == 56
    assert (tmp_path / "one.html").read_bytes() == (tmp_path / "two.html").read_bytes()


@pytest.fixture
def file(tmp_path):
    """A file with a rationale on each train question, and one on no question."""
    ids = [question.id for question in tasks.load("things", SOURCE)["train"]]
    rows = [{"id": id, "rationale": f"It is {id}."} for id in [*ids, "stranger"]]
    (tmp_path / "my=rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return tmp_path / "my=rows.jsonl"


def test_rationales_of_any_origin(logs, file, tmp_path, capsys):
    names = [f"--rationales=gpt-4.1={file}", f"--rationales=llama={file}"]
    run("corpus", "build", *THINGS, "--log", logs, *names, "--out", tmp_path / "out")
    printed = capsys.readouterr().out
    assert Corpus(tmp_path / "out").teachers == ("gpt-4.1", "llama", "qwen", "shape")
    assert "gpt-4.1 from 'my=rows.jsonl' (sha256 " in printed
    assert "  rows that did not join: 1\n    1: no question has its id" in printed
    assert "    row 9: no question has its id: 'stranger'" in printed


def test_bad_rationales_are_one_line(file, tmp_path, capsys):
    build = ["corpus", "build", *THINGS, "--out", tmp_path / "out", "--rationales"]
    assert "write NAME=FILE, e.g. --rationales gpt-4o=" in fails(capsys, *build, "rows.jsonl")
    assert "write NAME=FILE" in fails(capsys, *build, "gpt-4o=")
    assert "teacher name 'GPT': use lower-case" in fails(capsys, *build, f"GPT={file}")
    twice = fails(capsys, *build, f"gpt={file}", "--rationales", "gpt=other.json")
    assert f"names 'gpt' twice: {file} and other.json" in twice
    assert "cannot read absent.json" in fails(capsys, *build, "gpt=absent.json")


def test_bad_input_is_one_line(logs, tmp_path, capsys):
    build = ["corpus", "build", *THINGS, "--out", tmp_path / "out"]
    assert "--log, --rationales or --corpus is needed" in fails(capsys, *build)
    assert "keep-all|clean|clean+truncate" in fails(
        capsys, *build, "--log", logs, "--policy", "claen"
    )
    assert "holds no log" in fails(capsys, *build, "--log", tmp_path)
    assert "no such directory" in fails(capsys, *build, "--corpus", tmp_path / "absent")
    run(*build, "--log", logs)
    assert "choose another path" in fails(
        capsys,
        "corpus",
        "inspect",
        "--corpus",
        tmp_path / "out",
        "--report",
        tmp_path / "absent" / "page.html",
    )


def test_a_partial_corpus_is_built_again_with_overwrite(logs, tmp_path, capsys):
    out = tmp_path / "out"
    build = ["corpus", "build", "--task", "things", "--source", SOURCE, "--out", str(out)]
    first, second = sorted(logs.glob("qwen*"))[:1], ["--log", str(logs)]
    run(*build, "--log", str(first[0]))
    line = fails(capsys, *build, *second)
    assert f"{out} exists and is not an empty directory: it is a corpus" in line
    assert f"choose another --out, e.g. {out}-2" in line
    assert "--overwrite" in line and Corpus(out).teachers == ("qwen",)
    run(*build, *second, "--overwrite")
    assert Corpus(out).teachers == ("qwen", "shape")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".out")] == []
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    build[-1] = str(tmp_path / "other")
    assert "is not an empty directory" in fails(capsys, *build, *second, "--overwrite")
