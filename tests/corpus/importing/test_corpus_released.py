"""Importing the authors' files: hand-made ones with every kind of fault, and the real ones."""

import json

import pytest

from tinyllm_jax.corpus import verify
from tinyllm_jax.corpus.importing.released import LLAMA, T5, import_released
from tinyllm_jax.corpus.showing.inspect import inspect
from tinyllm_jax.corpus.showing.report import format_report
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError

CHOICES = ["red", "green", "blue"]


def question(index, text=None, answer=1, choices=CHOICES):
    return {
        "id": f"q{index}",
        "question": text or f"Which colour is number {index}?",
        "choices": choices,
        "answer": choices[answer],
    }


def entry(
    row,
    head="It is like grass. Thus, the answer is (b) green",
    llama="Let's think step by step.\nGrass is so.",
):
    """A row's text in the authors' format."""
    choices = "\n".join(
        f"({'abcde'[index]}) {choice}" for index, choice in enumerate(row["choices"])
    )
    tail = "" if llama is None else f" llama rationale: {llama}"
    return f"{head}\n\nQ: {row['question']}\nAnswer Choices:\n{choices}{tail}"


@pytest.fixture
def make(tmp_path):
    """make(questions, [file, …]) imports them as the train split of "obqa".

    A file is a list of entries, or its text.

    Returns (rows, report).
    """

    def run(questions, *files):
        folder = tmp_path / "in" / "obqa"
        (folder / "llm").mkdir(parents=True)
        (folder / "obqa_train.json").write_text(json.dumps(questions))
        for number, content in enumerate(files):
            if content is not None:
                text = content if isinstance(content, str) else json.dumps(content)
                (folder / "llm" / f"train_CoT_{number}.json").write_text(text)
        manifest = import_released(tmp_path / "in", "obqa", tmp_path / "out")
        verify.verify(tmp_path / "out")
        return Corpus(tmp_path / "out", "obqa").rows("train"), manifest.report

    return run


def texts(rows, teacher):
    return [row.rationales[teacher].text if teacher in row.rationales else None for row in rows]


def test_clean_rows(make):
    rows, report = make(
        [question(0), question(1)], [entry(question(0))], [entry(question(1), llama=" \n A.\nB.  ")]
    )
    assert texts(rows, T5) == ["It is like grass."] * 2
    assert texts(rows, LLAMA) == ["Grass is so.", "A.\nB."]
    assert report["problems"] == []
    assert report["repairs"][f"stated answer cut off {T5}'s rationale"] == 2
    assert report["repairs"][f"end of the prompt cut off {LLAMA}'s rationale"] == 1


def test_rows_are_joined_by_content_not_by_order(make):
    questions = [question(index) for index in range(4)]
    shuffled = [questions[index] for index in (2, 0, 3, 1)]
    rows, report = make(
        questions,
        [entry(row, head=f"Of {row['id']}. Thus, the answer is (b) green") for row in shuffled],
    )
    assert texts(rows, T5) == [f"Of q{index}." for index in range(4)]
    assert [line.split(":")[:3] for line in report["problems"]] == [
        ["obqa/llm/train_CoT_0.json", f" entry {index}", " misaligned"] for index in range(4)
    ]


def test_a_shift_is_one_line(make):
    questions = [question(index) for index in range(6)]
    rows, report = make(questions, [entry(row) for row in questions[2:]])
    assert texts(rows, T5) == [None, None] + ["It is like grass."] * 4
    assert report["problems"] == [
        "obqa/llm/train_CoT_0.json: entry 0: misaligned: from here entries belong +2 rows from "
        "where they stand; this one to row 2; joined by content"
    ]
    assert report["repairs"]["rows joined across a misalignment"] == 4
    assert report["splits"]["train"]["teachers"][T5]["missing"] == 2


def test_white_space_differences_do_not_matter(make):
    row = question(0, text="Which  colour\nis it ?")
    rows, report = make(
        [row],
        [entry(row).replace("Which  colour\nis", "Which colour  is").replace("\n(b)", "  (b)")],
    )
    assert texts(rows, LLAMA) == ["Grass is so."] and report["problems"] == []


def test_the_end_of_the_prompt_after_the_question(make):
    rows, report = make(
        [question(0)],
        [entry(question(0)).replace(" llama", "\nA: Let's think step by step. llama")],
    )
    assert texts(rows, T5) == ["It is like grass."]
    assert report["repairs"]["end of the prompt cut off the question"] == 1


def test_a_question_that_holds_the_markers(make):
    text = 'Ann says "Thus, the answer is\n\nQ: blue llama rationale: no". What is it?'
    rows, report = make([question(0, text=text)], [entry(question(0, text=text))])
    assert texts(rows, T5) == ["It is like grass."] and texts(rows, LLAMA) == ["Grass is so."]
    assert report["problems"] == []


def test_an_empty_cell_is_a_missing_rationale(make):
    empty = entry(question(0), head="nan Thus, the answer is (b) green", llama="nan")
    rows, report = make([question(0), question(1)], [empty, entry(question(1))])
    assert texts(rows, T5) == [None, "It is like grass."] and texts(rows, LLAMA) == [
        None,
        "Grass is so.",
    ]
    assert report["repairs"]["'nan' taken for a missing rationale"] == 2


