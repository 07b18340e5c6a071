"""The metrics files: rows beyond the step of a resumed run are cut, and a torn line is no harm."""

import json

import pytest
from etils import epath

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import metrics


def test_rows_of_a_killed_run_are_cut(tmp_path):
    log = metrics.Metrics(tmp_path, 0, True)
    for step in (2, 4, 6):
        log.write(step, loss=1.0 / step, terms={"answer": 0.5})
    log.close()
    with open(tmp_path / "metrics.jsonl", "a") as f:
        f.write('{"step": 8, "lo')
    log = metrics.Metrics(tmp_path, 4, True)
    log.write(6, loss=0.1, terms={"answer": 0.5})
    log.close()
    rows = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(row["step"], row["loss"]) for row in rows] == [(2, 0.5), (4, 0.25), (6, 0.1)]
    assert metrics.read(tmp_path / "metrics.jsonl") == rows


def test_only_the_first_process_writes(tmp_path):
    log = metrics.Metrics(tmp_path, 0, False)
    log.write(1, loss=1.0)
    log.close()
    assert not list(tmp_path.iterdir()) and metrics.read(tmp_path / "metrics.jsonl") == []


def test_tensorboard_files_hold_the_scalars(tmp_path):
    from tensorboardX.proto import event_pb2

    from tinyllm_jax.corpus import tfrecord

    log = metrics.Metrics(tmp_path, 0, True)
    log.write(3, loss=0.25, terms={"answer": 0.5})
    log.close()
    (file,) = (tmp_path / "tensorboard").iterdir()
    events = [event_pb2.Event.FromString(record) for record in tfrecord.read_records(file)]
    found = {(v.tag, e.step, v.simple_value) for e in events for v in e.summary.value}
    assert found == {("loss", 3, 0.25), ("terms/answer", 3, 0.5)}


@pytest.mark.parametrize("line", ['{"step": 4, "lo', "[4]", '{"stop": 4}', '{"step": "4"}', ""])
def test_a_damaged_line_is_named(tmp_path, line):
    path = tmp_path / "metrics.jsonl"
    path.write_text(f'{{"step": 2}}\n{line}\n{{"step": 6}}\n')
    with pytest.raises(UserError, match="metrics.jsonl: line 2 is not a row.*delete that line"):
        metrics.read(epath.Path(path))
