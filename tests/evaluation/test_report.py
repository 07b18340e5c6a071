"""The table and the page: what they say, that no text becomes markup, and the files."""

import dataclasses
import html.parser
import json
import re

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import page, report, results, stats
from tinyllm_jax.pages import ENVIRONMENT, charts
from tinyllm_jax.tasks import Question

DRAW = ENVIRONMENT.get_template("charts.svg").module
EVIL = "<script>alert('x')</script><img src=x onerror=\"alert(1)\"> & 'quoted'"


def questions(n: int = 40) -> list[Question]:
    return [
        Question(
            f"q{i}",
            "things",
            "validation",
            "",
            f"Question {i}?",
            ("w", "x", "y", "z"),
            "wxyz"[i % 4],
        )
        for i in range(n)
    ]


def result(
    right: set[int], n: int = 40, written: str = "w", matched: set[int] | None = None
) -> results.Result:
    asked = questions(n)
    matched = right if matched is None else matched
    predictions = []
    for i, question in enumerate(asked):
        choice = question.gold if i in right else (question.gold + 1) % 4
        predictions.append(
            results.Prediction(
                question.id,
                question.key,
                question.gold,
                (-1.0, -2.0, -3.0, -4.0),
                (2, 2, 2, 3),
                choice,
                choice,
                float(choice == question.gold),
                float(choice == question.gold),
                written,
                i in matched,
                i in matched,
                False,
                False,
            )
        )
    return results.Result(
        "things",
        "validation",
        tuple(predictions),
        0.25,
        stats.majority(asked, asked),
        {"inputs_cut": 0, "answers_unfinished": 2},
        2.0,
        100,
    )


def pair(first: set[int], second: set[int]) -> list[report.StudentReport]:
    return [
        report.StudentReport("multi-teacher student", result(first)),
        report.StudentReport("answers-only student", result(second)),
    ]


