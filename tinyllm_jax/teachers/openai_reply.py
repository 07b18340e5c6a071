"""What the refusals of a server with OpenAI's interface mean, and what to leave out for it."""

import json
import re
from collections.abc import Mapping

from tinyllm_jax.teachers import reply
from tinyllm_jax.teachers.engine import one_line

NO_KEY = "EMPTY"  # sent where there is no key; a server without keys takes any
# The parameters that a server may refuse, though the text does not hang on them: what is sent in
# place of each ("": nothing, for a text is cut at the stop strings here too, and a seed binds no
# server), and the one value that may be left out, the interface's default (None: any).
QUIRKS = {
    "max_tokens": ("max_completion_tokens", None),
    "stop": ("", None),
    "logprobs": ("", None),
    "seed": ("", None),
    "temperature": ("", 1),
    "top_p": ("", 1),
}
PARAMETERS = {*QUIRKS, "max_completion_tokens"}
# What a refusal is about, by its words, in the order in which they are looked for: a quota that is
# spent, the model's window, what a prompt says, or the model or its chat template.
ABOUT = {
    "spent": r"insufficient[_ ](quota|credits?|balance|funds)|credit balance",
    "window": r"context_length_exceeded|context (length|window|size)|max_model_len"
    r"|(prompt|input|messages?) (is |are |was )?too long|maximum (model|input|prompt) length"
    r"|maximum number of (input )?tokens|input token count.{0,40}exceed"
    r"|max_new_tokens\W+must be|reduce the length of the (messages|prompt|input)",
    "content": r"moderation|flagged|content.{0,12}(policy|filter)|safety",
    "model": r"model_not_found|invalid model|chat.?template"
    r"|\bmodel\b.{0,60}(does not exist|not found|is not available)",
}
REFUSES_PARAMETER = (
    r"unsupported|not (support|permitted|allowed)|extra_forbidden|unrecognized|unknown"
    r"|too (long|many|large)|at most|maximum"
)
# An error without a number that would come again; any other one may pass.
LASTING = r"invalid|content_filter|context_length|unsupported|badrequest|not_found|auth|billing"


def failure_of(error, parameters: Mapping, key: str) -> tuple[str, str]:
    """What an `openai.APIError` means, the last of all attempts with these parameters.

    Returns:
      (one line without the key; what it is about: a name of `ABOUT`, one of `PARAMETERS`, "key",
      "server", to which nothing connects, or "" for anything else).
    """
    cause = error.__cause__ or error
    line, about = str(cause) or type(cause).__name__, ""
    if hasattr(error, "status_code"):
        message = error.body.get("message") if isinstance(error.body, dict) else None
        number = error.response.extensions.get("number", error.status_code)
        line = f"{number} {message if isinstance(message, str) else error.body or ''}".strip()
        about = _about(error, parameters)
    elif type(cause).__name__ in ("ConnectError", "ConnectTimeout"):
        about = "server"
    attempts = int(error.request.headers.get("x-stainless-retry-count", 0)) + 1
    line = line_without_key(line, key)
    return (f"{attempts} attempts failed, the last: {line}" if attempts > 1 else line), about


def _about(error, parameters: Mapping) -> str:
    """What an `openai.APIStatusError` is about, as in `failure_of`."""
    said, status = f"{error.body} {error.message}", error.status_code
    named = str(error.body.get("param") if isinstance(error.body, dict) else "")
    named = named.removeprefix("body.")
    if named in PARAMETERS & parameters.keys() - {"max_tokens"}:
        return named
    about = next((name for name, words in ABOUT.items() if _found(words, said)), "")
    if about == "spent" or (about and status < 500 and status != 429):
        return about
    if status in (401, 402, 403, 404):
        return "model" if status == 404 else "key"
    names = [name for name in PARAMETERS & parameters.keys() if _found(rf"\b{name}\b", said)]
    return min(names) if names and status in (400, 422) and _found(REFUSES_PARAMETER, said) else ""


def mend_status(response) -> None:
    """Gives a reply with status 200 that is an error the status that it stands for.

    So the client's own machinery asks again where that can help. A reply that is broken counts as
    a 502; a web page or a stream does not, for it would come again. Nor is a spent quota asked
    again, though its status is that of a rate limit.
    """
    body, error = reply.json_of(response.content), None
    if response.status_code < 300 and not (isinstance(body, dict) and "data" in body):
        if choice := reply.choice_of(body):
            error = choice.get("error")  # it failed in the middle of the text
        elif isinstance(body, dict):
            error = body.get("error") or body
        elif not response.content.lstrip().startswith((b"<", b"data:", b"event:")):
            error = "broken"
    if error:
        fields = error if isinstance(error, dict) else {}
        numbers = [str(fields.get(name)) for name in ("code", "status", "status_code")]
        number = next((text for text in numbers if re.fullmatch(r"[45]\d\d", text)), "")
        lasting = _found(LASTING, f"{fields.get('code')} {fields.get('type')}")
        response.status_code = int(number or (400 if lasting else 502))
        response.extensions["number"] = number  # what it names itself
    if _found(ABOUT["spent"], response.text):
        response.headers["x-should-retry"] = "false"


def _found(pattern: str, text: str) -> bool:
    return bool(re.search(pattern, text, re.IGNORECASE))


def line_without_key(text: object, key: str) -> str:
    """One line of what a server or the library says, with the key replaced by asterisks."""
    text = str(text)
    if key != NO_KEY and len(key) > 3:  # a shorter one is a placeholder
        # A text may also quote the key as Python or JSON spells it.
        for spelling in {key, repr(key)[1:-1], json.dumps(key)[1:-1]}:
            text = text.replace(spelling, "***")
    return one_line(text)
