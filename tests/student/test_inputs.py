"""Text to ids: the paper's prompt, truncation of the context alone, and tokenizers on disk."""

import dataclasses
import json
import shutil
import subprocess
import sys

import pytest
import tokenizers

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import inputs, words
from tinyllm_jax.student.config import EOS_ID, PRESETS
from tinyllm_jax.student.student import Student
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


def test_fingerprints_tell_how_tokenizers_write():
    real, other, tidy = (words.make_tokenizer([WHOLE]) for _ in range(3))
    other.backend_tokenizer.decoder = tokenizers.decoders.Fuse()
    assert inputs.fingerprint(other) != inputs.fingerprint(real)
    tidy.clean_up_tokenization_spaces = True  # which is not asked
    assert inputs.fingerprint(tidy) == inputs.fingerprint(real)


# Spellings of special tokens, the last with characters that normalisation turns into them.
SPELLED = ("</s>", "<pad>", "<unk>", "a </s>", "x <extra_id_0> y", "<extra_id_99>", "＜/s＞＜pad＞")


@pytest.fixture(params=["byte", "t5", "spiece", "words"])
def any_tokenizer(request, tmp_path):
    """Every kind of tokenizer; "spiece" is T5's from the one file that old models have."""
    if request.param == "byte":
        return inputs.load_tokenizer("byte")
    if request.param == "words":
        return words.make_tokenizer([WHOLE, *SPELLED])
    t5 = request.getfixturevalue("t5_tokenizer_dir")
    if request.param == "t5":
        return inputs.load_tokenizer(t5)
    shutil.copy(t5 / "spiece.model", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    return inputs.load_tokenizer(tmp_path)


def test_text_is_text_whatever_it_spells(any_tokenizer):
    control = set(any_tokenizer.all_special_ids) - {any_tokenizer.unk_token_id}
    rows, _ = inputs.encode_targets(any_tokenizer, SPELLED, 500)
    asked = [
        dataclasses.replace(QUESTION, context=text, question=text, choices=(text, "b"), answer="b")
        for text in SPELLED
    ]
    questions, _ = inputs.encode_questions(any_tokenizer, asked, "predict", 500)
    alone = [inputs.encode_targets(any_tokenizer, [text], 500)[0][0] for text in SPELLED]
    for ids in [*rows, *questions, *alone]:
        assert ids[-1] == EOS_ID and len(ids) > 2
        assert not control & set(ids[:-1]), ids
    assert rows == alone
    # Its own spelling is not the piece for unknown text, though it may hold unknown characters.
    assert rows[2] != [any_tokenizer.unk_token_id, EOS_ID]


def test_byte_and_word_students_write_what_special_tokens_spell():
    for tokenizer in (inputs.load_tokenizer("byte"), words.make_tokenizer(SPELLED)):
        rows, _ = inputs.encode_targets(tokenizer, SPELLED, 500)
        assert inputs.decode(tokenizer, rows) == list(SPELLED)


def test_words_added_to_a_tokenizer_stay_whole(t5_tokenizer_dir):
    tokenizer = inputs.load_tokenizer(t5_tokenizer_dir)
    tokenizer.add_special_tokens({"additional_special_tokens": ["<q>"]})
    tokenizer.add_tokens(["anvil"])
    (ids,), _ = inputs.encode_targets(tokenizer, ["an anvil <q>"], 500)
    own = tokenizer.convert_tokens_to_ids(["anvil", "<q>"])
    assert own[0] in ids and own[1] not in ids


def test_what_is_written_is_what_was_read(tokenizer):
    texts = ["a jar .", "he did n't , did he ?", "it 's well-known !"]
    rows, _ = inputs.encode_targets(tokenizer, texts, 500)
    assert inputs.decode(tokenizer, rows) == texts


def test_a_directory_without_a_tokenizer_has_none(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(UserError, match="the directory has no tokenizer"):
        inputs.load_tokenizer(tmp_path)

    # For this one transformers makes a tokenizer of the special tokens alone.
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer"}')
    empty = inputs.load_tokenizer(tmp_path)
    with pytest.raises(UserError, match="cannot spell 'Answer Choices"):
        Student(PRESETS["flan-t5-small"], {}, empty, {"answer": "predict"}, 128)


def test_a_student_has_a_row_for_every_token(t5_tokenizer_dir):
    tokenizer = inputs.load_tokenizer(t5_tokenizer_dir)
    shape = dataclasses.replace(PRESETS["flan-t5-small"], vocab_size=32100)
    Student(shape, {}, tokenizer, {"answer": "predict"}, 128)
    tokenizer.add_tokens(["anvil"])
    with pytest.raises(UserError, match="has 32,101 tokens, the student's embedding 32,100 rows"):
        Student(shape, {}, tokenizer, {"answer": "predict"}, 128)


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
