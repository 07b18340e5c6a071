"""The small corpus on disk."""

import pytest
import small_corpus

from tinyllm_jax.corpus import store


@pytest.fixture
def corpus_dir(tmp_path, monkeypatch):
    """A freshly written small corpus of three train shards and one validation shard."""
    monkeypatch.setattr(store, "SHARD_BYTES", 12000)
    small_corpus.write(tmp_path / "corpus")
    return tmp_path / "corpus"
