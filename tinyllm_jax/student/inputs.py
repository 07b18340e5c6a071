r"""Text to token ids: tokenizers, the student's prompt, and truncation.

Of a question only the context is ever cut, and what is cut is counted. A question is written as in
the paper,

    <prefix>: <question>\nAnswer Choices:\n(a) …\n(b) …

with the context, where there is one, in front of the question and joined to it by " \n " as in the
released data. T5's tokenizer splits on white space, so it drops the newlines, and a text's ids are
its pieces' ids put together.

Text is text: "</s>" in a question or a rationale is four characters and never the end of sequence.
"""

import functools
import hashlib
import json
import os
import string
import tempfile
from collections.abc import Sequence

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError
from tinyllm_jax.student.config import EOS_ID, PAD_ID
from tinyllm_jax.tasks.question import SEPARATOR, Question

_BYTE_OFFSET = 3  # ByT5: ids 0, 1, 2 are pad, end and unknown; byte b is b + 3
# A tokenizer's directory holds at least one of these; ByT5's holds the last alone.
_TOKENIZER_FILES = ("tokenizer.json", "spiece.model", "tokenizer_config.json")
_FRAME = "Answer Choices: (a) (b)"  # stands in every question, so every tokenizer must have it


def load_tokenizer(name_or_dir: str | os.PathLike):
    """A tokenizer: "byte" for ByT5's (nothing is downloaded), else a directory or a hub name.

    Raises:
      UserError: there is none, or it is not a T5 tokenizer: its pad and end-of-sequence ids are not
        0 and 1.
    """
    import transformers

    if str(name_or_dir) == "byte":
        return transformers.ByT5Tokenizer()
    try:
        with storage.local_copy(name_or_dir) as local:
            if os.path.isdir(local) and not set(_TOKENIZER_FILES) & set(os.listdir(local)):
                raise ValueError(
                    "the directory has no tokenizer; copy that of its base model there"
                )
            tokenizer = transformers.AutoTokenizer.from_pretrained(local, trust_remote_code=False)
    except Exception as e:  # the package tokenizers raises errors without a class of their own
        reason = " ".join(str(e).split())[:200]
        raise UserError(
            f"cannot load a tokenizer from '{name_or_dir}' (give 'byte', a directory with "
            f"tokenizer.json, or a hub name): {reason}"
        ) from e
    if (tokenizer.pad_token_id, tokenizer.eos_token_id) != (PAD_ID, EOS_ID):
        raise UserError(
            f"the tokenizer '{name_or_dir}' is not a T5 tokenizer: its pad and end ids are "
            f"{tokenizer.pad_token_id} and {tokenizer.eos_token_id}, not {PAD_ID} and {EOS_ID}"
        )
    if not (tokenizer.is_fast or isinstance(tokenizer, transformers.ByT5Tokenizer)):
        raise UserError(
            f"the tokenizer '{name_or_dir}' is a {type(tokenizer).__name__}, which has no "
            "tokenizer.json; give T5's or ByT5's"
        )
    return tokenizer


def check(tokenizer, vocab_size: int) -> None:
    """Checks that a student can read and write with a tokenizer.

    That it was loaded is no proof: without its files transformers makes an empty one, and JAX reads
    the last row of the embedding for a token that has none.

    Args:
      tokenizer: from `load_tokenizer` or `words.make_tokenizer`.
      vocab_size: the rows of the student's embedding.

    Raises:
      UserError: a token has no row in the embedding, or text is not written as it was read.
    """
    where = f" '{tokenizer.name_or_path}'" if tokenizer.name_or_path else ""
    size = 1 + max(tokenizer.get_vocab().values())
    if size > vocab_size:
        raise UserError(
            f"the tokenizer{where} has {size:,} tokens, the student's embedding {vocab_size:,} "
            "rows: it belongs to another model, or words were added to it alone; give the model's "
            "own tokenizer, or resize its embedding (model.resize_token_embeddings)"
        )
    ids = _ids(tokenizer, [_FRAME])
    (written,) = decode(tokenizer, ids)
    # Some tokenizers leave out spaces, and some have lower case alone.
    same = "".join(written.split()).casefold() == "".join(_FRAME.split()).casefold()
    if not same or unknown_tokens(tokenizer, ids):
        raise UserError(
            f"the tokenizer{where} cannot spell '{_FRAME}': it reads '{written}'; files of it are "
            "missing or damaged, so copy those of the model that the student comes from"
        )


