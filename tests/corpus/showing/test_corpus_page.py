"""The page and the text report on a corpus: what they say, and that no text becomes markup."""

import html.parser
import json
import re

import pytest
import small_corpus
from small_logs import QUESTIONS, all_rows, log_row, unforced, write_log

from tinyllm_jax.corpus.joining.build import build
from tinyllm_jax.corpus.judging import quality
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.corpus.showing import page
from tinyllm_jax.corpus.showing.inspect import inspect
from tinyllm_jax.corpus.showing.report import format_report, origin, percent, verdict
from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.errors import UserError
from tinyllm_jax.pages import ENVIRONMENT, charts
from tinyllm_jax.tasks.question import Question

DRAW = ENVIRONMENT.get_template("charts.svg").module
EVIL = "<script>alert('x')</script><img src=x onerror=\"alert(1)\"> & 'quoted'."


class Reader(html.parser.HTMLParser):
    """Collects a page's tags, attributes and text, and checks that every tag is closed."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

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


@pytest.fixture
def built(tmp_path):
    """The directory of a corpus of a forced and an unforced teacher, with an evil rationale."""
    train = QUESTIONS["train"]
    rows = [
        log_row(train[0], text=EVIL, model="<b>org/m</b>"),
        *all_rows()[1:],
        *(
            unforced(
                f"It is up by one of {question.id} {index}. So the answer is ({letter}).",
                index,
                question,
                teacher="own",
            )
            for question in train[:4]
            for index, letter in enumerate("bba")
        ),
        unforced(
            "We go up by one. So the answer is (b). And then the",
            0,
            train[4],
            teacher="own",
            context_cut=5,
        ),
    ]
    log = write_log(tmp_path / "log", rows)
    build("things", QUESTIONS, [log], tmp_path / "built", policy="clean+truncate")
    return tmp_path / "built"


def test_the_page_is_closed_and_fetches_nothing(built):
    read = Reader(page.html_page(Corpus(built)))
    assert not {"script", "img", "link", "iframe", "object", "form", "a"} & {*read.tags}
    assert not {"src", "href", "style"} & {name for name, _ in read.attributes}
    assert not [name for name, _ in read.attributes if name.startswith("on")]
    assert ("content", "default-src 'none'; style-src 'unsafe-inline'") in read.attributes
    assert EVIL in read.texts and "<b>org/m</b>" in read.texts


def test_the_page_says_what_the_corpus_holds(built):
    read = Reader(page.html_page(Corpus(built)))
    text = " ".join(" ".join(read.texts).split())
    for words in (
        "Rationales for things",
        "of b-teacher's 8",
        "not shown the gold answer",
        "state the gold one",
        "first sample",
        "100.0 % [56.6–100.0] of 5",
        "b-teacher: sound (8)",
        "own: truncated (1)",
        "✓ gold",
        "What is 0 + 1?",
        "Policy clean+truncate",
        "contexts cut",
        "What is wrong with the rationales",
        "b-teacher rationale logs own rationale logs",  # the columns' origins
        "none of the 13 rationales out of training",
        "never: empty, unterminated, echo, contradicts, duplicate, no new word, repetition, "
        "off topic, other language, mojibake, refusal, error message",
        Corpus(built).fingerprint,
    ):
        assert words in text, words
    labels = [value for name, value in read.attributes if name == "aria-label"]
    assert "sound: 100 %" in labels and any(
        label == "Lengths of own's 5 rationales in words" for label in labels
    )


def test_the_page_says_where_each_column_comes_from():
    report = {
        "rationales": [{"teacher": "file-teacher", "file": "some.jsonl"}],
        "corpora": [
            {"teachers": ["joined"], "source": "a test", "fingerprint": "0123456789abcdef"}
        ],
        "generations": {"own": {}},
    }
    said = {
        name: origin(report, "b and c", name) for name in ("file-teacher", "joined", "own", "x")
    }
    assert said == {
        "file-teacher": "file some.jsonl",
        "joined": "a test (corpus 0123456789ab)",
        "own": "rationale logs",
        "x": "b and c",
    }


def test_new_flags_have_their_share_on_the_page(tmp_path):
    texts = ["Corn grows.", "I cannot help with that.", "Error: timed out.", "Мы.", "Itâ€™s so."]
    rows = []
    for index, text in enumerate(texts):
        question = Question(str(index), "t", "train", "", "What sticks?", ("nails", "x"), "nails")
        flags = quality.flags_of(text, question)
        rows.append(Row(question, {"m": Rationale(text, "m", flags=flags)}))
    manifest = small_corpus.store.write_corpus(
        tmp_path / "flawed", "t", ["m"], {"train": rows}, {}, "a test"
    )
    text = page.html_page(Corpus(tmp_path / "flawed"))
    for flag in ("off topic", "refusal", "error message", "other language", "mojibake"):
        assert f'aria-label="{flag}: 20 %"' in text
    assert f"fingerprint {manifest.fingerprint}" in text and "overflow-wrap: break-word" in text


def test_a_page_without_unforced_rows_policy_or_rationales(corpus_dir, tmp_path):
    text = page.html_page(Corpus(corpus_dir))
    Reader(text)
    assert (
        "right without being shown" not in text.split("How to read")[0]
        and "Which rationales training sees" not in text
    )
    small_corpus.store.write_corpus(
        tmp_path / "none",
        "obqa",
        ["m"],
        {"train": small_corpus.make_rows("train", 0)},
        {},
        "a test",
    )
    assert "There is no rationale." in page.html_page(Corpus(tmp_path / "none"))


def test_a_page_that_cannot_be_written(built, tmp_path):
    with pytest.raises(UserError, match="cannot write .*; choose another path"):
        page.write_page(built, tmp_path / "absent" / "page.html")


def test_bars_tell_their_numbers():
    half = DRAW.share(0.5, 0, "half")
    assert 'width="70.0" height="8"' in half and 'aria-label="half"' in half
    assert 'width="0.0"' in DRAW.share(0.0, 0, "") and 'width="1.5"' in DRAW.share(0.0001, 0, "")
    drawn = DRAW.interval(1 / 4, 0.1, 0.6, 7, "x")
    assert (
        'cx="50.0"' in drawn and 'x="20.0"' in drawn and 'width="100.0"' in drawn and "s1" in drawn
    )


def test_histograms_count_every_text():
    lengths = {"a": [0, 1, 1, 2, 500], "b": [], "c": [40] * 3 + list(range(50)) * 4}
    drawn = {name: DRAW.chart(chart) for name, chart in charts.histograms(lengths).items()}
    assert list(drawn) == ["a", "c"]
    for name, chart in drawn.items():
        counts = [int(count) for count in re.findall(r"words: (\d+)</title>", chart)]
        assert sum(counts) == len(lengths[name]) and len(counts) <= charts.MOST_BINS + 1
        assert len(re.findall(r"(?:to \d+|or more) words", chart)) == len(counts)
    assert re.search(r"or more words: 1<", drawn["a"])
    assert charts.histograms({"a": []}) == {}
    assert "0 to 0 words: 1<" in DRAW.chart(charts.histograms({"a": [0]})["a"])


def test_the_text_report(built):
    report = Corpus(built).manifest.report
    text = format_report(report)
    for words in (
        "policy clean+truncate: own 5 kept, 0 dropped, 1 truncated",
        "own wrote: rows 13, prompt tokens 117",
        "contexts cut 1",
        "not shown the answer",
        "13 100 %",
        "9 69 %",
        "100.0 % [56.6–100.0] of 5",
    ):
        assert words in text, words
    assert text in inspect(built)
    assert json.loads(inspect(built, as_json=True))["report"] == report
    head = text.splitlines()[0]
    assert (
        "truncated" in head and "copied" not in head
    )  # a column only where some rationale has the flag


def test_verdict(built, corpus_dir):
    said = " ".join(verdict(Corpus(built).manifest.report))
    assert (
        "100 % of b-teacher's 8 and 100 % of own's 5 " in said
        and "they have no flaw that counts" in said
    )
    assert "own has no rationale for 3 questions." in said
    assert (
        "Without being shown the answer, own is right on 100.0 % [56.6–100.0] of 5 train questions."
        in said
    )


@pytest.mark.parametrize(
    "part, whole, text",
    [
        (0, 9, "0 %"),
        (1, 900, "under 1 %"),
        (1, 3, "33 %"),
        (899, 900, "over 99 %"),
        (9, 9, "100 %"),
        (0, 0, "0 %"),
    ],
)
def test_percent(part, whole, text):
    assert percent(part, whole) == text


def test_the_released_corpora_say_their_worst(released_corpus):
    corpus = Corpus(released_corpus("arc"))
    said = " ".join(verdict(corpus.manifest.report))
    assert re.search(
        r"The commonest flaw of llama-2-7b-chat: 8\d % of the time it breaks off", said
    )
    assert "The commonest flaw of flan-t5-xl: 50 % of the time it adds no content word" in said
    Reader(page.html_page(corpus))
