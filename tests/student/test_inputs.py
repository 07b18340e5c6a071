"""Text to ids: the paper's prompt, truncation of the context alone, and tokenizers on disk."""

import json
import subprocess
import sys

import pytest

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs
from tinyllm_jax.tasks import Question

QUESTION = Question(
    "7",
    "pubmedqa",
    "train",
    "One two three four five six. Seven é.",
    "Does it work at all?",
    ("yes", "no way"),
    "yes",
)
BARE = Question("8", "obqa", "train", "", "Does it?", ("yes", "no way"), "yes")
WHOLE = (
    "predict: One two three four five six. Seven é. \n Does it work at all?"
    "\nAnswer Choices:\n(a) yes\n(b) no way"
)


@pytest.fixture(params=["byte", "t5"])
def tokenizer(request):
    """The byte tokenizer and the real T5 tokenizer."""
    return inputs.load_tokenizer(
        "byte" if request.param == "byte" else request.getfixturevalue("t5_tokenizer_dir")
    )


def test_prompt_is_the_papers(tokenizer):
    rows, cuts = inputs.encode_questions(tokenizer, [QUESTION, BARE], "predict", 500)
    bare = "predict: Does it?\nAnswer Choices:\n(a) yes\n(b) no way"
    assert rows == [tokenizer(WHOLE)["input_ids"], tokenizer(bare)["input_ids"]]
    assert cuts == [0, 0] and rows[0][-1] == 1
    assert [inputs.prompt(q, "predict") for q in (QUESTION, BARE)] == [WHOLE, bare]


def test_truncation_cuts_the_end_of_the_context_only(tokenizer):
    (whole, short), _ = inputs.encode_questions(tokenizer, [QUESTION, BARE], "predict", 500)
    least = inputs.fit_length(tokenizer, [QUESTION, BARE], "predict", 1)
    tail = least - len(inputs._ids(tokenizer, ["predict: "])[0])
    for length in (least, least + 3, len(whole) - 1, len(whole)):
        (ids, other), (cut, none) = inputs.encode_questions(
            tokenizer, [QUESTION, BARE], "predict", length
        )
        assert len(ids) == length and cut == len(whole) - length
        assert ids == whole[: length - tail] + whole[-tail:]
        assert (other, none) == (short, 0)


def test_a_question_is_never_cut(tokenizer):
    least = inputs.fit_length(tokenizer, [BARE, QUESTION], "predict", 1)
    with pytest.raises(UserError, match=f"'7', needs {least} tokens"):
        inputs.encode_questions(tokenizer, [BARE, QUESTION], "predict", least - 1)
    assert inputs.fit_length(tokenizer, [BARE, QUESTION], "predict", 500) == 500


def test_targets(tokenizer):
    text = "carbon dioxide and water"
    (whole, empty), cuts = inputs.encode_targets(tokenizer, [text, ""], 500)
    assert whole == tokenizer(text)["input_ids"] and empty == [1] and cuts == [0, 0]
    ((ids,), (cut,)) = inputs.encode_targets(tokenizer, [text], len(whole) - 2)
    assert (
        ids == tokenizer(text, truncation=True, max_length=len(whole) - 2)["input_ids"] and cut == 2
    )


def test_released_questions_are_their_pieces(t5_tokenizer_dir, released):
    """Real questions: the pieces' ids put together are the whole text's ids."""
    tokenizer = inputs.load_tokenizer(t5_tokenizer_dir)
    for task in ("arc", "pubmedqa"):
        rows = json.loads((released / task / f"{task}_valid.json").read_text())[:200]
        questions = []
        for row in rows:
            context, _, question = row["question"].rpartition(" \n ")
            questions.append(
                Question(
                    str(row["id"]),
                    task,
                    "validation",
                    context,
                    question,
                    tuple(row["choices"]),
                    row["answer"],
                )
            )
        texts = [
            f"explain: {f'{c} ' + chr(10) + ' ' if c else ''}{q}"
            for c, q in map(inputs.question_text, questions)
        ]
        assert (
            inputs.encode_questions(tokenizer, questions, "explain", 4000)[0]
            == tokenizer(texts)["input_ids"]
        )


def test_tokenizer_round_trip(tokenizer, tmp_path):
    inputs.save_tokenizer(tokenizer, tmp_path / "t")
    (tmp_path / "t" / "config.json").write_text(
        '{"model_type": "t5"}'
    )  # weights may lie in the same directory
    again = inputs.load_tokenizer(tmp_path / "t")
    assert inputs.fingerprint(again) == inputs.fingerprint(tokenizer)
    assert again(WHOLE)["input_ids"] == tokenizer(WHOLE)["input_ids"]


def test_fingerprints_tell_tokenizers_apart(t5_tokenizer_dir, tmp_path):
    real = inputs.load_tokenizer(t5_tokenizer_dir)
    changed = inputs.load_tokenizer(t5_tokenizer_dir)
    changed.add_tokens(["photosynthesis"])
    assert len({inputs.fingerprint(t) for t in (real, changed, inputs.load_tokenizer("byte"))}) == 3


def test_bad_tokenizers_and_questions(tmp_path):
    for bad in (tmp_path, tmp_path / "none"):
        with pytest.raises(UserError, match="cannot load a tokenizer") as error:
            inputs.load_tokenizer(bad)
        assert "\n" not in str(error.value)
    many = Question("1", "custom", "train", "", "q", tuple(map(str, range(27))), "1")
    with pytest.raises(UserError, match="27 choices"):
        inputs.question_text(many)


def test_neither_torch_nor_transformers_is_needed_to_import():
    code = (
        "import sys, tinyllm_jax.student.model, tinyllm_jax.student.hf\n"
        "import tinyllm_jax.student.inputs as i\n"
        "assert 'transformers' not in sys.modules\n"
        "sys.modules['torch'] = sys.modules['tensorflow'] = None\n"
        "assert i.load_tokenizer('byte')('a')['input_ids'] == [100, 1]"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
