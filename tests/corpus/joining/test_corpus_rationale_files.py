"""Files of rationales as columns of a corpus: the join, its counts, stated answers, real files."""

import dataclasses
import json
import re

import pytest
from small_logs import QUESTIONS, all_rows, contents, write_log

from tinyllm_jax import tasks
from tinyllm_jax.corpus.joining.build import build
from tinyllm_jax.corpus.showing.inspect import inspect
from tinyllm_jax.corpus.showing.page import html_page
from tinyllm_jax.corpus.showing.report import format_report
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError

TRAIN = QUESTIONS["train"]  # train1 asks "What is 1 + 1?": (a) 0, (b) 2
RELEASED_COUNTS = {  # rows, and agrees, disagrees, states none, cut off
    "openbookQA_chatgpt_level_1_ranked.json": (4956, [4938, 16, 2, 4944]),
    "obqa_gemini_level1_ranked.json": (4957, [4955, 1, 1, 4955]),
    "obqa_llama_level1_ranked.json": (4957, [4944, 4, 9, 4941]),
}


def of_id(question, text="We count up."):
    return {"id": question.id, "rationale": text}


def of_content(question, text="We count up.", **fields):
    return {
        "question": question.question,
        "choices": list(question.choices),
        "rationale": text,
        **fields,
    }


def instructed(question, text="We count up."):
    choices = [f"{letter}: {choice}" for letter, choice in zip("AB", question.choices, strict=True)]
    return {
        "instruction": f"Q: {question.question} Answer choices: {', '.join(choices)}",
        "output": text,
    }


def write(path, rows):
    path.write_text(json.dumps(rows))
    return path


def joined(tmp_path, rows, questions=QUESTIONS, policy="keep-all"):
    """The rationales of the train questions by id, and the summary of the file."""
    out = tmp_path / "out"
    file = write(tmp_path / "rows.json", rows)
    report = build("things", questions, [], out, policy=policy, rationales={"gpt-4.1": file}).report
    found = {
        row.question.id: row.rationales["gpt-4.1"]
        for row in Corpus(out).rows("train")
        if row.rationales
    }
    return found, report["rationales"][0]


def test_every_form_is_joined(tmp_path):
    rows = [
        of_id(TRAIN[0]),
        {**of_content(TRAIN[1]), "question": "what is  1 + 1?"},
        instructed(TRAIN[2], "It rises."),
        of_id(QUESTIONS["test"][0]),
    ]
    found, summary = joined(tmp_path, rows)
    assert list(found) == ["train0", "train1", "train2"]
    rationale = found["train2"]
    assert (rationale.text, rationale.model, rationale.finish_reason) == (
        "It rises.",
        "",
        "unknown",
    )
    assert (summary["rows"], summary["joined"], summary["left out"]) == (4, 4, {})
    splits = Corpus(tmp_path / "out").manifest.report["splits"]
    test = splits["test"]["teachers"]["gpt-4.1"]
    assert (test["rationales"], test["missing"]) == (1, 1)