class Reader(html.parser.HTMLParser):
    """Collects a page's tags, attributes and text, and that every tag is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag != "meta":
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.texts.append(data)


def test_headline_ahead_and_distinguishable():
    sentence = report.verdict(pair(set(range(30)), set(range(10))))[0]
    assert "multi-teacher student is ahead of the answers-only student by 50.0 points" in sentence
    assert "75.0 % against 25.0 % of 40 validation questions" in sentence
    assert "more than chance explains: p < 0.001" in sentence


def test_headline_names_whoever_wins():
    sentence = report.verdict(pair(set(range(10)), set(range(30))))[0]
    assert sentence.startswith("The answers-only student is ahead of the multi-teacher student")


def test_headline_not_distinguishable():
    sentence = report.verdict(pair(set(range(21)), set(range(1, 20))))[
        0
    ]  # 2 against 0 questions: p = 0.5
    assert "ahead of the answers-only student by 5.0 points" in sentence
    assert "not distinguishable on these questions: p = 0.50" in sentence


def test_headline_level_and_unpaired():
    assert "are level" in report.verdict(pair({0, 1}, {2, 3}))[0]
    students = pair({0}, {1})
    other = dataclasses.replace(students[1], result=result({1}, n=20))
    assert "cannot be compared" in report.verdict([students[0], other])[0]
    assert report.comparisons([students[0], other]) == []


def test_results_are_paired_by_what_was_asked():
    first, second = pair({0, 1}, {2})
    order = second.result.predictions[::-1]
    other = dataclasses.replace(second.result, predictions=order)
    test = first.result.against(other, "likelihood")
    assert (test.first_only, test.second_only) == (2, 1) and test.points == 2.5

    # The same ids, and other questions.
    strange = tuple(dataclasses.replace(p, key=f"other {p.key}") for p in order)
    assert (
        first.result.against(dataclasses.replace(other, predictions=strange), "likelihood") is None
    )

    # A question that is asked twice is paired twice, and never with one that is asked once.
    twice = dataclasses.replace(first.result, predictions=(*first.result.predictions, order[-1]))
    assert twice.against(twice, "likelihood").n == 41
    assert twice.against(first.result, "likelihood") is None


def test_ties_are_told_and_count_in_part():
    made = result({0, 1})
    tied = dataclasses.replace(made.predictions[5], likelihood_credit=0.25)
    made = dataclasses.replace(
        made, predictions=(*made.predictions[:5], tied, *made.predictions[6:]), counts={"ties": 1}
    )
    assert made.accuracy("likelihood").correct == 2.25
    first, second = report.StudentReport("A", made), report.StudentReport("B", result({0, 1}))
    said = report.verdict([first, second])
    assert "A is ahead of B by 0.6 points" in said[0] and "p = 1.00" in said[0]
    assert "A finds several choices equally likely in 1 of 40 questions" in said[-1]
    assert "equally likely" not in " ".join(report.verdict([second]))
    assert said[-1] in report.table([first, second])
    assert "ties 1" in report.table([first, second])


def test_a_baseline_is_shown_once_unless_the_questions_differ():
    students = pair({0}, {1})
    lines = report.table(students).splitlines()
    assert sum(line.startswith("chance") for line in lines) == 1
    assert sum(line.startswith("always w") for line in lines) == 1
    other = dataclasses.replace(students[1], result=result({1}, n=20))
    text = report.table([students[0], other])
    assert re.findall(r"(?m)^(?:chance|always w) +\d+", text) == [
        *("chance                 40", "always w               40"),
        *("chance                 20", "always w               20"),
    ]


def test_dissenting_metric_is_told():
    first = report.StudentReport("A", result(set(range(20)), matched=set()))
    second = report.StudentReport("B", result(set(range(18)), matched=set(range(5))))
    assert "By exact match, B is ahead (12.5 % against 0.0 %)." in report.verdict([first, second])


@pytest.mark.parametrize(
    "right, words", [(30, "clearly better"), (12, "not clearly better"), (0, "worse")]
)
def test_baselines_are_told(right, words):
    sentence = report.verdict([report.StudentReport("A", result(set(range(right))))])[-1]
    assert f"is {words} than knowing nothing" in sentence
    assert (
        "picking at random gives 25.0 %" in sentence
        and "always answering w gives 25.0 %" in sentence
    )


def test_table_is_aligned_and_whole():
    text = report.table(pair(set(range(30)), set(range(10))))
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if "likelihood" in line)
    at = lines[head].index("exact match")
    assert lines[head + 1].startswith("multi-teacher student") and lines[head + 1][at:].startswith(
        "75.0 ["
    )
    assert lines[head + 3].startswith("chance") and lines[head + 3][at:].startswith("25.0")
    assert lines[head + 4].startswith("always w")
    assert "answers unfinished 2" in text and "20.0 questions/s" in text


@pytest.mark.parametrize(
    "students, message",
    [
        ([], "at least one"),
        (pair({1}, {2})[:1] * 2, "name of its own"),
        (
            [
                pair({1}, {2})[0],
                report.StudentReport("B", dataclasses.replace(result({1}), split="test")),
            ],
            "one task and split",
        ),
    ],
)
def test_unreportable(students, message):
    for make in (report.table, lambda s: page.html_page("t", s)):
        with pytest.raises(UserError, match=message):
            make(students)


def evil_page() -> str:
    asked = questions(1)[0]
    evil = dataclasses.replace(
        asked, question=EVIL, context=EVIL, choices=(EVIL, "x", "y", "z"), answer=EVIL
    )
    rows = [
        {"step": 1, "loss": 2.0, "terms": {EVIL: 2.0}},
        {"step": 2, "validation_accuracy": 0.5, "validation_terms": {EVIL: 1.0}},
    ]
    found = dataclasses.replace(
        result({0}, written=EVIL),
        task=EVIL,
        counts={EVIL: 1},
        majority=stats.Majority("text", EVIL, stats.Accuracy(1, 40)),
    )
    students = [
        report.StudentReport(EVIL, found, rows, about=EVIL),
        report.StudentReport("B", found),
    ]
    return page.html_page(EVIL, students, [report.Sample(evil, {EVIL: {EVIL: EVIL}})], EVIL)


def test_no_text_becomes_markup():
    text = evil_page()
    read = Reader(text)
    assert not {"script", "img"} & set(read.tags)
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert not [
        value for name, value in read.attributes if name in ("src", "href", "srcset", "style")
    ]
    assert "".join(read.texts).count(EVIL) > 10  # it is there, to be read
    assert read.open == []


def test_page_is_self_contained():
    text = evil_page()
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    assert ("content", policy) in Reader(text).attributes
    assert not re.search(r"https?:|@import|url\(", text)
    assert "prefers-color-scheme: dark" in text


def test_page_says_what_the_table_says():
    students = [
        dataclasses.replace(
            s, metrics=[{"step": 10, "loss": 1.5}, {"step": 20, "validation_accuracy": 0.5}]
        )
        for s in pair(set(range(30)), set(range(10)))
    ]
    asked = questions()[35]
    shown = report.Sample(asked, {"multi-teacher student": {"stepwise": "Because it follows."}})
    text = page.html_page("Report", students, [shown], "One seed.")
    words = " ".join("".join(Reader(text).texts).split())
    assert report.verdict(students)[0] in words
    for part in (
        "[59.8, 85.8]",
        "Because it follows.",
        "Rationale as stepwise",
        "One seed.",
        "+50.0",
        "p < 0.001",
    ):
        assert part in words, part
    assert text.count('class="chart"') == 2 and text.count('class="bar"') == 8


def test_page_draws_each_term_on_validation_questions_in_the_students_colours():
    learn = {
        "A": ["answer"],
        "B": ["answer", "one"],
        "C": ["answer", "two"],
        "D": ["answer", "one", "two"],
    }
    students = [
        report.StudentReport(
            name, result({1}), [{"step": 10, "validation_terms": dict.fromkeys(terms, 0.5)}]
        )
        for name, terms in learn.items()
    ]
    text = page.html_page("Report", students)
    figures = dict(re.findall(r"<figcaption>(.*?)</figcaption>(.*?)</figure>", text, re.DOTALL))
    assert list(figures) == [
        f"Loss of {term} on validation questions" for term in ("answer", "one", "two")
    ]
    for term, drawn in (("one", {1: "B", 3: "D"}), ("two", {2: "C", 3: "D"})):
        figure = figures[f"Loss of {term} on validation questions"]
        assert re.findall(r'polyline class="line s(\d)"', figure) == [str(i) for i in drawn]
        legend = re.findall(r'<li>.*?class="line s(\d)".*?</svg>(\w)</li>', figure)
        assert legend == [(str(i), name) for i, name in drawn.items()]


def test_table_tests_every_pair_of_more_than_two():
    first, second = pair(set(range(30)), set(range(10)))
    third = report.StudentReport("third student", result(set(range(28))))
    text = report.table([first, second, third])
    assert "  multi-teacher student against answers-only student: +50.0 points, p < 0.001" in text
    assert "  multi-teacher student against third student: +5.0 points, p = 0.50" in text
    assert "  answers-only student against third student: -45.0 points, p < 0.001" in text
    assert "against answers-only student" not in report.table([first, second])


def test_page_of_one_student_without_training():
    text = page.html_page("Report", [report.StudentReport("A", result({1}))])
    assert "Pair by pair" not in text and "Training<" not in text and Reader(text).open == []


def test_curves_leave_out_what_is_not_finite():
    points = [(1, 2.0), (2, float("nan")), (3, float("inf")), (4, 1.0)]
    drawn = DRAW.chart(charts.curves({"A": points}))
    assert "nan" not in drawn and "inf" not in drawn and drawn.count("<circle") == 2
    assert charts.curves({"A": [(1, float("nan"))], "B": []}) is None


def test_long_curves_are_averaged_not_dropped():
    points = [(i, float(i % 2)) for i in range(1000)]
    drawn = DRAW.chart(charts.curves({"A": points}))
    ys = {
        pair.split(",")[1]
        for pair in re.search(r'polyline class="line s0" points="([^"]*)"', drawn)[1].split()
    }
    assert (
        len(ys) <= 2
    )  # each fifth of ten alternating values is 0.4 or 0.6, never the 0 or 1 of a picked one


@pytest.mark.parametrize(
    "low, high, expected",
    [
        (0, 10, [0, 2, 4, 6, 8, 10]),
        (0, 2000, [0, 500, 1000, 1500, 2000]),
        (0, 0, [0, 0.2]),
        (0.3, 0.3, None),
        (0, 1e-9, None),
    ],
)
def test_ticks_cover_the_range(low, high, expected):
    found = charts.ticks(low, high)
    assert found[0] <= low + 1e-12 and found[-1] >= high * (1 - 1e-9) and 2 <= len(found) <= 7
    if expected:
        assert found == pytest.approx(expected)


def test_files_round_trip(tmp_path):
    made = dataclasses.replace(result({1, 2, 3}, written="line\u2028separator\nü"), majority=None)
    results.write(tmp_path / "new" / "dir", made)
    assert results.read(tmp_path / "new" / "dir") == made
    numbers = json.loads((tmp_path / "new" / "dir" / "results.json").read_text())
    assert numbers["n"] == 40 and numbers["step"] == 100 and numbers["majority"] is None
    assert numbers["metrics"]["likelihood"]["accuracy"] == 3 / 40
    assert numbers["metrics"]["likelihood"]["low"] == stats.wilson(3, 40)[0]
    assert numbers["questions_per_second"] == 20.0
    lines = (tmp_path / "new" / "dir" / "predictions.jsonl").read_text(encoding="utf-8").split("\n")
    assert len(lines) == 41 and json.loads(lines[0])["id"] == "q0"
    assert sorted(p.name for p in (tmp_path / "new" / "dir").iterdir()) == [
        "predictions.jsonl",
        "results.json",
    ]


def test_every_input_of_an_evaluation_is_in_its_name():
    inputs = ("validation", "0123456789", 20, 64, 100)
    name = results.directory_name(*inputs)
    assert name == "validation-01234567-20questions-64tokens-100"
    for place, other in enumerate(("test", "1123456789", 3, 8, 50)):
        changed = (*inputs[:place], other, *inputs[place + 1 :])
        assert results.directory_name(*changed) != name


def test_results_of_older_versions_are_read(tmp_path):
    results.write(tmp_path, result({1, 2}))
    rows = [json.loads(line) for line in (tmp_path / "predictions.jsonl").read_text().splitlines()]
    for row in rows:
        del row["key"], row["likelihood_credit"], row["likelihood_per_token_credit"]
    (tmp_path / "predictions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = results.read(tmp_path)
    assert found.accuracy("likelihood") == stats.Accuracy(2, 40)
    assert found.against(found, "likelihood").n == 40


def test_damaged_files_are_one_line(tmp_path):
    with pytest.raises(UserError, match="run `tinyllm evaluate` first"):
        results.read(tmp_path)
    results.write(tmp_path, result({1}))
    lines = (tmp_path / "predictions.jsonl").read_text().splitlines(keepends=True)
    for damage in ("".join(lines[:-1]), lines[0][:20], "{}\n" * 40, "[]\n" * 40):
        (tmp_path / "predictions.jsonl").write_text(damage)
        with pytest.raises(UserError, match="damaged") as error:
            results.read(tmp_path)
        assert "\n" not in str(error.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="another directory"):
        results.write(tmp_path / "file" / "under", result({1}))