def test_markers_in_llamas_text_are_its_own(make):
    llama = (
        "So.\n\nQ: Which is a bird?\nAnswer Choices:\n"
        "(a) cat llama rationale: Thus, the answer is (a)"
    )
    rows, report = make([question(0)], [entry(question(0), llama=llama)])
    assert texts(rows, LLAMA) == [llama] and report["problems"] == []


def test_the_end_of_the_prompt_is_cut_off_every_teachers_rationale(make):
    heads = [
        "Let's think step by step. It is like grass. Thus, the answer is (b) green",
        "Let's think step by step. Thus, the answer is (b) green",
        "Let's think of grass. Thus, the answer is (b) green",
    ]
    questions = [question(index) for index in range(3)]
    rows, report = make(
        questions, [entry(row, head) for row, head in zip(questions, heads, strict=True)]
    )
    assert texts(rows, T5) == ["It is like grass.", "", "Let's think of grass."]
    assert rows[1].rationales[T5].flags == ("empty",)
    assert report["repairs"][f"end of the prompt cut off {T5}'s rationale"] == 2
    assert report["repairs"][f"end of the prompt cut off {LLAMA}'s rationale"] == 3
    assert "end of the prompt cut off flan-t5-xl's rationale 2" in format_report(report)


@pytest.mark.parametrize("llama", ["Let's think step by step.", "Let's think", ""])
def test_an_empty_rationale_has_no_weight(make, llama):
    rows, report = make([question(0)], [entry(question(0), llama=llama)])
    assert rows[0].rationales[LLAMA].text == "" and rows[0].rationales[LLAMA].weight == 0
    assert report["splits"]["train"]["teachers"][LLAMA]["empty"] == 1
    assert rows[0].rationales[T5].weight == 1


@pytest.mark.parametrize(
    "bad, message",
    [
        (
            entry(question(0), head="It is green."),
            'malformed: 0 times "Thus, the answer is" before the question',
        ),
        (
            entry(question(0), head="A. Thus, the answer is (a) b. Thus, the answer is (b) green"),
            "malformed: 2 times",
        ),
    ],
)
def test_a_malformed_t5_part_does_not_cost_llamas(make, bad, message):
    rows, report = make([question(0), question(1)], [bad, entry(question(1))])
    assert texts(rows, T5) == [None, "It is like grass."]
    assert texts(rows, LLAMA) == ["Grass is so."] * 2
    assert len(report["problems"]) == 1
    assert report["problems"][0].startswith(f"obqa/llm/train_CoT_0.json: entry 0: {message}")


@pytest.mark.parametrize(
    "bad, message",
    [
        ("It is green. Thus, the answer is (b) green", 'malformed: no "Q:" part'),
        ("", 'malformed: no "Q:" part'),
        (entry(question(7)), "unmatched"),
        (entry(question(0)).replace("(c) blue", "(c) black"), "unmatched"),
        (None, "not a text: 'None'"),
        ({"text": 1}, "not a text"),
        ("half \ud800", "not valid Unicode"),
        (entry(question(1)), "a second entry for row 1"),
        (
            entry(question(1)) + "\n\nQ: " + entry(question(0)).split("Q: ")[1].split(" llama")[0],
            "ambiguous: 2 parts",
        ),
    ],
)
def test_an_entry_that_is_left_out(make, bad, message):
    rows, report = make([question(0), question(1)], [entry(question(0)), entry(question(1)), bad])
    assert texts(rows, T5) == ["It is like grass."] * 2
    assert len(report["problems"]) == 1
    assert report["problems"][0].startswith(f"obqa/llm/train_CoT_0.json: entry 2: {message}")


@pytest.mark.parametrize(
    "content, message",
    [
        ('["cut', "train_CoT_1.json: not readable as JSON"),
        ("[" * 100_000, "train_CoT_1.json: not readable as JSON"),
        ('{"a": 1}', "train_CoT_1.json: not a JSON list"),
        (None, "train_CoT_1.json: no such file"),
    ],
)
def test_a_file_that_is_left_out(make, content, message):
    rows, report = make(
        [question(0), question(1)], [entry(question(0))], content, [entry(question(1))]
    )
    assert texts(rows, T5) == ["It is like grass."] * 2
    assert [line for line in report["problems"] if message in line] == report["problems"]


def test_question_rows_that_are_left_out(make):
    rows, report = make(
        [question(0), {"id": "x"}, question(2) | {"answer": "black"}], [entry(question(0))]
    )
    assert [row.question.id for row in rows] == ["q0"]
    assert [line.split(":")[:2] for line in report["problems"]] == [
        ["obqa/obqa_train.json", " row 1"],
        ["obqa/obqa_train.json", " row 2"],
    ]


def test_equal_questions_take_their_entries_in_order(make):
    twice = [question(0), question(1, text=question(0)["question"])]
    heads = ["One. Thus, the answer is (b) green", "Two. Thus, the answer is (b) green"]
    rows, report = make(twice, [entry(twice[0], head=head) for head in heads])
    assert texts(rows, T5) == ["One.", "Two."] and report["problems"] == []
    assert report["splits"]["train"]["duplicate_questions"] == 1


