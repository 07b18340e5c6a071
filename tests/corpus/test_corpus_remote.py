"""A corpus, its logs and its page in an object store."""

import pytest
import small_corpus
from small_logs import QUESTIONS, all_rows, contents, write_log

from tinyllm_jax.corpus import store
from tinyllm_jax.corpus.joining.build import build
from tinyllm_jax.corpus.showing import page
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.corpus.verify import verify
from tinyllm_jax.errors import UserError


def test_a_remote_corpus_is_the_local_one(bucket, corpus_dir):
    manifest = small_corpus.write(bucket / "runs" / "corpus")
    assert contents(bucket / "runs" / "corpus") == contents(corpus_dir)
    assert [path.name for path in (bucket / "runs").iterdir()] == ["corpus"]  # nothing is left over
    assert verify("gs://bucket/runs/corpus") == manifest
    corpus = Corpus("gs://bucket/runs/corpus", task="obqa")
    assert {split: corpus.rows(split) for split in corpus.splits} == small_corpus.ROWS


def test_remote_logs_are_joined_with_remote_corpora(bucket, tmp_path):
    log = write_log(bucket / "logs" / "b.tfrecord", all_rows())
    log.write_bytes(log.read_bytes() + log.read_bytes()[:50])  # a torn last row
    build("things", QUESTIONS, [log], bucket / "one")
    more = write_log(tmp_path / "a.tfrecord", all_rows("a-teacher"))
    manifest = build("things", QUESTIONS, [more], "gs://bucket/two", ["gs://bucket/one"])
    assert list(manifest.teachers) == ["a-teacher", "b-teacher"]
    assert Corpus(bucket / "one").manifest.report["log"]["bytes of a torn last row"] == 50


def test_a_remote_file_of_rationales_is_joined(bucket, tmp_path):
    file = bucket / "rows.jsonl"
    file.write_text('{"id": "train0", "rationale": "We add."}')
    for name, given in (("one", "gs://bucket/rows.jsonl"), ("two", "gs://bucket")):
        build("things", QUESTIONS, [], tmp_path / name, rationales={"m": given})
        assert Corpus(tmp_path / name).rows("train")[0].rationales["m"].text == "We add."
    with pytest.raises(UserError, match="cannot read gs://bucket/absent.jsonl"):
        build(
            "things", QUESTIONS, [], tmp_path / "three", rationales={"m": bucket / "absent.jsonl"}
        )


def test_remote_damage_and_absence_are_reported(bucket):
    with pytest.raises(UserError, match="no corpus at gs://bucket/absent: no such directory"):
        Corpus("gs://bucket/absent")
    small_corpus.write(bucket / "corpus")
    with pytest.raises(UserError, match="gs://bucket/corpus exists and is not an empty directory"):
        small_corpus.write("gs://bucket/corpus")
    shard = bucket / "corpus" / Corpus(bucket / "corpus").manifest.splits["train"][0].name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match=f"damaged file {shard}: record .* the file ends inside it"):
        Corpus(bucket / "corpus").rows("train")
    shard.unlink()
    with pytest.raises(UserError, match=f"missing file {shard}"):
        verify(bucket / "corpus")


def test_a_failure_leaves_nothing_in_the_bucket(bucket, monkeypatch):
    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr(store, "_write_tfds_info", fail)
    with pytest.raises(UserError, match="cannot write gs://bucket/corpus: no room"):
        small_corpus.write(bucket / "corpus")
    assert list(bucket.iterdir()) == []


def test_the_page_of_a_remote_corpus_is_written_beside_it(bucket, corpus_dir):
    small_corpus.write(bucket / "corpus")
    page.write_page("gs://bucket/corpus", "gs://bucket/page.html")
    assert (bucket / "page.html").read_text() == page.html_page(Corpus(corpus_dir))
