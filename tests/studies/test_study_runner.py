"""A whole study of two steps a cell: resumed, failing, chosen on validation, reported."""

import json

import jax
import ml_collections
import pytest
from etils import epath

from tinyllm_jax import cli
from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import score
from tinyllm_jax.student import hf, model
from tinyllm_jax.student.config import student_config
from tinyllm_jax.student.inputs import load_tokenizer
from tinyllm_jax.student.student import Student
from tinyllm_jax.studies import page, report, runner
from tinyllm_jax.studies.study import study_of
from tinyllm_jax.studies.tables import tables
from tinyllm_jax.training import loop
from tinyllm_jax.training.recipes import default_config, set_student

pytestmark = pytest.mark.usefixtures("quick_compilation", "one_device")


def small(corpus, methods, **fields) -> ml_collections.ConfigDict:
    base = default_config()
    set_student(base, "word-tiny")
    base.task, base.steps, base.batch_size = "things", 2, 8
    base.log_every, base.validation.questions, base.checkpoint.every = 1, 8, 1
    config = ml_collections.ConfigDict(fields)
    config.base, config.corpora = base, {"things": str(corpus)}
    config.methods, config.baseline = methods, methods[0]["name"]
    return config


METHODS = (
    {"name": "answers only"},
    {"name": "shape", "teachers": "shape", "weights": (0.5, 2.0)},
    {"name": "permuted", "teachers": "all", "policy": "permuted"},
)


def test_a_study_from_its_config_to_its_page(things_corpus, tmp_path, capsys, monkeypatch):
    study = study_of(small(things_corpus, METHODS, fractions=(0.5,)))
    assert [cell.name for cell in study.cells()][:4] == [
        "things-answers_only-0.5-s0",
        "things-shape-0.5-w0.5-s0",
        "things-shape-0.5-w2-s0",
        "things-permuted-0.5-s0",
    ]

    # The third cell fails, and the others go on; nothing of `shape` is tested without it.
    real, calls = loop.train, []

    def failing(run, corpus, directory):
        calls.append(str(directory))
        if "w2-s0" in str(directory):
            raise UserError("no such luck")
        return real(run, corpus, directory)

    monkeypatch.setattr(loop, "train", failing)
    done = runner.run(study, tmp_path)
    assert len(calls) == 4 and [cell.name for cell in done.failed] == ["things-shape-0.5-w2-s0"]
    assert list(done.failed.values()) == ["no such luck"]
    assert {cell.method for cell in done.tested} == {"answers only", "permuted"}
    assert "Not tested yet: shape." in report.markdown("A study", study, done)

    # The next call trains that cell alone, and tests the weight that is best on validation.
    monkeypatch.setattr(loop, "train", real)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.glob("cells/*/test/results.json")}
    done = runner.run(study, tmp_path)
    assert not done.failed and len(done.trained) == 4 and len(done.tested) == 3
    assert all(p.stat().st_mtime_ns == time for p, time in before.items())
    by_weight = {
        cell.weight: note["validation_accuracy"]
        for cell, note in done.trained.items()
        if cell.method == "shape"
    }
    chosen = {cell.weight for cell in done.tested if cell.method == "shape"}
    assert chosen == {max(by_weight, key=by_weight.get)}

    # Half of the questions were learned from, and the same half by all.
    sizes = {
        json.loads((p / "run.json").read_text())["data"]["questions"]
        for p in tmp_path.glob("cells/*/run")
    }
    (size,) = sizes
    assert 30 < size < 66

    (table,) = tables(study, done)
    assert [line.method for line in table.lines] == ["answers only", "shape", "permuted"]
    assert table.best_teacher == "shape" and table.questions == 24
    assert table.lines[0].against_baseline is None and table.lines[1].against_teacher is None
    text = report.markdown("A study", study, done)
    assert "## things, 50 % of the labels" in text and "| answers only |" in text
    assert all(line.flops > 0 for line in table.lines)
    html = page.html_page("A <study>", study, done)
    assert "A &lt;study&gt;" in html and html.count("<svg") > 6


def test_a_weight_is_chosen_once_for_all_seeds(things_corpus, tmp_path):
    study = study_of(small(things_corpus, METHODS, seeds=(0, 1)))
    accuracy = {(0.5, 0): 0.7, (0.5, 1): 0.4, (2.0, 0): 0.6, (2.0, 1): 0.6}
    cells = [cell for cell in study.cells() if cell.method == "shape"]
    for cell in cells[:-1]:
        path = tmp_path / "cells" / cell.name / runner.CELL
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps({"validation_accuracy": accuracy[cell.weight, cell.seed]}))
    assert runner.chosen(study, epath.Path(tmp_path)) == []  # the last cell is missing
    path = tmp_path / "cells" / cells[-1].name / runner.CELL
    path.parent.mkdir()
    path.write_text(json.dumps({"validation_accuracy": 0.6}))
    chosen = runner.chosen(study, epath.Path(tmp_path))
    assert [(cell.weight, cell.seed) for cell in chosen] == [(2.0, 0), (2.0, 1)]


