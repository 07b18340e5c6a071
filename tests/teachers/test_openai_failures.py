"""The openai engine against a real server that refuses, fails, trickles, lies and vanishes."""

import email.utils
import threading
import time

import pytest
from bad_server import BadServer, completion, error, half, hang_up, nothing, say, send, trickle
from openai_runs import ask, never, one, quick, refused, run  # noqa: F401, quick is a fixture

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import openai_reply
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
    "html": send(200, b"<html>login</html>", "text/html"),
    "list": send(200, []),
    "deep": send(200, b"[" * 100_000),
    "no choices": send(200, {"choices": []}),
    "null text": send(200, completion(None)),
    "number": send(200, completion(5)),
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
        results = run(server, [ask(kind) for kind in BAD], concurrency=len(BAD), timeout=2.0)
    assert {kind: result.error or result.text for kind, result in results.items()} == dict.fromkeys(
        BAD, "fine"
    )
    assert server.seen == dict.fromkeys(BAD, 2)


def test_requests_that_fail_for_good_are_failed_rows_and_the_others_go_on():
    why = {
        "429": "429 slow down",
        "500": "500 broken",
        "garbage": "the reply has no text: \ufffd garbage",
        "408": "408",
        "nothing": "no whole reply within 2 s",
        "slow body": "no whole reply within 2 s",
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
            timeout=2.0,
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
    assert (
        result.error.startswith("1 attempts failed, the last: 500 a b [31m long")
        and len(result.error) <= 300
    )
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
        UserError, match=r"teacher 't': no server answers at .* any more \(.*\); start it again"
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


def test_waits_are_read():
    wait = openai_reply.requested_wait
    soon = email.utils.formatdate(time.time() + 100, usegmt=True)
    assert 95 < wait({"retry-after": soon}, 503) <= 100
    assert wait({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 503) == 0
    assert wait({"retry-after": "7"}, 429) == 7 and wait({"retry-after": "86400"}, 429) == 300
    assert wait({"retry-after": "soon"}, 429) is None and wait({"retry-after": "nan"}, 429) is None
    reset = "x-ratelimit-reset-requests"
    assert (
        wait({reset: "1m30.5s"}, 429) == 90.5
        and wait({reset: "120ms"}, 429) == 0.12
        and wait({reset: "6m0s"}, 429) == 300
    )
    assert (
        wait({reset: "5"}, 429) is None
        and wait({reset: "1s"}, 503) is None
        and wait({reset: "1s"}, 200) is None
    )
    assert wait({reset: "1s", "x-ratelimit-remaining-requests": "0"}, 200) == 1
    assert wait({"retry-after": "7"}, 200) is None


@pytest.mark.parametrize(
    "first",
    [
        error(429, "slow down", retry_after="1"),
        say("x", x_ratelimit_remaining_requests="0", x_ratelimit_reset_requests="1s"),
    ],
    ids=["429", "none remaining"],
)
def test_a_rate_limit_pauses_all(first):
    """While one call is limited, another is finished; nothing is asked until the pause is over."""
    limited = threading.Event()

    def script(call):
        if call.prompt == "limited" and call.attempt == 0:
            return first
        if call.prompt == "slow":
            limited.wait(5)
            time.sleep(0.4)  # the other's reply is on its way
        return say("x")

    def reply(handler, inner=first):
        inner(handler)
        limited.set()

    first = reply
    with BadServer(script) as server:
        results = run(
            server, [ask("limited"), ask("slow"), *[ask(f"q{i}") for i in range(4)]], concurrency=2
        )
    assert all(result.text == "x" for result in results.values()) and len(results) == 6
    later = [call.at for call in server.calls if call.prompt.startswith("q") or call.attempt]
    assert min(later) - server.calls[0].at >= 1


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