def unknown_tokens(tokenizer, rows: Sequence[Sequence[int]]) -> int:
    """The number of `rows` (token ids) with a piece of text that the tokenizer does not know."""
    return sum(tokenizer.unk_token_id in row for row in rows)


def save_tokenizer(tokenizer, directory: str | os.PathLike) -> None:
    """Writes a tokenizer's files, so that `load_tokenizer(directory)` gives an equal one."""
    with tempfile.TemporaryDirectory() as local:
        tokenizer.save_pretrained(local)
        storage.copy_files(local, directory)


def fingerprint(tokenizer) -> str:
    """sha256 of the vocabulary and of a probe: equal for tokenizers that read and write alike."""
    probe = "Answer Choices:\n(a) naïve  Ünïcode ﬁ½ 漢字 \t 3,141 don't </s> he did n't ."
    ids = _ids(tokenizer, [probe])
    read = [sorted(tokenizer.get_vocab().items()), sorted(tokenizer.all_special_ids), ids]
    content = json.dumps([*read, decode(tokenizer, ids)])
    return hashlib.sha256(content.encode()).hexdigest()


def question_text(question: Question) -> tuple[str, str]:
    """The context, which may be cut, and the question with its lettered choices, which may not.

    Raises:
      UserError: there are more choices than letters.
    """
    if len(question.choices) > len(string.ascii_lowercase):
        raise UserError(
            f"question '{question.id}' of {question.task} has {len(question.choices)} choices; "
            "they are lettered a to z, so 26 is the most"
        )
    choices = "".join(f"\n{choice}" for choice in question.lettered)
    return question.context, f"{question.question}\nAnswer Choices:{choices}"


def prompt(question: Question, prefix: str) -> str:
    """A question as one text, as whoever has the model without this program must write it.

    Its token ids are those that `encode_questions` puts together from pieces.
    """
    context, rest = question_text(question)
    return f"{prefix}: {context}{SEPARATOR}{rest}" if context else f"{prefix}: {rest}"


def fit_length(tokenizer, questions: Sequence[Question], prefix: str, length: int) -> int:
    """The input length with which every question, without its context, fits; at least `length`.

    Args:
      tokenizer: from `load_tokenizer`.
      questions: any number.
      prefix: the target's word, as in `encode_questions`.
      length: in tokens.
    """
    return max([length, *needed_lengths(tokenizer, questions, prefix)])


def needed_lengths(tokenizer, questions: Sequence[Question], prefix: str) -> list[int]:
    """The tokens that each question takes without its context, as in `encode_questions`."""
    (head,) = _ids(tokenizer, [f"{prefix}: "])
    _, tails = _pieces(tokenizer, tuple(questions))
    return [len(head) + len(tail) + 1 for tail in tails]


def encode_questions(
    tokenizer, questions: Sequence[Question], prefix: str, max_length: int
) -> tuple[list[list[int]], list[int]]:
    """Token ids of many questions, each ending in the end-of-sequence id.

    Args:
      tokenizer: from `load_tokenizer`.
      questions: any number.
      prefix: the target's word, e.g. "predict"; ": " is put after it.
      max_length: the most tokens per question, with the end. What is too long loses the end of its
        context.

    Returns:
      The ids of each question, and how many context tokens each lost (0: it is whole).

    Raises:
      UserError: a question does not fit even without its context. Its question and choices are
        never cut.
    """
    (head,) = _ids(tokenizer, [f"{prefix}: "])
    contexts, tails = _pieces(tokenizer, tuple(questions))
    needs = [len(head) + len(tail) + 1 for tail in tails]
    _check_fit(questions, needs, max_length)
    rows, cuts = [], []
    for context, tail, need in zip(contexts, tails, needs, strict=True):
        kept = context[: max_length - need]
        rows.append([*head, *kept, *tail, EOS_ID])
        cuts.append(len(context) - len(kept))
    return rows, cuts


# Kept for the next call: every target asks for the same questions, behind another prefix.
@functools.lru_cache(maxsize=2)
def _pieces(tokenizer, questions: tuple[Question, ...]) -> tuple[list[list[int]], list[list[int]]]:
    """The ids of each question's context, and of the rest of it."""
    texts = [question_text(question) for question in questions]
    tails = _ids(tokenizer, [f"{SEPARATOR}{rest}" if context else rest for context, rest in texts])
    return _ids(tokenizer, [context for context, _ in texts]), tails


