"""Each dataset's rows, as the hub and TFDS lay them out, become the right questions.

Rows that cannot be used are counted.
"""

import json
import subprocess
import sys

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.errors import UserError

OBQA = [
    {
        "id": f"7-{i}",
        "question_stem": f"stem {i}",
        "choices": {"text": list("wxyz"), "label": list("ABCD")},
        "answerKey": "ABCD"[i],
    }
    for i in range(4)
]
ARC = [
    {
        "id": "Q1",
        "question": "letters",
        "answerKey": "C",
        "choices": {"text": list("pqr"), "label": list("ABC")},
    },
    {
        "id": "Q2",
        "question": "numbers",
        "answerKey": "2",
        "choices": {"text": list("pqrs"), "label": list("1234")},
    },
]
PIQA = [
    {"goal": "open a jar", "sol1": "twist", "sol2": "shout", "label": 0},
    {"goal": "dry a cup", "sol1": "soak", "sol2": "wipe", "label": 1},
]
RIDDLE = [
    {
        "answerKey": "E",
        "question": "what?",
        "choices": {"label": list("ABCDE"), "text": list("vwxyz")},
    }
]
PUBMEDQA = [
    {
        "pubid": 42,
        "question": "Does it?",
        "long_answer": "It does.",
        "final_decision": "maybe",
        "context": {"contexts": ["One.", "Two."], "labels": ["A", "B"], "meshes": []},
    }
]


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A function that writes rows as a dataset's parquet files, as a clone of the hub has them."""
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")

    def write(config: str = "", **splits) -> str:
        for split, rows in splits.items():
            directory = tmp_path / "clone" / config
            directory.mkdir(parents=True, exist_ok=True)
            datasets.Dataset.from_list(rows).to_parquet(
                directory / f"{split}-00000-of-00001.parquet"
            )
        return f"hf:{tmp_path / 'clone'}"

    return write


def test_obqa(hub):
    splits = tasks.load("obqa", hub("main", train=OBQA, validation=OBQA[:1], test=OBQA[1:]))
    assert {split: len(questions) for split, questions in splits.items()} == {
        "train": 4,
        "validation": 1,
        "test": 3,
    }
    assert splits["train"][2] == tasks.Question(
        "7-2", "obqa", "train", "", "stem 2", ("w", "x", "y", "z"), "y"
    )
    assert splits["train"][2].gold == 2


def test_arc_has_letters_and_numbers_as_labels(hub):
    questions = tasks.load("arc", hub("ARC-Challenge", train=ARC))["train"]
    assert [question.answer for question in questions] == ["r", "q"]
    assert [len(question.choices) for question in questions] == [3, 4]


def test_piqa_hidden_labels_are_dropped_and_counted(hub, capsys):
    hidden = [{**row, "label": -1} for row in PIQA]
    splits = tasks.load("piqa", hub(train=PIQA, test=hidden))
    assert list(splits) == ["train"]
    assert [question.answer for question in splits["train"]] == ["twist", "wipe"]
    assert "test: 2 of 2 rows left out: no public label" in capsys.readouterr().err


def test_riddle(hub, capsys):
    splits = tasks.load("riddle", hub(train=RIDDLE, test=[{**RIDDLE[0], "answerKey": ""}]))
    assert splits["train"][0].answer == "z" and "test" not in splits
    assert "test: 1 of 1 rows left out" in capsys.readouterr().err


def test_pubmedqa_keeps_the_context_apart(hub):
    (question,) = tasks.load("pubmedqa", hub(train=PUBMEDQA))["train"]
    assert (question.id, question.context, question.question) == ("42", "One. \n Two.", "Does it?")
    assert (question.choices, question.answer) == (("yes", "no", "maybe"), "maybe")


def test_bad_rows_of_a_dataset_are_counted(hub, capsys):
    bad = [{**OBQA[0], "answerKey": "Z"}, {**OBQA[1], "question_stem": " "}, OBQA[2], OBQA[2]]
    assert [question.id for question in tasks.load("obqa", hub(train=bad))["train"]] == ["7-2"]
    err = capsys.readouterr().err
    assert "2 of 4 rows left out: malformed" in err and "1 of 4 rows left out: id used twice" in err


def test_another_dataset_s_columns(hub):
    with pytest.raises(UserError, match="no usable row.*no field 'choices'; its fields are goal"):
        tasks.load("obqa", hub(train=PIQA))