def test_rows_that_do_not_join_are_counted_and_listed(tmp_path):
    wrong = [
        of_id(TRAIN[0], "Another."),
        of_id(dataclasses.replace(TRAIN[0], id="\x1b[2Jtrain9")),
        of_content(TRAIN[1], choices=["2", "0"]),
        of_content(TRAIN[4], split="test"),
        {"instruction": "Who\ud800?" + "?" * 100, "output": "Me."},
        of_id(TRAIN[1], None),
        of_id(TRAIN[1], "The answer is B"),
    ]
    found, summary = joined(tmp_path, [of_id(TRAIN[0]), *wrong])
    assert list(found) == ["train0"] and found["train0"].text == "We count up."
    assert summary["rows"] == 8 and summary["joined"] == 1
    assert summary["left out"] == {
        "a second row about its question: the first was kept": 1,
        "no question has its id": 1,
        "a question has its text, but other choices or another order of them": 1,
        "its question is in another split": 1,
        "its instruction is not valid Unicode: half of a surrogate pair": 1,
        "its rationale is not a text": 1,
        "its rationale is nothing but an answer": 1,
    }
    assert summary["first left out"] == [
        "row 2: a second row about its question: the first was kept: 'train0'",
        r"row 3: no question has its id: '\x1b[2Jtrain9'",
        "row 4: a question has its text, but other choices or another order of them: "
        "'What is 1 + 1?'",
        "row 5: its question is in another split: 'What is 4 + 1?'",
        r"row 6: its instruction is not valid Unicode: half of a surrogate pair: "
        rf"'Who\ud800{'?' * 76}'",
    ]
    text = inspect(tmp_path / "out")
    assert "rows that did not join: 7\n    1: a second row about its question" in text
    assert summary["first left out"][4] in text and "rows 8, joined 1;" in text
    assert all(line.isprintable() for line in text.split("\n"))
    assert "no question has its id" in html_page(Corpus(tmp_path / "out"))


def test_stated_answers_are_cut_off_and_compared_with_gold(tmp_path):
    rows = [
        of_id(TRAIN[0], "We count up. The answer is B"),
        instructed(TRAIN[1], "We count up. Therefore, the answer is (b) 2."),
        of_content(TRAIN[2], "We stay at nothing. The answer is A"),
        of_id(TRAIN[3], "We count up."),
        of_id(TRAIN[4], "Since we stay, the answer is (a)."),
    ]
    found, summary = joined(tmp_path, rows, policy="clean")
    assert [rationale.text for rationale in found.values()] == [
        "We count up.",
        "We count up.",
        "We stay at nothing.",
        "We count up.",
        "Since we stay, the answer is (a).",
    ]
    contradict = ["contradicts" in rationale.flags for rationale in found.values()]
    assert contradict == [False, False, True, False, True]
    assert (found["train2"].weight, found["train0"].weight) == (0, 1)
    votes = [rationale.votes for rationale in found.values()]
    assert votes == [(0, 1), (0, 1), (1, 0), (), (1, 0)]
    assert summary["stated answers"] == {
        "agrees": 2,
        "disagrees": 2,
        "states none": 1,
        "cut off": 3,
    }


def test_rows_of_equal_questions_go_to_one_after_the_other(tmp_path):
    again = dataclasses.replace(TRAIN[0], id="again", question="What is  0 + 1?")
    questions = {"train": [*TRAIN, again]}
    texts = ["One.", "Two.", "Three."]
    found, summary = joined(tmp_path, [of_content(TRAIN[0], text) for text in texts], questions)
    assert {id: one.text for id, one in found.items()} == {"train0": "One.", "again": "Two."}
    assert sum(summary["left out"].values()) == 1


def test_an_id_chooses_among_equal_questions(tmp_path):
    questions = {"train": [*TRAIN, dataclasses.replace(TRAIN[0], id="again")]}
    found, _ = joined(tmp_path, [of_content(TRAIN[0], id="again")], questions)
    assert list(found) == ["again"]


@pytest.mark.parametrize("row", [of_content(TRAIN[0]), instructed(TRAIN[0])])
def test_different_questions_that_fit_equally_are_ambiguous(tmp_path, row):
    other = dataclasses.replace(TRAIN[0], id="other", answer="0")
    _, summary = joined(tmp_path, [row, of_id(TRAIN[1])], {"train": [*TRAIN, other]})
    assert summary["left out"] == {"ambiguous: different questions fit equally": 1}


def test_an_id_in_two_splits_is_ambiguous_without_the_split(tmp_path):
    test = dataclasses.replace(QUESTIONS["test"][0], id="train0", question="What is one more?")
    questions = {"train": TRAIN, "test": [test]}
    rows = [of_id(TRAIN[0]), {**of_id(TRAIN[0]), "split": "train"}]
    found, summary = joined(tmp_path, rows, questions)
    assert list(found) == ["train0"]
    assert summary["left out"] == {"ambiguous: different questions fit equally": 1}