def _check_fit(questions: Sequence[Question], needs: Sequence[int], max_length: int) -> None:
    """Raises a `UserError` where a question needs more tokens than `max_length`."""
    long = sum(need > max_length for need in needs)
    if long:
        need, question = max(zip(needs, questions, strict=True), key=lambda pair: pair[0])
        raise UserError(
            f"{long} of {len(questions)} questions of {question.task} are longer than the input "
            f"length {max_length} without any context, and a question is never cut; the longest, "
            f"'{question.id}', needs {need} tokens: raise the input length to {need}"
        )


def prefix_tokens(tokenizer, prefix: str) -> list[int]:
    """The token ids of a target's prefix, for the decoder to begin with.

    They say which target to write where the encoder's input does not
    (`objective.prefix=decoder`).

    Args:
      tokenizer: from `load_tokenizer`.
      prefix: the target's word, as in `encode_questions`.
    """
    return list(_ids(tokenizer, [f"{prefix}: "])[0])


def encode_targets(
    tokenizer, texts: Sequence[str], max_length: int
) -> tuple[list[list[int]], list[int]]:
    """Token ids of many targets, each ending in the end-of-sequence id.

    Args:
      tokenizer: from `load_tokenizer`.
      texts: any number.
      max_length: the most tokens per target, with the end. What is too long loses its last tokens,
        and ends in the end-of-sequence id too, as Hugging Face's truncation has it.

    Returns:
      The ids of each target, and how many tokens each lost.
    """
    whole = _ids(tokenizer, texts)
    rows = [[*ids[: max_length - 1], EOS_ID] for ids in whole]
    cuts = [max(len(ids) + 1 - max_length, 0) for ids in whole]
    return rows, cuts


def decode(tokenizer, rows: Sequence[Sequence[int]]) -> list[str]:
    """The text of each row of token ids, without special tokens and white space around it.

    It is what the tokens spell. Most of T5's tokenizers would drop spaces in front of "." and "n't"
    besides, as their files say, and no longer write what the student was taught.
    """
    texts = tokenizer.batch_decode(
        [list(row) for row in rows], skip_special_tokens=True, clean_up_tokenization_spaces=False
    )
    return [text.strip() for text in texts]


def _ids(tokenizer, texts: Sequence[str]) -> list[list[int]]:
    """The ids of each text, without the end-of-sequence id; none of them is a special token's."""
    import transformers

    if isinstance(tokenizer, transformers.ByT5Tokenizer):  # the same ids, about 100 times faster
        return [[byte + _BYTE_OFFSET for byte in text.encode()] for text in texts]
    encodings = _text_reader(tokenizer).encode_batch_fast(list(texts), add_special_tokens=False)
    return [encoding.ids for encoding in encodings]


@functools.lru_cache(maxsize=4)
def _text_reader(tokenizer):
    """A copy of a tokenizer that takes every text for text, whatever it spells.

    `split_special_tokens` of transformers does not do that: "</s>" is also a piece of T5's
    vocabulary, and normalisation turns other characters into it. Here each special token is spelled
    with a NUL, which no text holds, and has its old id. So ordinary text has the ids that it has in
    `tokenizer`.

    Returns:
      A `tokenizers.Tokenizer`.
    """
    import tokenizers

    content = json.loads(tokenizer.backend_tokenizer.to_str())
    model, added = content["model"], content["added_tokens"]
    special = {token["content"] for token in added if token["special"]}
    special |= set(tokenizer.all_special_tokens)

    def renamed(piece: str) -> str:
        return f"\0{piece}" if piece in special else piece

    # The vocabulary is a list of pieces with their scores (Unigram), or ids by piece.
    if isinstance(model["vocab"], list):
        model["vocab"] = [(renamed(piece), score) for piece, score in model["vocab"]]
    else:
        model["vocab"] = {renamed(piece): index for piece, index in model["vocab"].items()}
    if model.get("unk_token"):
        model["unk_token"] = renamed(model["unk_token"])
    for token in added:
        token["content"] = renamed(token["content"])
    # Nothing is put around a text, and nothing is cut or filled up.
    content |= {"post_processor": None, "truncation": None, "padding": None}
    return tokenizers.Tokenizer.from_str(json.dumps(content))
