"""What a server with OpenAI's interface replies: a text, a refusal, or a failure that passes."""

import contextlib
import email.utils
import json
import math
import re
import time
from collections.abc import Mapping, Sequence

from tinyllm_jax.teachers.engine import Request, Result, one_line

LONGEST_PAUSE = 300.0  # seconds; a server that asks for a longer pause gets this one
NO_KEY = "EMPTY"  # sent where there is no key; a server without keys takes any
# A key has so many characters. A shorter one is a placeholder, and may be a word of a rationale.
SECRET_LENGTH = 16

TRANSIENT_STATUSES = (408, 409, 429)  # besides every 5xx
TOO_LONG = re.compile(
    r"context_length_exceeded|context (length|window|size)|max_model_len|maximum model length|"
    r"too long|maximum number of tokens|max_new_tokens\W+must be|reduce the length",
    re.IGNORECASE,
)
NUMBER = re.compile(r"\d+(\.\d+)?")
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|us|µs|ns|h|m|s)")  # a part of one, such as 1m30.5s
SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}


class TransientFailure(Exception):
    """An attempt failed in a way that passes, so that another one may succeed.

    Attributes:
      wait: the seconds that the server asks to wait; None: it asks for no wait.
      everyone: whether no other request may be sent meanwhile either.
      unreachable: whether nothing accepted the connection.
    """

    def __init__(
        self, why: str, wait: float | None = None, everyone: bool = False, unreachable: bool = False
    ):
        super().__init__(why)
        self.wait, self.everyone, self.unreachable = wait, everyone, unreachable


class Refusal(Exception):
    """The server does not answer this request, and will not do so later.

    Attributes:
      full_text: all that the server said, where the message is one short line of it.
    """

    def __init__(self, why: str, full_text: str):
        super().__init__(why)
        self.full_text = full_text


class PromptTooLong(Exception):
    """The request does not fit the model's window."""


def failure_of(error, key: str) -> TransientFailure | Refusal | PromptTooLong:
    """What an `openai.APIStatusError` means for its request.

    Args:
      error: the error.
      key: the key, which no message may show.
    """
    status, headers, full_text = error.status_code, error.response.headers, str(error.body)
    message = status_line(error, key)
    if status in TRANSIENT_STATUSES or status >= 500:
        return TransientFailure(
            message,
            requested_wait(headers, status),
            everyone=status == 429 or no_requests_left(headers),
        )
    if TOO_LONG.search(full_text):
        return PromptTooLong(message)
    return Refusal(message, full_text)


def status_line(error, key: str) -> str:
    """The status and the server's own words in an `openai.APIStatusError`, without the key."""
    message = error.body.get("message") if isinstance(error.body, dict) else None
    if not isinstance(message, str):
        message = error.body or ""
    return line_without_key(f"{error.status_code} {message}", key)


def line_without_key(text: object, key: str) -> str:
    """One line of what a server or the library says, with the key replaced by asterisks."""
    text = str(text) or type(text).__name__
    if key != NO_KEY:
        # A text may also quote the key as Python or JSON spells it.
        for spelling in {key, repr(key)[1:-1], json.dumps(key)[1:-1]}:
            text = text.replace(spelling, "***")
    return one_line(text)


def no_requests_left(headers: Mapping[str, str]) -> bool:
    """Whether a reply's headers say that no further request is allowed for now."""
    return headers.get("x-ratelimit-remaining-requests", "").strip() == "0"


def requested_wait(headers: Mapping[str, str], status: int) -> float | None:
    """How long a reply asks the client to wait.

    Args:
      headers: the reply's headers.
      status: its status.

    Returns:
      The seconds, at most `LONGEST_PAUSE`; None where the reply asks for nothing.
    """
    wait = _retry_after(headers) if status >= 400 else None
    if wait is None and (status == 429 or no_requests_left(headers)):
        wait = _duration(headers.get("x-ratelimit-reset-requests", "").strip())
    return None if wait is None else min(max(wait, 0.0), LONGEST_PAUSE)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """The seconds in Retry-After or Retry-After-Ms; negative for a date that has passed."""
    milliseconds = headers.get("retry-after-ms", "")
    if NUMBER.fullmatch(milliseconds):
        return float(milliseconds) / 1000
    after = headers.get("retry-after", "").strip()
    if NUMBER.fullmatch(after):
        return float(after)
    if after:
        with contextlib.suppress(ValueError, TypeError, OverflowError):
            return email.utils.parsedate_to_datetime(after).timestamp() - time.time()
    return None


def _duration(text: str) -> float | None:
    """The seconds in a duration such as "1m30.5s"; None where it is none."""
    parts = DURATION.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * SECONDS[unit] for number, unit in parts)


def result_of(request: Request, content: bytes, stop: Sequence[str], cut: int, key: str) -> Result:
    """The result in the bytes of a reply, of /completions or of /chat/completions.

    Args:
      request: what was asked.
      content: the reply.
      stop: the strings before which the text ends, should the server not have seen to it.
      cut: words cut off the context.
      key: the key.

    Raises:
      TransientFailure: the reply is not JSON, or holds no text.
    """
    try:
        body = json.loads(content)
        choice = body["choices"][0]
        text = choice["message"]["content"] if "message" in choice else choice["text"]
        reason = choice.get("finish_reason")
        usage, logprobs = body.get("usage"), choice.get("logprobs")
        if not isinstance(text, str):
            raise TypeError
    except (ValueError, RecursionError, KeyError, IndexError, TypeError, AttributeError):
        quoted = line_without_key(content.decode(errors="replace"), key)
        raise TransientFailure(f"the reply has no text: {quoted}") from None
    ends = [text.index(end) for end in stop if end in text]
    if ends:
        text, reason = text[: min(ends)], "stop"
    if len(key) >= SECRET_LENGTH:
        text = text.replace(key, "***")
    # JSON may hold halves of surrogate pairs; a log is UTF-8, which may not.
    text = text.encode(errors="replace").decode().strip()
    return Result(
        request,
        text=text,
        finish_reason=reason if reason in ("stop", "length") else "unknown",
        prompt_tokens=_token_count(usage, "prompt_tokens"),
        tokens=_token_count(usage, "completion_tokens"),
        mean_logprob=_mean_logprob(logprobs),
        context_cut=cut,
    )


def _token_count(usage: object, name: str) -> int:
    """A count of a reply's `usage`; -1 where it has no such count."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and count >= 0 else -1


def _mean_logprob(logprobs: object) -> float | None:
    """The mean of a reply's log-probabilities; None where it has none, or strange ones."""
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    if not isinstance(values, list):
        return None
    numbers = [value for value in values if type(value) in (int, float)]
    if not numbers:
        return None
    try:
        mean = math.fsum(numbers) / len(numbers)
    except (OverflowError, ValueError):  # numbers that are no logarithms of probabilities
        return None
    return mean if math.isfinite(mean) else None
