"""The counts of a hand-made corpus."""

from iron_question import IRON

from tinyllm_jax.corpus.judging import quality, statistics
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.tasks.question import Question


def test_statistics():
    questions = [
        IRON,
        Question("2", "t", "train", "", "What do  magnets ATTRACT?", IRON.choices[::-1], "3 cats"),
        Question("3", "t", "train", "", "Another?", ("x", "y"), "x"),
    ]
    texts = ["Steel nails.", "steel  NAILS.", ""]
    rows = [
        Row(
            question,
            {
                "m": Rationale(
                    text, "m", weight=float(bool(text)), flags=quality.flags_of(text, question)
                )
            },
        )
        for question, text in zip(questions, texts, strict=True)
    ]
    rows = statistics.mark_duplicates(rows)
    assert [row.rationales["m"].flags for row in rows] == [(), ("duplicate",), ("empty",)]
    counts = statistics.statistics({"train": rows, "test": [Row(IRON, {})]}, ["m"])
    assert counts["overlap"] == {"train/test": 1}
    assert counts["splits"]["train"] == {
        "questions": 3,
        "duplicate_questions": 1,
        "teachers": {
            "m": {
                "rationales": 3,
                "missing": 0,
                "sound": 1,
                "stated": 0,
                "zero_weight": 1,
                "mean_words": 1.3,
                "empty": 1,
                "unterminated": 0,
                "echo": 0,
                "contradicts": 0,
                "duplicate": 1,
                "no_new_word": 0,
                "repetition": 0,
                "off_topic": 0,
                "other_language": 0,
                "mojibake": 0,
                "refusal": 0,
                "error_message": 0,
                "copied": 0,
                "truncated": 0,
            }
        },
    }
    assert counts["splits"]["test"]["teachers"]["m"]["missing"] == 1