TFDS_ROWS = {
    "obqa": {
        "id": "1",
        "question": {"stem": "s", "choices": [{"text": text} for text in "wxyz"]},
        "fact1": "f",
        "humanScore": 1.0,
        "clarity": 1.0,
        "turkIdAnonymized": "t",
        "answerKey": "C",
    },
    "arc": {
        "id": "1",
        "question": {
            "stem": "s",
            "choices": [{"text": t, "label": n} for t, n in zip("wxyz", "1234", strict=True)],
        },
        "answerKey": "3",
    },
}
TFDS_PROCESS = """
import sys
task, where, kind = sys.argv[1:]
from importlib.machinery import PathFinder
find = PathFinder.find_spec  # from here on, TensorFlow is not installed
PathFinder.find_spec = lambda name, *rest: None if name == "tensorflow" else find(name, *rest)
import tensorflow_datasets as tfds
from tinyllm_jax import tasks
if kind != "read":  # TFDS's own builder, features and reading of the source; the download is ours
    builder = type(tfds.builder(tasks.TASKS[task].TFDS, data_dir=where))
    arguments = {"filepath": where + "/rows"}
    if task == "obqa":
        arguments["data_dir"] = ""
    train = tfds.core.SplitGenerator(name="train", gen_kwargs=arguments)
    builder._split_generators = lambda *_: [train]
(question,) = tasks.load(task, "tfds:" + where)["train"]
assert (question.question, question.choices, question.answer) == ("s", tuple("wxyz"), "y"), question
"""


def tfds_process(task: str, where, kind: str) -> subprocess.CompletedProcess:
    (where / "rows").write_text(json.dumps(TFDS_ROWS[task]))
    return subprocess.run(
        [sys.executable, "-c", TFDS_PROCESS, task, str(where), kind], capture_output=True, text=True
    )


@pytest.mark.parametrize("task", ["obqa", "arc"])
def test_tfds_without_tensorflow(task, tmp_path):
    """One process that cannot import TensorFlow prepares ArrayRecord, and another reads it."""
    for kind in ("prepare", "read"):
        process = tfds_process(task, tmp_path, kind)
        assert process.returncode == 0, process.stderr


def test_tfds_prepared_as_tfrecord_needs_tensorflow(tmp_path):
    assert tfds_process("obqa", tmp_path, "prepare").returncode == 0
    (info,) = tmp_path.glob("**/dataset_info.json")
    info.write_text(info.read_text().replace("array_record", "tfrecord"))
    process = tfds_process("obqa", tmp_path, "read")
    assert "UserError" in process.stderr and "pip install 'tinyllm_jax[tf]'" in process.stderr


def test_tfds_catalogue_has_no_riddle():
    with pytest.raises(UserError, match="no TFDS dataset; use hf"):
        tasks.load("riddle", "tfds")


def official(**changes) -> dict:
    return {
        "id": "b1",
        "type": "yesno",
        "body": "Is it?",
        "snippets": [{"text": "S1"}, {"text": "S2"}],
        "exact_answer": "Yes",
        **changes,
    }


def test_bioasq_official_json(tmp_path, capsys):
    rows = [
        official(),
        official(id="b2", exact_answer=["no"]),
        official(id="b3", type="list", exact_answer=[["x"]]),
    ]
    (tmp_path / "train.json").write_text(json.dumps({"questions": rows}))
    (tmp_path / "test.json").write_text(json.dumps({"questions": rows[:1]}))
    splits = tasks.load("bioasq", f"json:{tmp_path}")
    assert [(q.answer, q.context) for q in splits["train"]] == [
        ("yes", "S1 \n S2"),
        ("no", "S1 \n S2"),
    ]
    assert len(splits["test"]) == 1
    assert "left out 1 of 3 questions" in capsys.readouterr().err


@pytest.mark.parametrize(
    "text", ["{", "[]", json.dumps({"questions": [official(exact_answer="perhaps")]})]
)
def test_bioasq_bad_file_is_named(tmp_path, text):
    (tmp_path / "train.json").write_text(text)
    with pytest.raises(UserError, match="train.json|no usable row"):
        tasks.load("bioasq", f"json:{tmp_path / 'train.json'}")


def test_bioasq_needs_a_source():
    with pytest.raises(UserError, match="registration"):
        tasks.load("bioasq")


