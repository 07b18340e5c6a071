"""Finds texts that are no rationale but a refusal to write one, or an error message."""

import re

_CANNOT = (
    r"(?:can(?:not|['’]?t| ?not)|could(?: not|n['’]t)|won['’]t|will not|am (?:not able|unable) to"
    r"|['’]m (?:not able|unable) to|must decline to|have to decline)"
)
_REFUSAL = re.compile(
    # "I'm sorry, but I can't assist with that.", "Sorry, I am unable to answer."
    rf"\b(?:sorry|apologi[sz]e|afraid)\b[^.!?\n]{0, 80}\b(?:I|we)\b ?{_CANNOT}"
    # "I cannot help with that request.", "I'm unable to provide an answer."
    rf"|\bI ?{_CANNOT} (?:\w+ )?(?:help|assist|answer|respond|comply|fulfil+|provide|create"
    r"|generate|continue|engage|discuss|do that)\b"
    # "I don't feel comfortable answering this.", "I do not have enough information."
    r"|\bI (?:do not|don['’]?t) (?:feel comfortable|have (?:enough|sufficient)) "
    # "As an AI language model, I …", "I'm just an AI"
    r"|\b(?:as|I am|I['’]m)(?: just| only)? an? (?:AI\b|artificial intelligence|(?:large )?language"
    r" model|(?:virtual|digital) assistant)"
    # "This request violates our policy."
    r"|\bviolates? (?:our|the|my)\b[^.\n]{0,80}\b(?:policy|policies|guidelines)\b",
    re.IGNORECASE,
)
# At the beginning of a text: "Error: rate limit exceeded", '{"error": "overloaded"}',
# "openai.RateLimitError: …", "HTTP 503", "429 Too Many Requests", "Traceback (most recent call".
_ERROR = re.compile(
    r"""[\s\W]*(?:
        (?:[\w.]*(?:error|exception)|fatal|failed)["']?\s*[:={(]
        | (?:api|server|internal|runtime|network|connection|request|timeout|http|unknown
            |unexpected)\s(?:server\s)?(?:error|failure)\b
        | (?:http\S*\s|error\s|status(?:\scode)?:?\s)\s*[1-5]\d\d\b
        | [45]\d\d\s(?:unauthori[sz]ed|forbidden|not\sfound|too\smany|bad\srequest|(?:bad\s)?gateway
            |(?:internal\s|client\s|server\s)+error|service\sunavailable)\b
        | traceback\s\(
        | (?:rate|token|quota|context)\s(?:limit|length)\sexceeded|too\smany\srequests
        | (?:the\s)?(?:\w+\s){0,2}(?:connection|request)\s(?:has\s|was\s)?
            (?:timed\sout|time-?out|refused|reset|aborted)\b
        | (?:service|server|model|engine)\s(?:is\s)?(?:currently\s|temporarily\s)*
            (?:unavailable|overloaded)\b
        | (?:the\s)?(?:server|service)\s(?:had|encountered|returned)\san\s(?:\w+\s)?error\b
        | cuda\sout\sof\smemory|out\sof\smemory\b
        | <!doctype|<html
        )""",
    re.IGNORECASE | re.VERBOSE,
)


def is_refusal(text: str) -> bool:
    """Whether the writer says that it will not or cannot answer."""
    return _REFUSAL.search(text) is not None


def is_error_message(text: str) -> bool:
    """Whether the text begins as an error message of a program does."""
    return _ERROR.match(text) is not None
