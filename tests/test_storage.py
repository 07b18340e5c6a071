"""Paths that a user names, and files that are whole or not there."""

import pytest
from etils import epath
from etils.epath import backend

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError


def test_a_local_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    storage.write(tmp_path / "f.json", "before é\n")
    monkeypatch.setattr(backend._OsPathBackend, "replace", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):  # killed before the new file has its name
        storage.write(tmp_path / "f.json", "after")
    monkeypatch.undo()
    assert (tmp_path / "f.json").read_bytes() == "before é\n".encode()
    storage.write(tmp_path / "f.json", "after")
    assert (tmp_path / "f.json").read_text() == "after"
    assert [path.name for path in tmp_path.iterdir()] == ["f.json"]


def test_a_remote_file_is_written_in_one_call(bucket):
    storage.write("gs://bucket/d/f.json", "é")
    assert (bucket / "d" / "f.json").read_bytes() == "é".encode()
    assert [path.name for path in (bucket / "d").iterdir()] == ["f.json"]


def test_an_address_is_absolute_as_it_is(bucket, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert str(storage.absolute("gs://bucket/a")) == "gs://bucket/a"
    assert str(storage.absolute("a/../b")) == str(tmp_path / "b")


def test_an_address_that_nothing_can_open_is_one_line(monkeypatch):
    with pytest.raises(UserError, match="cannot open ftp://host/run: give a local path or one of"):
        storage.path("ftp://host/run")

    def absent(*_):
        raise ImportError("Please install adlfs\nto access Azure")

    monkeypatch.setattr(backend._FileSystemSpecBackend, "_get_filesystem", absent)
    monkeypatch.setattr("etils.epath.gpath._is_tf_installed", lambda: False)
    with pytest.raises(UserError, match="cannot open az://b/run: Please install adlfs to access"):
        storage.path("az://b/run")
    assert storage.path("run") == epath.Path("run")


def test_the_home_directory_may_be_written_as_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert storage.path("~/run") == storage.absolute("~/run") == epath.Path(tmp_path / "run")


def test_whether_a_file_can_be_written_is_known_before_it_is(tmp_path):
    storage.require_writable(tmp_path / "new" / "page.html", "mend it")
    assert not list((tmp_path / "new").iterdir())
    (tmp_path / "file").write_text("")
    for path in (tmp_path / "file" / "page.html", tmp_path):
        with pytest.raises(UserError, match="cannot write .*; mend it"):
            storage.require_writable(path, "mend it")


@pytest.mark.parametrize(
    "content, words",
    [
        (None, "cannot read"),
        (b'{"a": 1', "damaged file .*not JSON"),
        (b'{"a": "\xff"}', "damaged file .*not JSON"),
        (b"[" * 100_000, "damaged file .*not JSON"),
        (b"[1]", "damaged file .*no JSON object"),
        (b'{"b": 1}', "damaged file .*has no 'a'"),
    ],
)
def test_a_damaged_json_file_is_one_line(tmp_path, content, words):
    path = tmp_path / "f.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=words + ".*; mend it$"):
        storage.read_json(path, "mend it", ["a"])


def test_a_full_disk_names_the_file_and_leaves_nothing(tmp_path, monkeypatch):
    def full(self, data):
        self.touch()
        raise OSError(storage.FULL[0], "No space left on device")

    monkeypatch.setattr(type(epath.Path(tmp_path)), "write_bytes", full)
    with pytest.raises(OSError) as error:
        storage.write(tmp_path / "f.json", "text")
    assert error.value.filename == str(tmp_path / "f.json") and not list(tmp_path.iterdir())