def test_the_command(things_corpus, tmp_path, capsys):
    config = tmp_path / "study.py"
    config.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(__file__.rsplit('/', 1)[0])!r})\n"
        "from test_study_runner import small\n"
        "def get_config():\n"
        f"    return small({str(things_corpus)!r}, ({{'name': 'answers only'}},))\n"
    )
    cli.main(["study", "--config", str(config), "--out", str(tmp_path / "out")])
    said = capsys.readouterr().out
    assert "| answers only |" in said and (tmp_path / "out" / "report.html").exists()
    with pytest.raises(SystemExit) as error:
        cli.main(
            ["study", "--config", str(config), "--out", str(tmp_path / "out"), "--shard", "2/2"]
        )
    assert error.value.code == 2


def test_shards_share_the_cells(things_corpus):
    study = study_of(small(things_corpus, METHODS, seeds=(0, 1, 2)))
    parts = [runner._of_shard(study.cells(), (i, 2)) for i in range(2)]
    assert sorted(c.name for part in parts for c in part) == sorted(c.name for c in study.cells())
    assert {cell.seed for cell in parts[0]} == {0, 2} and {cell.seed for cell in parts[1]} == {1}


def test_another_study_in_the_same_directory_is_refused(things_corpus, tmp_path):
    runner._check_same(study_of(small(things_corpus, METHODS)), tmp_path)
    config = small(things_corpus, METHODS)
    config.base.optimizer.learning_rate = 1.0
    with pytest.raises(UserError, match="holds a cell things-answers_only-s0 of another config"):
        runner._check_same(study_of(config), tmp_path)

    # What a policy does belongs to a cell too, and so does the corpus.
    helpful = {"name": "helpful", "teachers": "all", "policy": "helpful"}
    config = small(things_corpus, (*METHODS, helpful))
    runner._check_same(study_of(config), tmp_path)
    config.methods = (*METHODS, {**helpful, "threshold": -0.1})
    with pytest.raises(UserError, match="holds a cell things-helpful-s0 of another config"):
        runner._check_same(study_of(config), tmp_path)
    with pytest.raises(UserError, match="of another config"):
        runner._check_same(study_of(small(tmp_path / "other", METHODS)), tmp_path)


def test_a_corpus_without_test_questions_is_known_before_any_work(things_corpus, tmp_path):
    corpus = Corpus(things_corpus)
    rows = {split: corpus.rows(split) for split in ("train", "validation")} | {"test": []}
    store.write_corpus(tmp_path / "corpus", "things", corpus.teachers, rows, {}, "by hand")
    study = study_of(small(tmp_path / "corpus", METHODS))
    with pytest.raises(UserError, match="has no test questions"):
        runner.run(study, tmp_path / "out")
    assert not (tmp_path / "out" / "cells").exists()


@pytest.mark.parametrize(
    "change, words",
    [
        (dict(baseline="x"), "unknown baseline 'x'"),
        (dict(fractions=(0.0,)), "a fraction is 0.0"),
        (dict(seeds=()), "a study needs a corpus, a student, a fraction and a seed"),
        (dict(tasks=1), "unknown field of the study 'tasks'"),
        (dict(methods=({"name": "a", "polcy": ""},)), "field of method 'a' 'polcy'"),
        (
            dict(methods=({"name": "a"}, {"name": "a"})),
            "a name of its own for each method, not 'a'",
        ),
        (dict(methods=({"name": "a", "policy": "best"},)), "unknown policy of 'a' 'best'"),
        (dict(methods=({"name": "a", "overrides": {"stepz": 1}},)), "did you mean 'steps'"),
        (dict(methods=({"name": "a", "overrides": {"steps": -1}},)), "config.steps is -1"),
        (dict(methods=({"name": "a", "policy": "zero-shot"},)), "this student has none"),
    ],
)
def test_what_a_study_may_not_be(change, words, things_corpus):
    config = small(things_corpus, METHODS)
    for name, value in change.items():
        config[name] = value
    if "methods" in change and "baseline" not in change:
        config.baseline = change["methods"][0]["name"]
    with pytest.raises(UserError) as error:
        study_of(config)
    assert words in str(error.value)


def test_zero_shot_asks_the_weights_as_they_are(things_corpus, tmp_path):
    shape = student_config("byte-tiny")
    params = model.init_params(shape, jax.random.key(3))
    hf.save_hf(tmp_path / "t5", shape, params)
    load_tokenizer("byte").save_pretrained(tmp_path / "t5")
    config = small(things_corpus, ({"name": "as it is", "policy": "zero-shot"},))
    set_student(config.base, str(tmp_path / "t5"))
    done = runner.run(study_of(config), tmp_path / "out")
    (outcome,) = done.tested.values()
    result = outcome.result
    assert result.step is None and result.n == 24
    questions = [row.question for row in Corpus(things_corpus).rows("test")]
    student = Student(shape, params, load_tokenizer("byte"), {"answer": "predict"}, 128)
    assert result.predictions == score.evaluate(student, questions).predictions