def custom(**changes) -> dict:
    return {
        "id": "q1",
        "question": "Heavier?",
        "choices": ["feather", "anvil"],
        "answer": "anvil",
        **changes,
    }


def test_custom_file_and_directory(tmp_path):
    (tmp_path / "all.jsonl").write_text(
        "\n".join(
            map(
                json.dumps,
                [
                    custom(),
                    custom(split="test"),
                    {k: v for k, v in custom(context="C").items() if k != "id"},
                ],
            )
        )
    )
    splits = tasks.load("custom", f"jsonl:{tmp_path / 'all.jsonl'}")
    first, second = splits["train"]
    assert (first.id, second.id, second.context) == ("q1", second.key[:16], "C")
    assert len(splits["test"]) == 1
    (tmp_path / "validation.jsonl").write_text(json.dumps(custom()))
    assert list(tasks.load("obqa", f"jsonl:{tmp_path}")) == ["validation"]


@pytest.mark.parametrize(
    "row,message",
    [
        (custom(answer="stone"), "not one of the choices"),
        (custom(choices=["anvil"]), "at least 2"),
        (custom(choices="anvil"), "not a list"),
        (custom(question="  "), "empty question"),
        (custom(anwser="anvil"), "did you mean 'answer'"),
        (custom(split="dev"), "unknown split 'dev'"),
        (custom(id=7), "not a text"),
        (custom(question="half \ud83d"), "half of a surrogate pair"),
        (custom(choices=["an anvil", "\udc00"]), "a choice holds half of a surrogate pair"),
        (custom(context="a \0"), "context holds a NUL or an escape"),
        (custom(id="\x1b[31m"), "id holds a NUL or an escape"),
        (custom(choices=["an anvil", *map(str, range(26))]), "27 choices; there are letters for"),
        ({"question": "x"}, "no field choices, answer"),
        ([1], "not a JSON object"),
    ],
)
def test_custom_bad_row_names_file_and_line(tmp_path, row, message):
    file = tmp_path / "mine.jsonl"
    file.write_text(json.dumps(custom(id="other")) + "\n" + json.dumps(row))
    with pytest.raises(UserError, match=message) as caught:
        tasks.load("custom", f"jsonl:{file}")
    assert f"{file}, line 2" in str(caught.value)


def test_deeply_nested_json_is_a_bad_row(tmp_path):
    deep = "[" * 100_000
    (tmp_path / "train.jsonl").write_text(json.dumps(custom()) + "\n" + deep)
    with pytest.raises(UserError, match="train.jsonl, line 2: not a JSON object"):
        tasks.load("custom", f"jsonl:{tmp_path}")
    (tmp_path / "obqa").mkdir()
    (tmp_path / "obqa" / "obqa_train.json").write_text(deep)
    with pytest.raises(UserError, match="is not valid JSON"):
        tasks.load("obqa", f"released:{tmp_path}")
    (tmp_path / "train.json").write_text(deep)
    with pytest.raises(UserError, match="train.json"):
        tasks.load("bioasq", f"json:{tmp_path / 'train.json'}")


def test_custom_ids_are_unique_within_a_split(tmp_path):
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join([json.dumps(custom())] * 2))
    with pytest.raises(UserError, match="line 2: id 'q1' is already used"):
        tasks.load("custom", f"jsonl:{file}")


@pytest.mark.parametrize(
    "task,source,message",
    [
        ("obqaa", "", "did you mean 'obqa'"),
        ("obqa", "hff:x", "did you mean 'hf'"),
        ("obqa", "json:x", "unknown source 'json'"),
        ("custom", "", "jsonl:PATH"),
        ("custom", "jsonl:/nowhere/x.jsonl", "cannot read"),
        ("obqa", "hf:/nowhere", "no such directory"),
        ("obqa", "released:/nowhere", "no released files"),
    ],
)
def test_bad_task_or_source(task, source, message):
    with pytest.raises(UserError, match=message) as caught:
        tasks.load(task, source)
    assert "\n" not in str(caught.value)


def test_import_is_light():
    code = (
        "import sys; from tinyllm_jax import tasks; tasks.MAX_INPUT['pubmedqa'] >= 512 or 1/0; "
        "heavy = {'jax', 'numpy', 'torch', 'datasets', 'tensorflow', 'transformers'}; "
        "heavy & set(sys.modules) and 1/0"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
