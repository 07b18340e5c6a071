r"""Texts without what their spelling adds to them, so that they can be compared.

`normalize` evens out case and white space. `readable` removes marks of Markdown and LaTeX and keeps
the length of the text. `plain` does both, and strips the punctuation around the text.
"""

import re

_QUOTES = str.maketrans("“”„«»‘’‚`\xa0", '"""""\'\'\'" ')
# Marks around words that say nothing: "**b**", "__b__", "\text{b}".
_MARKS = re.compile(
    r"(?<!\w)\*+|\*+(?!\w)|(?<![^\W_])_+|_+(?![^\W_])|\\(?:text|textbf|mathrm|mathbf)(?=\{)"
)
_MATHS = re.compile(r"\$(\(?[a-z]\)?|\s*\\boxed\{.*?\}\s*)\$", re.IGNORECASE)  # "$(b)$"


def normalize(text: str) -> str:
    """The text in one case and with single spaces; texts that become equal count as the same."""
    return " ".join(text.casefold().split())


def readable(text: str) -> str:
    r"""The text, of the same length, with plain quotes and without marks of Markdown and LaTeX.

    "\boxed{" becomes "answer:", for it announces the answer.
    """
    text = _MATHS.sub(r" \1 ", text.translate(_QUOTES))
    if "\\boxed{" in text:
        text = _MARKS.sub(_blank, text).replace("\\boxed{", "answer:")
        text = text.replace("{", " ").replace("}", " ")
    return _MARKS.sub(_blank, text)


def plain(text: str) -> str:
    """The text as choices are compared: in one case, without marks and punctuation around it."""
    return normalize(readable(text)).strip(" .,:;!\"'*()[]<>")


def _blank(match: re.Match) -> str:
    """As many spaces as were matched."""
    return " " * len(match[0])
