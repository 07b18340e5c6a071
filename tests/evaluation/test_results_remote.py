"""An evaluation's files in an object store."""

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import results
from tinyllm_jax.evaluation.results import Prediction, Result


def test_results_and_predictions_round_trip(bucket):
    prediction = Prediction(
        *("q\u2028", "key", 0, (-1.5, -2.0), (3, 4), 0, 1, 0.5, 0.0, "a é"),
        *(True, True, False, False),
    )
    result = Result("things", "test", (prediction,), 0.5, None, {"cut": 0}, 2.0, 7)
    results.write("gs://bucket/run/evaluation/test-7", result)
    assert results.read("gs://bucket/run/evaluation/test-7") == result
    with pytest.raises(UserError, match="cannot read the results in gs://bucket/absent"):
        results.read("gs://bucket/absent")


def test_texts_are_written(bucket):
    results.write_texts("gs://bucket/out.jsonl", "answer", [("q1", "a ﬁg")])
    line = '{"id": "q1", "target": "answer", "text": "a ﬁg"}\n'
    assert (bucket / "out.jsonl").read_bytes() == line.encode()
