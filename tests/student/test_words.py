"""The tokenizer of whole words: what it reads it writes again, and a saved one reads alike."""

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.student import inputs, words
from tinyllm_jax.student.config import EOS_ID, PAD_ID

HARD = [
    "What can a gopi do?\nAnswer Choices:\n(a) float\n(b) well-known",
    "don't say \"hi\" (3.5 %), e.g. O'Neill's f(x)=a*b_c;",
    "naïve émigré — 漢字。 ﬁ½",
    "x ## y a##b #c ##",
    "explain flan-t5-xl: ",
    "[]{}<>|\\/~^`",
]


def read(tokenizer, text: str) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def write(tokenizer, ids: list[int]) -> str:
    return tokenizer.decode(ids, skip_special_tokens=True)


def test_writes_what_it_read():
    tokenizer = words.make_tokenizer(HARD)
    for text in HARD:
        ids = read(tokenizer, text)
        assert tokenizer.unk_token_id not in ids
        assert write(tokenizer, ids) == " ".join(text.split())


def test_a_word_is_a_token_and_so_is_punctuation():
    tokenizer = words.make_tokenizer(["What can a gopi do?"])
    ids = read(tokenizer, "What can a gopi do?")
    assert tokenizer.convert_ids_to_tokens(ids) == ["What", "can", "a", "gopi", "do", "##?"]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id) == (PAD_ID, EOS_ID)
    assert len(tokenizer) == 3 + 6


def test_unknown_words_are_known_to_be():
    tokenizer = words.make_tokenizer(["What can a gopi do?"])
    rows = [read(tokenizer, text) for text in ("What can a gopi do?", "What can a dovu do?", "a")]
    assert inputs.unknown_tokens(tokenizer, rows) == 1
    assert write(tokenizer, rows[1]) == "What can a do?"


@pytest.mark.parametrize("seed", [0, 1])
def test_every_question_and_answer_of_the_made_up_things(seed, tmp_path):
    splits = tasks.load("things", f"train=200,validation=50,test=50,seed={seed}")
    texts = {
        split: ["\n".join(inputs.question_text(q)) for q in questions]
        for split, questions in splits.items()
    }
    tokenizer = words.make_tokenizer(texts["train"])
    inputs.save_tokenizer(tokenizer, tmp_path / "tokenizer")
    again = inputs.load_tokenizer(tmp_path / "tokenizer")
    assert inputs.fingerprint(tokenizer) == inputs.fingerprint(again)
    for text in texts["train"] + texts["validation"] + texts["test"]:
        ids = read(tokenizer, text)
        assert ids == read(again, text) and tokenizer.unk_token_id not in ids
        assert write(again, ids) == " ".join(text.split())


def test_the_order_of_the_texts_does_not_matter():
    assert inputs.fingerprint(words.make_tokenizer(HARD)) == inputs.fingerprint(
        words.make_tokenizer(HARD[::-1])
    )
    assert inputs.fingerprint(words.make_tokenizer(HARD)) != inputs.fingerprint(
        words.make_tokenizer(HARD[:-1])
    )
