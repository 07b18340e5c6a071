"""The corpus on disk: round trip, same bytes, and what is refused."""

import dataclasses
import hashlib
import os
import pathlib
import subprocess
import sys

import pytest
from small_corpus import REPORT, ROWS, TEACHERS, make_rows, write

from tinyllm_jax.corpus import codec, store
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError

HERE = pathlib.Path(__file__).parent


def test_round_trip(corpus_dir):
    corpus = Corpus(corpus_dir, task="obqa")
    assert (corpus.task, corpus.teachers, corpus.splits) == (
        "obqa",
        TEACHERS,
        ("train", "validation", "test"),
    )
    for split, rows in ROWS.items():
        assert corpus.rows(split) == rows
    assert corpus.manifest.report == REPORT
    assert [shard.records for shard in corpus.manifest.splits["train"]] == [7, 8, 8]
    assert len(corpus.fingerprint) == 64


def test_provenance_is_listed(corpus_dir):
    teachers = Corpus(corpus_dir).manifest.teachers
    assert list(teachers) == list(TEACHERS)
    assert sum(entry["rows"] for entry in teachers["flan-t5-xl"]) == sum(
        "flan-t5-xl" in row.rationales for rows in ROWS.values() for row in rows
    )
    assert {entry["forced"] for entry in teachers["flan-t5-xl"]} == {True, False}


def test_an_empty_split_is_an_error_where_it_is_needed(corpus_dir):
    assert Corpus(corpus_dir).rows("test") == []
    with pytest.raises(
        UserError, match=r"split 'test' of .* is empty \(not empty: train, validation\)"
    ):
        Corpus(corpus_dir).nonempty_rows("test")
    assert len(Corpus(corpus_dir).nonempty_rows("train")) == 23


def test_what_is_not_the_corpus_asked_for(corpus_dir, tmp_path):
    with pytest.raises(UserError, match="did you mean 'validation'"):
        Corpus(corpus_dir).rows("valid")
    with pytest.raises(UserError, match="is a corpus of task 'obqa', not of 'arc'"):
        Corpus(corpus_dir, task="arc")
    with pytest.raises(UserError, match="no such directory"):
        Corpus(tmp_path / "absent")
    with pytest.raises(UserError, match="is not a corpus"):
        Corpus(tmp_path)


def test_nothing_is_overwritten(corpus_dir, tmp_path):
    before = {path.name: path.read_bytes() for path in corpus_dir.iterdir()}
    with pytest.raises(UserError, match="exists and is not an empty directory"):
        write(corpus_dir)
    assert {path.name: path.read_bytes() for path in corpus_dir.iterdir()} == before
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match="exists"):
        write(tmp_path / "file")
    (tmp_path / "empty").mkdir()
    assert write(tmp_path / "empty").task == "obqa"


def test_a_failure_leaves_nothing(tmp_path):
    bad = Row(dataclasses.replace(ROWS["train"][0].question, question="half \ud800"), {})
    with pytest.raises(UserError, match="half of a surrogate pair"):
        store.write_corpus(tmp_path / "out", "obqa", TEACHERS, {"train": [bad]}, REPORT, "a test")
    assert list(tmp_path.iterdir()) == []


def _change(**fields):
    row = ROWS["train"][1]
    return [Row(dataclasses.replace(row.question, **fields), row.rationales)]


@pytest.mark.parametrize(
    "rows, message",
    [
        (_change(choices=()), "0 choices"),
        (_change(answer="another"), "is not one of the choices"),
        (_change(task="arc"), "it is of arc train, not of obqa train"),
        (_change(split="test"), "it is of obqa test"),
        (make_rows("train", 2) + make_rows("train", 1), "has the same id"),
        (
            [Row(ROWS["train"][1].question, {"other": Rationale("", "other")})],
            "has no column 'other'",
        ),
    ],
)
def test_malformed_rows_are_refused(tmp_path, rows, message):
    with pytest.raises(UserError, match=message):
        store.write_corpus(tmp_path / "out", "obqa", TEACHERS, {"train": rows}, REPORT, "a test")
    assert not (tmp_path / "out").exists()


def test_a_teacher_needs_a_plain_name(tmp_path):
    with pytest.raises(UserError, match="teacher name 'A/b'"):
        store.write_corpus(tmp_path / "out", "obqa", ["A/b"], {"train": []}, REPORT, "a test")


def test_an_unwritable_place(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        write(tmp_path / "file" / "corpus")


def test_a_record_of_something_else(corpus_dir):
    with pytest.raises(ValueError):
        codec.decode(b"not a protocol buffer", "train", TEACHERS)
    with pytest.raises(ValueError):
        codec.decode(codec.encode(ROWS["train"][0], ["flan-t5-xl"]), "train", TEACHERS)


def test_fingerprint_is_of_questions_rationales_and_weights(tmp_path):
    def fingerprint(name, **fields):
        row = ROWS["train"][1]
        rationale = dataclasses.replace(row.rationales["flan-t5-xl"], **fields)
        rows = {"train": [Row(row.question, {"flan-t5-xl": rationale})]}
        return store.write_corpus(tmp_path / name, "obqa", TEACHERS, rows, REPORT, name).fingerprint

    plain = fingerprint("a")
    assert fingerprint("b", model="another", tokens=5) == plain
    assert fingerprint("c", text="other") != plain
    assert fingerprint("d", weight=0.1) != plain
    reread = Corpus(tmp_path / "d").rows("train")
    again = store.write_corpus(
        tmp_path / "e", "obqa", TEACHERS, {"train": reread}, REPORT, "e"
    ).fingerprint
    assert again == Corpus(tmp_path / "d").fingerprint


@pytest.mark.parametrize("seed", ["0", "1"])
def test_same_bytes_in_every_process(corpus_dir, tmp_path, seed):
    code = (
        "import sys; import small_corpus as c; from tinyllm_jax.corpus import store;"
        "store.SHARD_BYTES = 12000; c.write(sys.argv[1])"
    )
    env = os.environ | {"PYTHONHASHSEED": seed}
    subprocess.run([sys.executable, "-c", code, tmp_path / "again"], check=True, env=env, cwd=HERE)
    first, second = (
        {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in directory.iterdir()}
        for directory in (corpus_dir, tmp_path / "again")
    )
    assert first == second


def test_what_teachers_import_is_light():
    code = (
        "import sys; from tinyllm_jax.corpus import logrow, schema, tfrecord;"
        "from tinyllm_jax.corpus.judging import quality;"
        "heavy = ('numpy', 'tensorflow_datasets', 'google.protobuf', 'jax');"
        "print([module for module in heavy if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, cwd=HERE, capture_output=True, text=True
    )
    assert done.stdout.strip() == "[]"


def test_no_framework_is_imported(tmp_path):
    code = (
        "import sys; import small_corpus as c;"
        "from tinyllm_jax.corpus import store, verify;"
        "from tinyllm_jax.corpus.joining import build;"
        "from tinyllm_jax.corpus.importing import released;"
        "from tinyllm_jax.corpus.showing import inspect, page, report;"
        "c.write(sys.argv[1]); verify.verify(sys.argv[1]); store.Corpus(sys.argv[1]).rows('train');"
        "frameworks = ('jax', 'flax', 'torch', 'tensorflow', 'transformers', 'datasets');"
        "print([module for module in frameworks if module in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "out"],
        check=True,
        cwd=HERE,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "[]"
