"""What a model's reply says: a rationale, or the reason why there is none.

The job hands every result to `read`; the engine `openai` has its replies' JSON read here too. A
chat model thinks aloud before it answers, greets, or refuses in words; none of that is a rationale.
"""

import dataclasses
import json
import re
import unicodedata
from collections.abc import Sequence

from tinyllm_jax.teachers.engine import Request, Result, one_line

# Servers' names of the reasons why a text ended → ours; any other one is "unknown".
FINISH_REASONS = {
    "stop": "stop",
    "length": "length",
    "max_tokens": "length",
    "content_filter": "content_filter",
    "safety": "content_filter",
    "recitation": "content_filter",
    "prohibited_content": "content_filter",
}
# Why a text is empty, by the reason why it ended.
EMPTY = {
    "length": "no text within max_tokens; raise max_tokens",
    "stop": "the text is empty",
    "unknown": "the text is empty",
}
REFUSED = 300  # characters; a longer text is no refusal, whatever it begins with

_ESCAPE = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|.?)", re.DOTALL)
_END_TOKEN = re.compile(r"(?:<\|(?:im_end|eot_id|end|endoftext|return)\|>|</s>|\s)+$")
# What marks the beginning and the end of a model's thoughts, and what surrounds its answer.
_THOUGHTS = "think|thinking|thoughts?|reasoning|reflection|analysis|scratchpad|seed:think"
_OPEN = re.compile(
    rf"<(?:{_THOUGHTS})>|\[THINK\]|◁think▷|<\|begin_of_thought\|>"
    r"|<\|channel\|>(?:analysis|commentary)\b[^<]*<\|message\|>",
    re.IGNORECASE,
)
_CLOSE = re.compile(
    rf"</(?:{_THOUGHTS})>|\[/THINK\]|◁/think▷|<\|end_of_thought\|>"
    r"|<\|channel\|>final\b[^<]*<\|message\|>",
    re.IGNORECASE,
)
_WRAPPER = re.compile(
    r"</?(?:answer|final|response|output|solution|rationale|explanation)>", re.IGNORECASE
)
# "Sure! I'd be happy to help. Here is the explanation:", and a heading over it.
_PREAMBLE = re.compile(
    r"""\s*
    (?:(?:sure(?:\ thing)?|certainly|of\ course|absolutely|okay|ok|alright|(?:great|good)\ question
        |(?:I(?:['’]d\ be|['’]m|\ am|\ would\ be)\ )?(?:happy|glad)\ to\ help(?:\ you)?
         (?:\ with\ (?:that|this))?)
       \s*(?:[.!:]+|\n|$|[,–—-]+(?=\s*(?:here|below|let\ me|I['’]|(?:happy|glad)\ to)))\s*){0,3}
    (?:let\ me\ explain\s*[.!:]\s*
      |(?:here(?:['’]s|\ is|\ are)|below\ (?:is|are)|(?:let\ me|I['’]ll)\ explain)\b
       [^.!?:\n]{0,100}?(?::|\b(?:explanation|rationale|reasoning|answer|analysis|steps|why)[.!]?\s*(?:\n|$))\s*)?
    (?:[\s\#*_]*(?:rationale|explanation|reasoning)\s*(?::[\s*_]*|[*_]*\n\s*|[*_]+:\s*))?
    """,
    re.IGNORECASE | re.VERBOSE,
)
_REFUSAL = re.compile(
    r"""(?:(?:(?:I['’]m|I\ am|we['’]re|we\ are)\ (?:\w+\ )?sorry|sorry|(?:my\ )?apologies
           |I\ (?:must\ )?apologi[sz]e|unfortunately)\b[^.!?\n]{0,40}?[,.!:;\s–—-]*)?
    (?:but\ )?(?:as\ an\ AI\b[^.!?\n]{0,60},\s*)?
    (?:I|we)(?:['’]m|\ am|['’]re|\ are)?\ (?:can(?:not|['’]t|\ not)|won['’]t|will\ not|unable\ to
       |not\ able\ to|must\ decline\ to)\ (?:be\ able\ to\ )?
    (?:help|assist|answer|provide|comply|fulfil\w*|discuss|continue|generate|create|engage|do)\b
    """,
    re.IGNORECASE | re.VERBOSE,
)


