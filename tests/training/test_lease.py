"""The lease file: one holder, renewed, taken over when its holder is dead."""

import json
import os
import threading
import time

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import lease, workdir


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    monkeypatch.setattr(lease, "SETTLES", 0)


def another(age: float) -> str:
    """The lease of another run, written so many seconds ago."""
    return json.dumps({"owner": "x", "host": "far", "process": 7, "time": time.time() - age})


def test_a_second_run_is_told_who_holds_the_lease_and_until_when(bucket):
    with workdir.lock(bucket / "run"):
        found = json.loads((bucket / "run" / "lease.json").read_text())
        assert found["process"] == os.getpid() and time.time() - found["time"] < 60
        until = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(found["time"] + 300))
        words = f"gs://bucket/run is in use .*process {os.getpid()} on .* lapses at {until}"
        with pytest.raises(UserError, match=words), workdir.lock(bucket / "run"):
            pass
    assert not (bucket / "run" / "lease.json").exists()
    with workdir.lock(bucket / "run"):
        pass


def test_a_dead_run_s_lease_is_taken_over_after_five_minutes(bucket):
    (bucket / "lease.json").write_text(another(age=290))
    with pytest.raises(UserError, match="process 7 on far"), lease.hold(bucket / "lease.json"):
        pass
    (bucket / "lease.json").write_text(another(age=301))
    with lease.hold(bucket / "lease.json"):
        assert json.loads((bucket / "lease.json").read_text())["process"] == os.getpid()


def test_of_two_that_begin_at_once_the_later_has_the_lease(bucket, monkeypatch):
    later = another(age=0)
    monkeypatch.setattr(lease.time, "sleep", lambda _: (bucket / "lease.json").write_text(later))
    with pytest.raises(UserError, match="process 7 on far"), lease.hold(bucket / "lease.json"):
        pass
    assert (bucket / "lease.json").read_text() == later


def test_the_lease_is_renewed_and_released_by_a_failed_run_too(bucket, monkeypatch):
    monkeypatch.setattr(lease, "RENEWED", 0.01)
    path, before = bucket / "lease.json", threading.active_count()
    with pytest.raises(ZeroDivisionError), lease.hold(path):
        first = path.read_text()
        while path.read_text() == first:
            time.sleep(0.01)
        raise ZeroDivisionError
    assert not path.exists() and threading.active_count() == before


def test_a_lease_that_was_taken_over_is_left_alone(bucket, monkeypatch, capsys):
    monkeypatch.setattr(lease, "RENEWED", 0.01)
    path, theirs = bucket / "lease.json", another(age=0)
    with lease.hold(path):
        while "taken over by process 7 on far" not in capsys.readouterr().err:
            path.write_text(theirs)
            time.sleep(0.01)
        path.write_text(theirs)
    assert path.read_text() == theirs


def test_a_local_file_system_without_flock_has_a_lease(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(workdir.fcntl, "flock", without)
    message = "is in use by another run"
    with workdir.lock(tmp_path), pytest.raises(UserError, match=message), workdir.lock(tmp_path):
        pass
    assert not (tmp_path / "lease.json").exists()


def test_a_store_that_refuses_is_one_line(bucket, monkeypatch):
    def refuse(*_):
        raise RuntimeError("403:\nno permission")

    monkeypatch.setattr(lease.storage, "write", refuse)
    message = "cannot write the workdir gs://bucket: 403: no permission"
    with pytest.raises(UserError, match=message), lease.hold(bucket / "lease.json"):
        pass