def test_equal_questions_with_different_answers_go_by_the_stated_one(make):
    twice = [question(0, answer=0), question(1, text=question(0)["question"], answer=2)]
    heads = [
        "C. Thus, the answer is (c) blue",
        "A. Thus, the answer is (a) red",
        "B. Thus, the answer is (b) green",
    ]
    rows, report = make(twice, [entry(twice[0], head=head) for head in heads])
    assert texts(rows, T5) == ["A.", "C."]
    assert "entry 2: ambiguous" in report["problems"][-1]


def test_a_stated_answer_against_gold(make):
    rows, report = make(
        [question(0), question(1)],
        [
            entry(question(0), head="So. Thus, the answer is (a) red"),
            entry(question(1), head="So. Thus, the answer is black"),
        ],
    )
    assert (
        "contradicts" in rows[0].rationales[T5].flags
        and "contradicts" not in rows[1].rationales[T5].flags
    )
    assert report["problems"] == [
        "obqa/llm/train_CoT_0.json: entry 1: the answer that flan-t5-xl states is none of the "
        "choices: 'black'"
    ]


def test_absent_files(make, tmp_path):
    with pytest.raises(UserError, match="no rationale of any question"):
        make([question(0)])
    with pytest.raises(UserError, match="did you mean 'obqa'"):
        import_released(tmp_path / "in", "obq", tmp_path / "out")
    with pytest.raises(UserError, match="no released questions of task 'obqa'"):
        import_released(tmp_path / "absent", "obqa", tmp_path / "out")
    assert not (tmp_path / "out").exists()


# Rows of the released question files.
REAL = {
    "obqa": {"train": 4957, "validation": 500, "test": 500},
    "arc": {"train": 1117, "validation": 295, "test": 1165},
    "pubmedqa": {"train": 500, "validation": 100, "test": 400},
    "piqa": {"train": 16113, "validation": 919, "test": 919},
}


def _by_splitting(released, task, split):
    """The rationales in file order, as the authors' own code reads them: a second opinion."""
    short = {"validation": "valid"}.get(split, split)
    files = sorted(
        (released / task / "llm").glob(f"{short}_CoT_*.json"),
        key=lambda path: int(path.stem.split("_")[-1]),
    )
    entries = [entry for file in files for entry in json.loads(file.read_text())]
    opening = "Let's think step by step."
    for entry_text in entries:
        head, _, tail = entry_text.partition("\n\nQ:")
        llama = (
            tail.split("llama rationale: ", 1)[1].strip() if "llama rationale: " in tail else None
        )
        if llama is not None:
            llama = "" if opening.startswith(llama) else llama.removeprefix(opening).strip()
        t5 = head.split("Thus, the answer is")[0].strip().removeprefix(opening).strip()
        yield None if t5 == "nan" else t5, None if llama == "nan" else llama


@pytest.mark.parametrize("task", REAL)
def test_the_real_files(released_corpus, released, task):
    corpus = Corpus(released_corpus(task), task)
    report = corpus.manifest.report
    assert {split: counts["questions"] for split, counts in report["splits"].items()} == REAL[task]
    for split in corpus.splits:
        rows = corpus.rows(split)
        second = list(_by_splitting(released, task, split))
        assert texts(rows, T5) == [t5 for t5, _ in second]
        assert texts(rows, LLAMA) == [llama for _, llama in second]
        empty = sum(llama == "" for _, llama in second)
        assert report["splits"][split]["teachers"][LLAMA]["empty"] == empty
    absent = [
        f"piqa {split}: no rationale of {LLAMA} for any of {count} questions"
        for split, count in REAL["piqa"].items()
    ]
    assert report["problems"] == (absent if task == "piqa" else [])


def test_inspect_counts_anew_what_the_import_counted(released_corpus):
    arc = released_corpus("arc")
    report = Corpus(arc).manifest.report
    assert format_report(report) in inspect(arc)
    inspected = json.loads(inspect(arc, as_json=True, sample=1))
    assert inspected["report"] == report
    assert inspected["sample"]["train"][0]["question"]["id"] == "Mercury_SC_415702"


def test_the_real_flags(released_corpus):
    """OBQA against numbers that were found without this code.

    Published readings of the files say that 88 % are cut off and about a third echo the prompt.
    Patterns of further forms of it ("Q. Which", "# 13.", "Answer:" and a letter, …) find at most
    399 texts more in all splits. The equal questions were counted apart.
    """
    report = Corpus(released_corpus("obqa")).manifest.report
    llama = report["splits"]["train"]["teachers"][LLAMA]
    assert 0.85 < llama["unterminated"] / llama["rationales"] < 0.93
    assert 0.28 < llama["echo"] / llama["rationales"] < 0.36 + 399 / 5924
    assert report["overlap"] == {"train/validation": 7, "train/test": 14, "validation/test": 0}
    assert report["splits"]["train"]["duplicate_questions"] == 42
    assert report["splits"]["train"]["teachers"][T5]["contradicts"] == 0