def read(result: Result, stop: Sequence[str] = (), refusal: str = "") -> Result:
    """A result with the model's own text, or with the reason why there is none.

    Args:
      result: the result, with all that the model wrote; one that has been read stays as it is.
      stop: the strings before which the text ends, should the engine not have seen to it.
      refusal: the model's words where it refuses outside its text.
    """
    if result.error:
        return result
    reason = FINISH_REASONS.get(result.finish_reason.lower().replace("-", "_"), "unknown")
    text, thinking = own_text(result.text)
    ends = [text.index(end) for end in stop if end in text]
    if ends:
        text, reason = text[: min(ends)].rstrip(), "stop"
    error = ""
    if refusal.strip():
        error = f"the model refused: {one_line(refusal)}"
    elif reason == "content_filter":
        error = "the server's content filter refused the text"
    elif len(text) <= REFUSED and _REFUSAL.match(text):
        error = f"the model refused: {one_line(text)}"
    elif not text and thinking and reason != "length":
        error = "the text is nothing but the model's thoughts"
    elif not text:
        error = EMPTY[reason]
    text = "" if error else text
    return dataclasses.replace(result, text=text, finish_reason=reason, error=error)


def own_text(text: str) -> tuple[str, bool]:
    """What a model wrote, without its thoughts, its greeting and what no terminal should get.

    Returns:
      (the text, whether there were thoughts). Thoughts without an end reach to the end of the
      text; thoughts without a beginning begin where the text does.
    """
    text = _END_TOKEN.sub("", clean(text))
    closed = [match.end() for match in _CLOSE.finditer(text)]
    text = text[closed[-1] :] if closed else text
    opened = _OPEN.search(text)
    text = text[: opened.start()] if opened else text
    text = _WRAPPER.sub("", text)
    text = text[_PREAMBLE.match(text).end() :]  # type: ignore[union-attr]  # it matches ""
    return text.strip(), bool(closed or opened)


def clean(text: str) -> str:
    """The text without escapes, control characters and halves of surrogate pairs."""
    # JSON may hold halves of surrogate pairs; a log is UTF-8, which may not.
    text = _ESCAPE.sub("", text).encode(errors="replace").decode()
    text = re.sub(r"\r\n?|[\u2028\u2029]", "\n", text)
    return "".join(
        character
        for character in text
        if character in "\n\t\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf")
    )


def openai_result(
    request: Request, content: bytes, stop: Sequence[str], cut: int, secret: str
) -> Result:
    """The result in a reply of OpenAI's /completions or /chat/completions.

    Args:
      request: the request.
      content: the reply's body.
      stop: as in `read`.
      cut: words cut off the context.
      secret: what no text may show; "" for nothing.
    """
    body = json_of(content)
    choice = choice_of(body)
    message = choice.get("message", {"content": choice.get("text")})
    if not isinstance(body, dict) or not isinstance(message, dict):
        quoted = content.decode(errors="replace").replace(secret or "\0", "***")
        return Result(request, error=f"the reply has no text: {one_line(quoted)}")
    text, refusal = _text_of(message.get("content")), str(message.get("refusal") or "")
    if not text and message.get("tool_calls"):
        refusal = "it called a tool in place of writing a text"
    if secret:
        text, refusal = text.replace(secret, "***"), refusal.replace(secret, "***")
    result = Result(
        request,
        text,
        str(choice.get("finish_reason")),
        _token_count(body.get("usage"), "prompt_tokens"),
        _token_count(body.get("usage"), "completion_tokens"),
        _mean_logprob(choice.get("logprobs")),
        cut,
    )
    return read(result, stop, refusal)


def json_of(content: bytes) -> object:
    """What the JSON of a reply holds; None where it is none."""
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def choice_of(body: object) -> dict:
    """The first choice of a reply; an empty one where there is none."""
    choices = body.get("choices") if isinstance(body, dict) else None
    first = choices[0] if isinstance(choices, list) and choices else None
    return first if isinstance(first, dict) else {}


def _text_of(content: object) -> str:
    """The text of a content, which may come in parts; thoughts among them are left out."""
    text = ""
    for part in content if isinstance(content, list) else [content]:
        if isinstance(part, dict) and part.get("type", "text") in ("text", "output_text"):
            part = part.get("text")
        text += part if isinstance(part, str) else ""
    return text


def _token_count(usage: object, name: str) -> int:
    """A count of a reply's `usage`; -1 where it has no such count."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and count >= 0 else -1


def _mean_logprob(logprobs: object) -> float | None:
    """The mean of a reply's log-probabilities; None where it has none, or strange ones."""
    values = logprobs.get("token_logprobs") if isinstance(logprobs, dict) else None
    numbers = [value for value in values or [] if type(value) in (int, float)]
    return sum(numbers) / len(numbers) if numbers and sum(map(abs, numbers)) < 1e9 else None


def model_names(content: bytes) -> list[str]:
    """The names in a server's list of models; none where it is no such list."""
    body = json_of(content)
    models = body.get("data") if isinstance(body, dict) else None
    named = [model.get("id") for model in models or [] if isinstance(model, dict)]
    return [name for name in named if isinstance(name, str)]