def test_beside_a_log_and_another_corpus(tmp_path):
    log = write_log(tmp_path / "log", all_rows())
    build("things", QUESTIONS, [write_log(tmp_path / "a", all_rows("a"))], tmp_path / "old")
    file = write(tmp_path / "rows.json", [of_id(question) for question in TRAIN])
    files = {"m": file, "l": file}
    for name, given in (("one", files), ("two", dict(reversed(files.items())))):
        corpora = [tmp_path / "old"]
        made = build("things", QUESTIONS, [log], tmp_path / name, corpora, rationales=given)
    assert list(made.teachers) == ["a", "b-teacher", "l", "m"]
    assert made.source == "rationale logs and files of rationales and other corpora"
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    assert str(tmp_path) not in str(made)


def test_where_the_file_lies_does_not_matter(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        file = write(tmp_path / name / "rows.json", [of_id(TRAIN[0])])
        build("things", QUESTIONS, [], tmp_path / name / "out", rationales={"m": file})
    assert contents(tmp_path / "one" / "out") == contents(tmp_path / "two" / "out")


def test_what_is_refused(tmp_path):
    file = write(tmp_path / "rows.json", [of_id(TRAIN[0])])
    log = write_log(tmp_path / "log", all_rows("m"))
    with pytest.raises(UserError, match="teacher 'm' is in .*/log and in .*/rows.json; leave one"):
        build("things", QUESTIONS, [log], tmp_path / "out", rationales={"m": file})
    with pytest.raises(UserError, match="teacher name 'GPT-4o': use lower-case letters"):
        build("things", QUESTIONS, [], tmp_path / "out", rationales={"GPT-4o": file})
    foreign = write(tmp_path / "foreign.json", [{"id": "x", "rationale": "y"}])
    with pytest.raises(
        UserError, match=r"no row of .*/foreign\.json joins .*row 1: no question has"
    ):
        build("things", QUESTIONS, [], tmp_path / "out", rationales={"l": file, "m": foreign})
    empty = write(tmp_path / "empty.json", [])
    with pytest.raises(
        UserError, match=r"no row of .*/empty\.json joins a question, for it has none"
    ):
        build("things", QUESTIONS, [], tmp_path / "out", rationales={"m": empty})
    assert not (tmp_path / "out").exists()


def test_control_characters_of_a_rationale_are_shown_as_escapes(tmp_path):
    joined(tmp_path, [of_id(TRAIN[0], "We\x1b[31m count\tup\u202e.")])
    text = inspect(tmp_path / "out")
    assert r"| We\x1b[31m count" in text and r"up\u202e." in text and "\x1b" not in text


def test_real_files(released, obqa_strong, tmp_path):
    """All rows of three teachers join, those of the five questions that occur twice as well."""
    questions = tasks.load("obqa", f"released:{released}")
    files = {f"t{index}": obqa_strong / name for index, name in enumerate(RELEASED_COUNTS)}
    report = build("obqa", questions, [], tmp_path / "out", rationales=files).report
    for summary, (rows, stated) in zip(report["rationales"], RELEASED_COUNTS.values(), strict=True):
        assert summary["rows"] == summary["joined"] == rows
        assert list(summary["stated answers"].values()) == stated
        train = report["splits"]["train"]["teachers"][summary["teacher"]]
        assert (train["missing"], train["contradicts"]) == (4957 - rows, stated[1])
    assert "rows 4,956, joined 4,956; the stated answer" in format_report(report)


def test_a_real_file_that_holds_nothing_but_answers(released, obqa_strong, tmp_path):
    questions = tasks.load("obqa", f"released:{released}")
    file = obqa_strong / "openbookQA_onlyans.json"
    message = re.escape(
        "openbookQA_onlyans.json joins a question; the first: row 1: its rationale is"
    )
    with pytest.raises(UserError, match=message):
        build("obqa", questions, [], tmp_path / "out", rationales={"gold": file})
