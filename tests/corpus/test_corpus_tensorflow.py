"""TensorFlow reads our corpora: a cross-check of the format, in a process of its own."""

import importlib.util
import json
import subprocess
import sys

import pytest
from small_corpus import ROWS, TEACHERS

READ = """
import json, sys, numpy as np, tensorflow as tf, tensorflow_datasets as tfds
directory, split = sys.argv[1:]
def plain(value):
    if isinstance(value, dict): return {name: plain(part) for name, part in value.items()}
    if isinstance(value, bytes): return value.decode()
    if isinstance(value, np.ndarray): return [plain(part) for part in value]
    return value.item()
builder = tfds.builder_from_directory(directory)
rows = [plain(row) for row in tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False))]
files = [str(path) for path in builder.info.splits[split].filepaths]
id_only = {"id": tf.io.FixedLenFeature([], tf.string)}
ids = [tf.io.parse_single_example(record, id_only)["id"].numpy().decode()
       for record in tf.data.TFRecordDataset(files)]
print(json.dumps({"rows": rows, "ids": ids, "count": builder.info.splits[split].num_examples,
                  "splits": sorted(builder.info.splits)}))
"""

COLUMN = (
    "text",
    "model",
    "revision",
    "prompt_hash",
    "sampling",
    "forced",
    "finish_reason",
    "tokens",
    "weight",
)


def _expected(row):
    """What TensorFlow should say of a row: spelled out here, not taken from the codec."""
    question = row.question
    expected = {
        name: getattr(question, name) for name in ("id", "task", "context", "question", "answer")
    }
    expected |= {"choices": list(question.choices), "rationales": {}}
    for teacher in TEACHERS:
        rationale = row.rationales.get(teacher)
        column = {"present": rationale is not None}
        if rationale:
            column |= {name: getattr(rationale, name) for name in COLUMN} | {
                "flags": list(rationale.flags),
                "votes": list(rationale.votes),
            }
        expected["rationales"][teacher] = column
    return expected


@pytest.mark.skipif(
    not importlib.util.find_spec("tensorflow"),
    reason="tensorflow is not installed (the 'tf' extra)",
)
def test_tensorflow_reads_every_field_equal(corpus_dir):
    done = subprocess.run(
        [sys.executable, "-c", READ, corpus_dir, "train"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    read = json.loads(done.stdout.splitlines()[-1])
    assert read["count"] == len(ROWS["train"]) and read["splits"] == ["train", "validation"]
    assert read["ids"] == [row.question.id for row in ROWS["train"]]
    for expected, row in zip(map(_expected, ROWS["train"]), read["rows"], strict=True):
        for teacher, column in expected["rationales"].items():
            if not column["present"]:
                row["rationales"][teacher] = {"present": row["rationales"][teacher]["present"]}
        assert row == expected
