"""An object store without a network: gs:// through fsspec, with its files in memory."""

import pytest
from etils import epath
from etils.epath import backend, gpath
from fsspec.implementations.memory import MemoryFileSystem


class MemoryBucket(MemoryFileSystem):
    """What gcsfs is, without Google: files by gs:// address."""

    protocol = ("gs", "gcs")

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("gs://"))


@pytest.fixture
def bucket(monkeypatch):
    """An empty bucket; epath reaches it as it does a real one without TensorFlow."""
    monkeypatch.setattr(MemoryBucket, "store", {})
    monkeypatch.setattr(MemoryBucket, "pseudo_dirs", ["", "/bucket"])
    monkeypatch.setattr(gpath, "_is_tf_installed", lambda: False)
    monkeypatch.setattr(
        backend._FileSystemSpecBackend, "_get_filesystem", lambda self, name: MemoryBucket()
    )
    return epath.Path("gs://bucket")
