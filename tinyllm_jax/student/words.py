"""A tokenizer of whole words, made from a corpus: for students that start from nothing.

A subword tokenizer spells a rare word in several pieces, and a small student would have to learn
first which pieces belong together. Here a word is one token. A piece of punctuation is one too;
what follows the piece before it without a space is marked `##`, as in WordPiece, so that text is
written as it was read, apart from the amount of white space:

    "What can a gopi do?"   What | can | a | gopi | do | ##?

A word that the corpus does not have is read as `<unk>`.
"""

from collections.abc import Iterable

from tinyllm_jax.student.config import EOS_ID, PAD_ID

NAME = "words"  # as config.student.tokenizer
PAD, EOS, UNKNOWN = "<pad>", "</s>", "<unk>"
UNKNOWN_ID = 2
# A vocabulary whose size follows from the words is a multiple of this, which a mesh can divide.
ROUND = 128

# A place without white space, in front of punctuation or behind it.
_JOINT = r"(?<=\S)(?=[^\w\s])|(?<=[^\w\s])(?=\w)"


def make_tokenizer(texts: Iterable[str]):
    """The tokenizer whose words are those of `texts`; a set of equal words gives equal ids.

    Args:
      texts: everything that the student is to read and write.

    Returns:
      A Hugging Face tokenizer with T5's ids for padding (0) and the end of sequence (1).
    """
    import tokenizers
    import transformers

    normalizer = tokenizers.normalizers.Replace(tokenizers.Regex(_JOINT), " ##")
    splitter = tokenizers.pre_tokenizers.WhitespaceSplit()
    words: set[str] = set()
    for text in texts:
        words.update(word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text)))
    special = {PAD: PAD_ID, EOS: EOS_ID, UNKNOWN: UNKNOWN_ID}
    ordinary = sorted(words - set(special))
    vocabulary = special | {word: index for index, word in enumerate(ordinary, len(special))}

    model = tokenizers.models.WordLevel(vocabulary, unk_token=UNKNOWN)
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = splitter
    tokenizer.decoder = tokenizers.decoders.WordPiece(prefix="##", cleanup=False)
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=EOS,
        unk_token=UNKNOWN,
        clean_up_tokenization_spaces=False,
    )
