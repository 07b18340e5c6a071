"""A corpus as Parquet: every field comes back through `datasets`, and the card counts right."""

import datasets
import pytest
import small_corpus
import yaml
from small_corpus import ROWS, TEACHERS

from tinyllm_jax import cli
from tinyllm_jax.corpus.exporting.parquet import export
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import Question


def load(directory, tmp_path) -> datasets.DatasetDict:
    return datasets.load_dataset(str(directory), cache_dir=str(tmp_path / "cache"))


def row_of(record: dict, split: str) -> Row:
    """The row that a record was made from; its gold index is checked on the way."""
    rationales = {
        fields["teacher"]: Rationale(
            **fields | {name: tuple(fields[name]) for name in ("flags", "votes")}
        )
        for fields in record.pop("rationales")
    }
    index = record.pop("answer_index")
    question = Question(split=split, **record | {"choices": tuple(record["choices"])})
    assert question.choices[index] == question.answer
    return Row(question, rationales)


def test_every_field_comes_back(corpus_dir, tmp_path):
    assert export(corpus_dir, tmp_path / "out") == {"train": 23, "validation": 3}
    loaded = load(tmp_path / "out", tmp_path)
    assert list(loaded) == ["train", "validation"]  # `test` has no row
    for split, part in loaded.items():
        assert [row_of(record, split) for record in part] == ROWS[split]


def test_all_corpora_have_one_schema(corpus_dir, tmp_path):
    """Also one in which nobody wrote anything."""
    bare = [Row(row.question, {}) for row in ROWS["train"]]
    small_corpus.store.write_corpus(tmp_path / "bare", "obqa", (), {"train": bare}, {}, "a test")
    export(corpus_dir, tmp_path / "out")
    export(tmp_path / "bare", tmp_path / "none")
    both = [load(tmp_path / name, tmp_path)["train"] for name in ("out", "none")]
    assert both[0].features == both[1].features
    assert datasets.concatenate_datasets(both)[23]["rationales"] == []


def test_the_card_counts_and_escapes(tmp_path):
    source = "a | b\n# <script>alert(1)</script> **x**"
    manifest = small_corpus.store.write_corpus(
        tmp_path / "corpus", "obqa", TEACHERS, ROWS, {}, source
    )
    export(tmp_path / "corpus", tmp_path / "out")
    _, front, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    files = yaml.safe_load(front)["configs"][0]["data_files"]
    assert files[0] == {"split": "train", "path": "data/train-*.parquet"} and len(files) == 2
    lines = text.splitlines()
    head = lines.index(
        r"| split | questions | rationales of flan-t5-xl | rationales of teacher.b\_2 |"
    )
    wrote = [sum(teacher in row.rationales for row in ROWS["train"]) for teacher in TEACHERS]
    assert lines[head + 2] == f"| train | 23 | {wrote[0]} | {wrote[1]} |"
    assert manifest.fingerprint in text and "The split test is empty" in text
    assert r"- source: a \| b \# \<script\>alert(1)\</script\> \*\*x\*\*" in lines
    assert "- teacher flan-t5-xl: org/model" in lines


def test_the_same_corpus_gives_the_same_bytes(corpus_dir, tmp_path):
    export(corpus_dir, tmp_path / "one")
    export(corpus_dir, tmp_path / "two")
    files = [path for path in (tmp_path / "one").rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        other = tmp_path / "two" / path.relative_to(tmp_path / "one")
        assert path.read_bytes() == other.read_bytes()


def test_refusals_leave_nothing(corpus_dir, tmp_path, capsys):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="not an empty directory"):
        export(corpus_dir, tmp_path / "full")
    shard = corpus_dir / Corpus(corpus_dir).manifest.splits["train"][0].name
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(UserError, match="damaged file"):
        export(corpus_dir, tmp_path / "out")
    small_corpus.store.write_corpus(tmp_path / "none", "obqa", (), {"test": []}, {}, "a test")
    with pytest.raises(UserError, match="nothing to export"):
        export(tmp_path / "none", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(SystemExit):
        cli.main(["corpus", "export", "--corpus", "/nowhere", "--out", str(tmp_path / "out")])
    assert "no corpus at /nowhere" in capsys.readouterr().err


def test_the_command(corpus_dir, tmp_path, capsys):
    cli.main(["corpus", "export", "--corpus", str(corpus_dir), "--out", str(tmp_path / "out")])
    assert capsys.readouterr().out == f"wrote {tmp_path / 'out'}  train 23, validation 3 rows\n"
