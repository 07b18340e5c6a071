"""The openai engine against a real server that refuses, fails, trickles, lies and vanishes."""

import pytest
from bad_server import BadServer, completion, error, half, hang_up, nothing, say, send, trickle
from openai_runs import ask, never, one, quick, refused, run  # noqa: F401, quick is a fixture

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers.config import teacher
from tinyllm_jax.teachers.openai_engine import OpenaiEngine

# --------------------------------------------------------------------------------------------------
# Failures that pass.


BAD = {
    "429": error(429, "slow down"),
    "500": error(500, "broken"),
    "502 html": send(502, b"<html>Bad Gateway</html>", "text/html"),
    "408": send(408, b""),
    "409": error(409, "conflict"),
    "garbage": send(200, b"\x00\xff garbage"),
    "list": send(200, []),
    "deep": send(200, b"[" * 100_000),
    "no choices": send(200, {"choices": []}),
    "error in 200": send(200, {"error": {"message": "overloaded"}}),
    "empty": send(200, b""),
    "hang up": hang_up,
    "half a reply": half,
    "nothing": nothing,
    "slow body": trickle(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n"),
    "slow headers": trickle(b"HTTP/1.1 200 OK\r\nX: "),
    "slow error": trickle(b"HTTP/1.1 500 Oh\r\nContent-Type: application/json\r\n\r\n"),
}


def test_bad_replies_are_asked_again():
    with BadServer(lambda call: BAD[call.prompt] if call.attempt == 0 else say("fine")) as server:
        results = run(server, [ask(kind) for kind in BAD], concurrency=len(BAD), timeout=5.0)
    assert {kind: result.error or result.text for kind, result in results.items()} == dict.fromkeys(
        BAD, "fine"
    )
    assert server.seen == dict.fromkeys(BAD, 2)


def test_requests_that_fail_for_good_are_failed_rows_and_the_others_go_on():
    why = {
        "429": "429 slow down",
        "500": "500 broken",
        "garbage": "\ufffd garbage",
        "408": "408",
        "nothing": "no whole reply within 5 s",
        "slow body": "no whole reply within 5 s",
        "hang up": "disconnected",
        "error in 200": "overloaded",
        "502 html": "502 <html>Bad Gateway</html>",
        "half a reply": "closed",
    }
    with BadServer(lambda call: BAD.get(call.prompt) or say("fine")) as server:
        results = run(
            server,
            [ask("first"), *map(ask, why), ask("last")],
            concurrency=len(why),
            timeout=5.0,
            retries=1,
        )
    assert [results.pop(good).text for good in ("first", "last")] == ["fine", "fine"]
    assert server.seen == dict.fromkeys(why, 2) | {"first": 1, "last": 1}
    for kind, result in results.items():
        assert (
            result.error.startswith("2 attempts failed, the last: ")
            and why[kind] in result.error
            and result.text == ""
        )


def test_errors_are_one_short_line():
    result, _ = one(lambda call: error(500, "a\n\tb\x1b[31m\u2028" + "long " * 500), retries=0)
    assert result.error.startswith("500 a b [31m long") and len(result.error) <= 300
    assert result.error.isprintable()


def test_wrong_content_type_around_a_good_reply_is_read():
    result, calls = one(lambda call: send(200, completion("fine"), "text/plain"))
    assert result.text == "fine" and len(calls) == 1


def test_a_server_that_dies_ends_the_job_after_the_retries():
    with BadServer(lambda call: say("x")) as server:
        engine = OpenaiEngine(
            teacher(engine="openai", model="m", base_url=server.base_url, retries=2), "t"
        )
    with pytest.raises(
        UserError, match=r"teacher 't': no server answers at .*: 3 attempts .*; start it"
    ):
        list(engine.generate([ask("a"), ask("b")], never))
    engine.close()


def test_the_wait_that_a_server_asks_for_is_kept():
    asked = {"seconds": {"retry_after": "0.4"}, "milliseconds": {"retry_after_ms": "400"}}
    with BadServer(
        lambda call: say("x") if call.attempt else error(503, "loading", **asked[call.prompt])
    ) as server:
        results = run(server, map(ask, asked))
    assert [result.text for result in results.values()] == ["x", "x"]
    for kind in asked:
        first, second = (call.at for call in server.calls if call.prompt == kind)
        assert second - first >= 0.4


@pytest.mark.parametrize(
    "said, status, again",
    [
        ({"message": "Insufficient credits", "code": 402}, 402, False),
        ({"message": "slow down", "code": 429}, 429, True),
        ({"message": "slow down", "code": "502"}, 502, True),
        ({"message": "no", "type": "invalid_request_error"}, "", False),
        ({"message": "no", "code": "content_filter"}, "", False),
        ({"message": "overloaded"}, "", True),
        ("overloaded", "", True),
    ],
    ids=str,
)
@pytest.mark.parametrize("place", ["body", "choice", "bare"])
def test_an_error_under_status_200_counts_as_the_status_that_it_names(said, status, again, place):
    """It is asked again, or ends the job, as a reply with that status would."""
    body: dict = {"id": None, "choices": None, "error": said}
    if place == "choice":
        body = {"choices": [{"text": "Half of", "finish_reason": "error", "error": said}]}
    elif place == "bare" and isinstance(said, dict):
        body = {"object": "error", **said}
    with BadServer(lambda call: send(200, body)) as server:
        if status == 402:
            with pytest.raises(UserError, match="says: 402 Insufficient credits|quota is spent"):
                run(server, [ask("q")], retries=1)
        else:
            (result,) = run(server, [ask("q")], retries=1).values()
            message = said["message"] if isinstance(said, dict) else said
            assert result.text == "" and message in result.error
            assert result.error.startswith(
                f"2 attempts failed, the last: {status}" if again else ""
            )
    assert len(server.calls) == 1 + again


# What comes with status 200 and without a text, and would come again; and why there is none.
LASTING = {
    "page": (send(200, b"<!doctype html><html>login</html>"), "the reply has no text: <!doctype"),
    "stream": (send(200, b'data: {"choices": []}\n\ndata: [DONE]'), "the reply has no text: data:"),
    "null": (send(200, completion(None)), "the text is empty"),
    "number": (send(200, completion(5)), "the text is empty"),
    "white": (send(200, completion(" \n\n ")), "the text is empty"),
    "long": (send(200, completion("", finish_reason="length")), "raise max_tokens"),
    "LONG": (send(200, completion(None, finish_reason="MAX_TOKENS")), "raise max_tokens"),
    "filter": (send(200, completion(None, finish_reason="content_filter")), "content filter"),
    "part": (send(200, completion("Half", finish_reason="content_filter")), "content filter"),
    "thoughts": (send(200, completion("<think>Hm.", finish_reason="length")), "raise max_tokens"),
    "stopped": (send(200, completion("<think>Hm.</think>")), "nothing but the model's thoughts"),
    "sorry": (
        send(200, completion("I’m sorry, but I can’t help with that.")),
        "refused: I’m sorry",
    ),
}


@pytest.mark.parametrize("kind", LASTING)
def test_a_reply_without_a_text_that_would_come_again_is_asked_once(kind):
    reply, why = LASTING[kind]
    result, calls = one(lambda call: reply)
    assert why in result.error and result.text == "" and len(calls) == 1


@pytest.mark.parametrize(
    "message, why",
    [
        ({"content": None, "refusal": "I'm sorry."}, "the model refused: I'm sorry."),
        ({"content": [{"type": "refusal", "refusal": "No."}], "refusal": "No."}, "refused: No."),
        ({"content": None, "tool_calls": [{"id": "1"}]}, "it called a tool"),
        ({"content": None, "reasoning_content": "Hm."}, "the text is empty"),
        ({"content": [{"type": "thinking", "thinking": []}]}, "the text is empty"),
        ({}, "the text is empty"),
    ],
)
def test_a_message_without_a_text(message, why):
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    result, calls = one(lambda call: send(200, body), chat=True)
    assert why in result.error and len(calls) == 1


@pytest.mark.parametrize(
    "content",
    [
        "Iron.",
        [{"type": "text", "text": "Iron."}],
        [{"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}, {"text": "Iron."}],
        ["Ir", {"type": "output_text", "text": "on."}, {"type": "image", "text": "x"}],
    ],
)
def test_a_content_is_read_in_parts_and_without_thoughts(content):
    message = {"content": content, "reasoning_content": "Hm, iron."}
    body = {"choices": [{"message": message, "finish_reason": "stop"}]}
    result, _ = one(lambda call: send(200, body), chat=True)
    assert (result.text, result.error) == ("Iron.", "")


@pytest.mark.parametrize(
    "said",
    [
        "Invalid 'stop': array too long. Expected an array with maximum length 4.",
        "stop: List should have at most 4 items",
    ],
)
def test_stop_strings_that_a_server_does_not_take_are_seen_to_here(said, capsys):
    def script(call):
        return error(400, said) if "stop" in call.body else say("One.Q: two")

    with BadServer(script) as server:
        results = run(server, [ask("a", "w " * 9), ask("b")], concurrency=1, stop=("Q:",))
    assert [(result.text, result.context_cut) for result in results.values()] == [("One.", 0)] * 2
    assert len(server.calls) == 3
    assert capsys.readouterr().err.count("the server takes no stop") == 1


@pytest.mark.parametrize(
    "message",
    [
        "max_tokens is too large: 256. This model supports at most 128 completion tokens.",
        "Unsupported value: 'top_p' does not support 0.5",
    ],
)
def test_a_field_that_must_be_changed_is_told_once(message):
    line = refused(lambda call: error(400, message), chat=True, top_p=0.5)
    assert "the server refuses" in line and message.split(".")[0] in line


@pytest.mark.parametrize(
    "message",
    [
        "/chat/completions: Invalid model name passed in model=m.",
        "Cannot use chat template functions because tokenizer.chat_template is not set",
        "The model `m` does not exist",
    ],
)
def test_what_concerns_every_request_ends_the_job(message):
    assert "check model and base_url" in refused(lambda call: error(400, message))


def test_a_proxy_and_a_missing_v1_are_named(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "")
    monkeypatch.setenv("HTTP_PROXY", "http://me:secret@127.0.0.1:9")
    fields = dict(engine="openai", model="m", base_url="http://127.0.0.1:9")
    with pytest.raises(UserError) as raised:
        OpenaiEngine(teacher(**fields), "t")
    line = str(raised.value)
    assert "base_url has no /v1 at its end" in line and "secret" not in line
    assert "the proxy in $HTTP_PROXY is used, unless NO_PROXY=127.0.0.1 is set" in line


def test_a_web_page_for_a_server():
    line = refused(models=send(200, b"<!doctype html>", "text/html"))
    assert "check model and base_url" in line and "says: <a web page>" in line


# --------------------------------------------------------------------------------------------------
# Failures that do not pass.


@pytest.mark.parametrize(
    "status, named",
    [
        (401, r"check the key in \$OPENAI_API_KEY; "),
        (402, "check the key"),
        (403, "check the key"),
        (404, "check model and base_url, or set chat=True"),
    ],
)
def test_a_refusal_of_all_ends_the_job_at_once(status, named):
    with (
        BadServer(lambda call: error(status, "no way")) as server,
        pytest.raises(UserError, match=named) as raised,
    ):
        run(server, [ask(f"q{i}") for i in range(20)], concurrency=1)
    assert f"says: {status} no way" in str(raised.value) and len(server.calls) == 1


def test_what_was_finished_before_a_refusal_is_yielded_and_nobody_waits_for_the_rest():
    script = {"fine": say("fine"), "bad": error(401, "revoked"), "hangs": nothing}
    with BadServer(lambda call: script[call.prompt]) as server:
        engine = OpenaiEngine(
            teacher(
                engine="openai", model="m", base_url=server.base_url, concurrency=2, timeout=600.0
            ),
            "t",
        )
        results = engine.generate([ask("hangs"), ask("fine"), ask("bad")], never)
        assert next(results).text == "fine"
        with pytest.raises(UserError, match="revoked"):
            next(results)
        engine.close()


def test_a_spent_quota_ends_the_job():
    assert "quota is spent" in refused(
        lambda call: error(429, "You exceeded your current quota", code="insufficient_quota")
    )


@pytest.mark.parametrize("status", [400, 413, 422, 405])
def test_a_refused_request_is_a_failed_row(status):
    with BadServer(
        lambda call: error(status, "content filter") if call.prompt == "bad" else say("x")
    ) as server:
        results = run(server, [ask("bad"), ask("a")])
    assert (
        results["bad"].error == f"{status} content filter"
        and results["a"].text == "x"
        and len(server.calls) == 2
    )


@pytest.mark.parametrize(
    "reply",
    [
        error(400, "no", code="context_length_exceeded"),
        error(400, "This model's maximum context length is 64 tokens. However, you requested 100."),
        error(
            400, "The decoder prompt (length 100) is longer than the maximum model length of 64."
        ),
        error(413, "prompt is too long: 100 tokens"),
        send(422, {"error": "`inputs` tokens + `max_new_tokens` must be <= 64"}),
    ],
    ids=range(5),
)
def test_the_context_is_cut_until_it_fits(reply):
    context = " ".join(f"w{i}" for i in range(10))
    result, calls = one(
        lambda call: say("fits") if len(call.prompt.split()) <= 5 else reply, context, retries=0
    )
    assert (result.text, result.context_cut, result.error) == ("fits", 5, "")
    assert [call.prompt for call in calls] == [
        f"{context}q",
        "w0 w1 w2 w3 w4 w5 w6q",
        "w0 w1 w2 w3 w4q",
    ]


@pytest.mark.parametrize(
    "context, asked",
    [("", ["q"]), ("one", ["oneq", "q"]), ("a b c d", ["a b c dq", "a b cq", "a bq", "aq", "q"])],
)
def test_a_prompt_that_does_not_fit_without_its_context_fails(context, asked):
    result, calls = one(lambda call: error(400, "too long for the context window"), context)
    assert result.error == (
        "prompt does not fit the model's window even without its context: "
        "400 too long for the context window"
    )
    assert [call.prompt for call in calls] == asked
