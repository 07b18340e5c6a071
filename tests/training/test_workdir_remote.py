"""A workdir in an object store: its files, checkpoints' manifests, and a whole run.

What is not tested: Orbax's own writing of arrays to gs://. TensorStore does that with its own
client of Google's API, which knows nothing of epath, so that no memory can stand in for the
bucket; the run below keeps its checkpoints in a local directory instead. By hand, a whole run, its
resumption and its evaluation can be tried against a server that speaks Google's API, such as
gcp-storage-emulator: STORAGE_EMULATOR_HOST and TENSORSTORE_GCS_HTTP_URL name it, EPATH_USE_TF=0
leaves TensorFlow out, GOOGLE_AUTH_TOKEN_FOR_TESTING=any stands in for credentials.
"""

import dataclasses
import json
import pathlib

import pytest

from tinyllm_jax import cli
from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs, words
from tinyllm_jax.training import checkpoints, lease, metrics, workdir
from tinyllm_jax.training.run import Run

QUICKSTART = pathlib.Path(__file__).resolve().parents[2] / "configs" / "quickstart.py"


def test_json_files_and_what_must_not_change(bucket):
    here, run = bucket / "run", Run(task="things", seed=3)
    fixed = {"corpus": "abc", "objective": {"terms": {"answer": 1.0, "a": 0.5}}}
    workdir.write_json(here / workdir.RUN, fixed)
    workdir.write_json(here / workdir.CONFIG, run.to_json())
    assert workdir.read_json(here / workdir.RUN) == fixed
    assert workdir.check_same(here, run, fixed, False) == []
    message = (
        'gs://bucket/run was trained otherwise: corpus was "abc", is "b"; config.seed was 3, is 0'
    )
    with pytest.raises(UserError, match=message):
        workdir.check_same(here, Run(task="things"), fixed | {"corpus": "b"}, False)
    other = {"corpus": "abc", "objective": {"terms": {"answer": 1.0, "b": 0.5}}}
    assert workdir.check_same(here, dataclasses.replace(run, batch_size=8), other, True) == [
        "objective.terms.a was 0.5, is absent",
        "objective.terms.b was absent, is 0.5",
        "config.batch_size was 16, is 8",
    ]
    with pytest.raises(UserError, match="gs://bucket/else is not the workdir of a run"):
        workdir.read_run(bucket / "else")


def test_metrics_come_as_they_are_logged_and_tensorboard_is_left_out_aloud(bucket, capsys):
    log = metrics.Metrics(bucket / "run", 0, True)
    assert "cannot write gs://bucket/run/tensorboard here" in capsys.readouterr().err
    for step in range(2, 102, 2):
        log.write(step, loss=1.0 / step)
        log._rewriting.result()  # it is there before the log is closed, or the next row comes
        assert metrics.read(bucket / "run" / "metrics.jsonl")[-1]["step"] == step
    log.close()
    again = metrics.Metrics(bucket / "run", 50, True)
    for step in range(52, 62, 2):
        again.write(step, loss=2.0)
    again.close()
    rows = metrics.read(bucket / "run" / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(2, 62, 2))
    assert [path.name for path in (bucket / "run").iterdir()] == ["metrics.jsonl"]


def test_a_tokenizer_is_saved_to_and_loaded_from_a_bucket(bucket):
    tokenizer = words.make_tokenizer(["which is heavier", "a feather"])
    inputs.save_tokenizer(tokenizer, bucket / "run" / "tokenizer")
    again = inputs.load_tokenizer("gs://bucket/run/tokenizer")
    assert inputs.fingerprint(again) == inputs.fingerprint(tokenizer)
    with pytest.raises(UserError, match="cannot load a tokenizer from 'gs://bucket/absent'"):
        inputs.load_tokenizer("gs://bucket/absent")


def test_manifests_are_written_and_checked_for_whole_steps_alone(bucket):
    root = bucket / "checkpoints"
    for step, files in {"10": ("commit_success.txt",), "20": ()}.items():  # 20: still being written
        for name in ("params/d/a", "params/manifest.ocdbt", *files):
            (root / step / name).write_bytes(name.encode() * 100)
    checkpoints.seal(root)
    assert not (root / "20" / checkpoints.MANIFEST).exists()
    sealed = json.loads((root / "10" / checkpoints.MANIFEST).read_text())
    assert sorted(sealed) == ["commit_success.txt", "params/d/a", "params/manifest.ocdbt"]
    checkpoints.verify(root / "10")
    data = (root / "10/params/d/a").read_bytes()
    (root / "10/params/d/a").write_bytes(data[:-1] + b"?")
    with pytest.raises(UserError, match="gs://bucket/checkpoints/10/params/d/a is damaged"):
        checkpoints.verify(root / "10")


def test_a_store_that_orbax_cannot_write_to_is_refused(bucket):
    with pytest.raises(UserError, match="s3://b/run: Orbax writes to local paths and to gs:// al"):
        checkpoints.Checkpoints("s3://b/run")


@pytest.mark.usefixtures("quick_compilation", "one_device")
def test_a_run_and_its_evaluation(bucket, things_corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(lease, "SETTLES", 0)
    here, real = tmp_path / "checkpoints", checkpoints.Checkpoints
    monkeypatch.setattr(checkpoints, "Checkpoints", lambda root, keep=None: real(here, keep))
    for path in things_corpus.iterdir():
        (bucket / "corpus" / path.name).write_bytes(path.read_bytes())
    monkeypatch.chdir(tmp_path)
    size = ["--config.steps=4", "--config.batch_size=8", "--config.validation.questions=8"]
    often = ["--config.checkpoint.every=2", "--config.log_every=2"]
    where = ["--corpus=gs://bucket/corpus", "--workdir=gs://bucket/run"]
    cli.main(["train", "--config", str(QUICKSTART), *where, *size, *often])
    run = bucket / "run"
    assert {path.name for path in run.iterdir()} == {
        *("config.json", "metrics.jsonl", "run.json", "student.json", "tokenizer")
    }
    assert workdir.read_json(run / workdir.RUN)["corpus_directory"] == "gs://bucket/corpus"
    rows = metrics.read(run / "metrics.jsonl")
    assert [row["step"] for row in rows if "loss" in row] == [2, 4]

    cli.main(["evaluate", "--workdir=gs://bucket/run", "--step=4", "--report=gs://bucket/r.html"])
    assert "TinyLLM on things" in (bucket / "r.html").read_text()
    (folder,) = (run / "evaluation").iterdir()
    found = json.loads((folder / "results.json").read_text())
    assert found["n"] == 24 and found["step"] == 4
    cli.main(["predict", "--workdir=gs://bucket/run", "--out=gs://bucket/p.jsonl"])
    assert len((bucket / "p.jsonl").read_text().splitlines()) == 24
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoints"]  # no folder named gs:
