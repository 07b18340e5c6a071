"""What a server with OpenAI's interface replies: a text, a refusal, or a failure that passes."""

import contextlib
import email.utils
import json
import math
import re
import time
from collections.abc import Mapping, Sequence

from tinyllm_jax.teachers.engine import Request, Result, one_line

LONGEST_PAUSE = 300.0  # seconds, of those that a server asks for
NO_KEY = "EMPTY"  # sent where there is no key; a server without keys takes any
SECRET = 16  # a key has as many characters; a shorter one is a placeholder, a word that a rationale may hold

PASSING = (408, 409, 429)  # besides every 5xx
TOO_LONG = re.compile(
    r"context_length_exceeded|context (length|window|size)|max_model_len|maximum model length|too long|"
    r"maximum number of tokens|max_new_tokens\W+must be|reduce the length",
    re.IGNORECASE,
)
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")
UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class Again(Exception):
    """An attempt failed in a way that passes.

    Attributes:
      wait: the seconds that the server asks to wait; None: it names none.
      everyone: no other request may be sent meanwhile either.
      unreachable: nothing accepted the connection.
    """

    def __init__(
        self, why: str, wait: float | None = None, everyone: bool = False, unreachable: bool = False
    ):
        super().__init__(why)
        self.wait, self.everyone, self.unreachable = wait, everyone, unreachable


class Refusal(Exception):
    """The server does not answer this request, and will not do so later; `everything` is all that it said."""

    def __init__(self, why: str, everything: str):
        super().__init__(why)
        self.everything = everything


class TooLong(Exception):
    """The request does not fit the model's window."""


def failure(error, key: str) -> Again | Refusal | TooLong:
    """What an `openai.APIStatusError` means for its request."""
    status, headers, everything = error.status_code, error.response.headers, str(error.body)
    if status in PASSING or status >= 500:
        return Again(
            said(error, key),
            asked_wait(headers, status),
            everyone=status == 429 or used_up(headers),
        )
    return (
        TooLong(said(error, key))
        if TOO_LONG.search(everything)
        else Refusal(said(error, key), everything)
    )


def said(error, key: str) -> str:
    """The status and the server's own words in an `openai.APIStatusError`."""
    words = error.body.get("message") if isinstance(error.body, dict) else None
    return line(f"{error.status_code} {words if isinstance(words, str) else error.body or ''}", key)


def line(text: object, key: str) -> str:
    """One line of what a server or the library says, without the key."""
    text = str(text) or type(text).__name__
    if key != NO_KEY:
        for spelt in {key, repr(key)[1:-1], json.dumps(key)[1:-1]}:
            text = text.replace(spelt, "***")
    return one_line(text)


def used_up(headers: Mapping[str, str]) -> bool:
    """Whether no further request is allowed for now."""
    return headers.get("x-ratelimit-remaining-requests", "").strip() == "0"


def asked_wait(headers: Mapping[str, str], status: int) -> float | None:
    """The seconds that a reply's headers ask to wait, at most `LONGEST_PAUSE`; None where they ask for nothing."""
    found = None
    if status >= 400:
        after = headers.get("retry-after", "").strip()
        number = re.fullmatch(r"\d+(\.\d+)?", after)
        if re.fullmatch(r"\d+(\.\d+)?", headers.get("retry-after-ms", "")):
            found = float(headers["retry-after-ms"]) / 1000
        elif number:
            found = float(after)
        elif after:
            with contextlib.suppress(ValueError, TypeError, OverflowError):
                found = email.utils.parsedate_to_datetime(after).timestamp() - time.time()
    if found is None and (status == 429 or used_up(headers)):
        reset = headers.get("x-ratelimit-reset-requests", "").strip()
        parts = DURATION.findall(reset)
        if parts and "".join(map("".join, parts)) == reset:
            found = sum(float(number) * UNITS[unit] for number, unit in parts)
    return None if found is None else min(max(found, 0.0), LONGEST_PAUSE)


def result(request: Request, content: bytes, stop: Sequence[str], cut: int, key: str) -> Result:
    """The result in a reply's bytes, of /completions or of /chat/completions.

    Args:
      request: what was asked.
      content: the reply.
      stop: the strings before which the text ends, should the server not have seen to it.
      cut: words cut off the context.
      key: the key.

    Raises:
      Again: it is not JSON, or holds no text.
    """
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        reason, usage, logprobs = (
            choice.get("finish_reason"),
            body.get("usage"),
            choice.get("logprobs"),
        )
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        raise Again(
            f"the reply has no text: {line(content.decode(errors='replace'), key)}"
        ) from None
    ends = [text.index(end) for end in stop if end in text]
    if ends:
        text, reason = text[: min(ends)], "stop"
    if len(key) >= SECRET:
        text = text.replace(key, "***")
    # A log is UTF-8, which has no halves of surrogate pairs; JSON has.
    text = text.encode(errors="replace").decode().strip()
    return Result(
        request,
        text,
        reason if reason in ("stop", "length") else "unknown",
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        _mean_logprob(logprobs),
        cut,
    )


def _count(usage: object, name: str) -> int:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and count >= 0 else -1


def _mean_logprob(logprobs: object) -> float | None:
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    values = (
        [value for value in values if type(value) in (int, float)]
        if isinstance(values, list)
        else []
    )
    try:
        mean = math.fsum(values) / len(values) if values else math.nan
    except (OverflowError, ValueError):  # numbers that no logarithm of a probability is
        mean = math.nan
    return mean if math.isfinite(mean) else None
