"""Checkpoints: what is kept, what is noticed, and restores on another mesh."""

import json
import pathlib
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from tinyllm_jax.errors import UserError
from tinyllm_jax.training import checkpoints
from tinyllm_jax.training.checkpoints import Checkpoints


def state(value: float = 1.0) -> dict:
    return {
        "params": {"w": jnp.arange(64.0).reshape(8, 8) * value},
        "opt_state": ({"mu": jnp.ones(8)}, jnp.int32(3)),
    }


def abstract() -> dict:
    one = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=one), state())


def save(root: pathlib.Path, accuracies: list[float | None], keep: int = 2) -> None:
    saved = Checkpoints(root, keep=keep)
    for i, accuracy in enumerate(accuracies):
        saved.save(10 * (i + 1), state(i + 1), None if accuracy is None else {"accuracy": accuracy})
    saved.close()


def test_keeps_the_last_and_the_best(tmp_path):
    save(tmp_path, [0.2, 0.9, 0.3, 0.4, None, 0.5])
    found = Checkpoints(tmp_path)
    assert found.steps() == [20, 50, 60]
    assert found.best == (20, 0.9) and found.latest() == 60


def test_every_kept_step_is_sealed_and_verifies(tmp_path):
    save(tmp_path, [0.1, 0.2])
    for step in (10, 20):
        assert (tmp_path / str(step) / checkpoints.MANIFEST).exists()
        checkpoints.verify(tmp_path / str(step))


def test_round_trip_and_restore_of_a_part(tmp_path):
    save(tmp_path, [0.1, 0.2])
    found = Checkpoints(tmp_path).restore(10, abstract())
    jax.tree.map(np.testing.assert_array_equal, found, state(1.0))
    part = Checkpoints(tmp_path).restore(20, {"params": abstract()["params"]})
    np.testing.assert_array_equal(part["params"]["w"], state(2.0)["params"]["w"])


def test_restores_on_another_mesh(tmp_path):
    mesh = Mesh(np.array(jax.devices()).reshape(4, 2), ("a", "b"))
    sharded = jax.device_put(state()["params"], NamedSharding(mesh, P("a", "b")))
    saved = Checkpoints(tmp_path, keep=1)
    saved.save(1, state() | {"params": sharded})
    saved.close()
    other = NamedSharding(Mesh(np.array(jax.devices()), ("x",)), P(None, "x"))
    target = {"params": {"w": jax.ShapeDtypeStruct((8, 8), jnp.float32, sharding=other)}}
    found = Checkpoints(tmp_path).restore(1, target)["params"]["w"]
    assert found.sharding == other
    np.testing.assert_array_equal(found, state()["params"]["w"])


def test_a_flipped_byte_anywhere_is_noticed(tmp_path):
    save(tmp_path, [0.1])
    folder = tmp_path / "10"
    files = [
        p
        for p in folder.rglob("*")
        if p.is_file() and p.name != checkpoints.MANIFEST and p.stat().st_size
    ]
    assert len(files) > 5
    assert "metrics" in {path.name for path in files}
    for path in files:
        whole = path.read_bytes()
        at = len(whole) // 2
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :])
        with pytest.raises(UserError, match="is damaged"):
            checkpoints.verify(folder)
        with pytest.raises(UserError, match="damaged"):
            found = Checkpoints(tmp_path)
            assert found.best == (10, 0.1) and found.latest() == 10
            found.restore(10, abstract())
        path.write_bytes(whole)
    checkpoints.verify(folder)
    files[0].unlink()
    with pytest.raises(UserError, match="is damaged"):
        Checkpoints(tmp_path).restore(10, abstract())


def test_a_damaged_manifest_is_named(tmp_path):
    save(tmp_path, [0.1])
    (tmp_path / "10" / checkpoints.MANIFEST).write_text("{")
    with pytest.raises(UserError, match="sha256.json is damaged"):
        checkpoints.verify(tmp_path / "10")


def test_a_step_killed_before_its_manifest_is_sealed_by_the_next_run_and_loaded_with_a_warning(
    tmp_path, capsys
):
    save(tmp_path, [0.1])
    manifest = tmp_path / "10" / checkpoints.MANIFEST
    manifest.unlink()
    Checkpoints(tmp_path).restore(10, abstract())
    assert "its bytes are not checked" in capsys.readouterr().err
    Checkpoints(tmp_path, keep=2).close()
    assert "params" in " ".join(json.loads(manifest.read_text()))


def test_an_absent_step_and_another_architecture_are_one_line(tmp_path):
    save(tmp_path, [0.1])
    with pytest.raises(UserError, match=r"has no checkpoint of step 30; it has \[10\]"):
        Checkpoints(tmp_path).restore(30, abstract())
    other = {
        "params": {
            "w": jax.ShapeDtypeStruct(
                (4, 4), jnp.float32, sharding=abstract()["params"]["w"].sharding
            )
        }
    }
    with pytest.raises(UserError, match="does not fit this student"):
        Checkpoints(tmp_path).restore(10, other)


def test_what_cannot_be_written_is_one_line_and_the_step_before_stays(tmp_path, monkeypatch):
    saved = Checkpoints(tmp_path, keep=2)
    saved.save(10, state(), {"accuracy": 0.1})
    saved.wait()

    def full(*_, **__):
        raise ValueError("RESOURCE_EXHAUSTED: Error writing: … [os_error_code='28']")

    with monkeypatch.context() as mocked:
        mocked.setattr(saved.manager, "save", full)
        with pytest.raises(UserError, match="No space left on device; make room there, and run"):
            saved.save(20, state())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(1, 1, 100))
    with pytest.raises(UserError, match=r"it takes up to 0.0 MiB, and the disk has 0.0; make"):
        saved.save(20, state())
    saved.close()
    found = Checkpoints(tmp_path)
    assert found.steps() == [10]
    checkpoints.verify(tmp_path / "10")
