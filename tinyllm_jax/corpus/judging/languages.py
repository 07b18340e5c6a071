"""Finds texts in another script or language than their question's, and garbled ones."""

import functools
import re
import unicodedata

from tinyllm_jax.corpus.judging.words import split

# Words of grammar that are frequent in one language and are no words of another: not German "was"
# and "die", French "car" and "pour", Dutch "door" and "met", Portuguese "as" and "do".
_GRAMMAR = {
    language: frozenset(words.split())
    for language, words in {
        "English": """the of and to is are were that it its for with this be by from not have has
            can which they because if when we you what how does there would your their or at""",
        "German": """das dass dem der ein eine einem einen einer ist sind nicht und wir ich sie er
            es mit von vom für auf aus zu zum zur wird werden weil oder auch kann können muss müssen
            uns dieses diese dieser nur bei wenn keine letzte""",
        "French": """le la les des du est une dans que qui pas avec cette ces sont il elle ils nous
            vous et aux donc""",
        "Spanish": """el la los las una es del y en por para se porque como más está que lo esta
            este puede""",
        "Italian": """il lo gli le una è sono di del della dei che perché più questo questa può""",
        "Portuguese": """um uma é são dos das que em por para não se porque como mais pode""",
        "Dutch": """het een zijn niet dat voor omdat en de ook wordt worden""",
        "Polish": """jest się nie że są jak dla przez oraz który która""",
    }.items()
}
# UTF-8 that was read as Latin-1 or Windows-1252: "Ã©" for "é", "â€™" for an apostrophe; or as
# Windows-1251: "Р¶РµР»" for "жел"; or bytes that could not be read at all.
_CONTINUATION = (
    "[\u0080-\u00bf" + re.escape(bytes(range(0x80, 0xA0)).decode("cp1252", "ignore")) + "]"
)
_GARBLED = re.compile(
    f"[\u00c2-\u00de]{_CONTINUATION}|[\u00e0-\u00ef]{_CONTINUATION}{{2}}"
    f"|[\u00f0-\u00f4]{_CONTINUATION}{{3}}|(?:[РС][^\\s\\w]?\\S){{4,}}|\ufffd"
)


def is_garbled(text: str) -> bool:
    """Whether a text holds mojibake: characters that come of reading bytes in a wrong encoding."""
    return not text.isascii() and _GARBLED.search(text) is not None


def is_foreign(text: str, asked: str, shares_words: bool) -> bool:
    """Whether a text is in another language than its question, or has words in another script.

    Args:
      text: what was written.
      asked: the question with its choices and context.
      shares_words: whether a content word of the text stands in them; where none does, one word of
        another language's grammar is enough.
    """
    return _has_foreign_script(text, asked) or _has_foreign_grammar(text, asked, shares_words)


def _has_foreign_script(text: str, asked: str) -> bool:
    """Whether most letters, or those of a word with three, are in a script that `asked` lacks.

    So "округу is a circle" has, but "the β-cell" has not.
    """
    if text.isascii() and asked.isascii():
        return False
    scripts = _scripts(asked)

    def is_strange(letter: str) -> bool:
        return letter.isalpha() and _script(letter) not in scripts

    strange = sum(map(is_strange, text))
    if 2 * strange > sum(map(str.isalpha, text)):
        return True
    return any(len(word) >= 3 and all(map(is_strange, word)) for word in split(text))


def _has_foreign_grammar(text: str, asked: str, shares_words: bool) -> bool:
    """Whether the words of grammar in a text are mostly of another language than those in `asked`.

    A question without any is not compared.
    """
    own = _grammar(asked)
    if not any(own.values()):
        return False
    language = max(own, key=own.__getitem__)
    found = _grammar(text)
    other = max(found[name] for name in _GRAMMAR if name != language)
    return other > found[language] and other >= (2 if shares_words else 1)


def _scripts(text: str) -> set[str]:
    """The scripts of a text's letters, e.g. {"LATIN", "CYRILLIC"}."""
    return {_script(letter) for letter in text if letter.isalpha()}


@functools.lru_cache(maxsize=10_000)
def _script(letter: str) -> str:
    """The first word of a letter's name in Unicode, which is its script."""
    return unicodedata.name(letter, "UNKNOWN").split()[0]


def _grammar(text: str) -> dict[str, int]:
    """How many words of each language's grammar a text holds."""
    words = split(text)
    return {name: sum(word in some for word in words) for name, some in _GRAMMAR.items()}
