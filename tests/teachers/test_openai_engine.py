"""The openai engine: what it sends and reads, many requests, the server at the start, the key.

`test_openai_failures.py` has what goes wrong on the way.
"""

import json
import subprocess
import sys
import threading
import time
import traceback

import pytest
from bad_server import BadServer, completion, error, nothing, say, send, trickle
from openai_runs import KEY, ODD_KEY, ask, never, one, quick, refused, run  # noqa: F401, quick is a fixture

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers.config import teacher
from tinyllm_jax.teachers.openai_engine import OpenaiEngine

# --------------------------------------------------------------------------------------------------
# What is sent, and what comes back.


def test_raw_text_is_sent_and_read():
    result, (call,) = one(
        lambda call: say("  Iron rusts.\n"),
        temperature=0.5,
        top_p=0.9,
        max_tokens=40,
        stop=("\n\n", "Q:"),
    )
    assert call.path == "/v1/completions" and call.headers["authorization"] == f"Bearer {KEY}"
    assert call.body == {
        "model": "m",
        "prompt": "q",
        "max_tokens": 40,
        "temperature": 0.5,
        "top_p": 0.9,
        "seed": 11,
        "stop": ["\n\n", "Q:"],
        "logprobs": 0,
    }
    assert (result.text, result.finish_reason, result.error, result.context_cut) == (
        "Iron rusts.",
        "stop",
        "",
        0,
    )
    assert (result.prompt_tokens, result.tokens, result.mean_logprob) == (7, 2, -1.0)


def test_chat_is_sent_and_read():
    body = {
        "choices": [
            {"message": {"role": "assistant", "content": "Yes."}, "finish_reason": "length"}
        ]
    }
    result, (call,) = one(lambda call: send(200, body), chat=True)
    assert call.path == "/v1/chat/completions" and call.body["messages"] == [
        {"role": "user", "content": "q"}
    ]
    assert "logprobs" not in call.body and "prompt" not in call.body
    assert (
        result.text,
        result.finish_reason,
        result.prompt_tokens,
        result.tokens,
        result.mean_logprob,
    ) == ("Yes.", "length", -1, -1, None)


@pytest.mark.parametrize(
    "said, text, reason",
    [
        ("One.\n\nTwo.Question: three", "One.", "stop"),  # the server ignored the stop strings
        ("\n\nOne.", "One.", "unknown"),  # white space in front is no end
        ("\ud800One.", "?One.", "unknown"),  # half of a surrogate pair, which no log can hold
        ("é →", "é →", "unknown"),
    ],
)
def test_texts(said, text, reason):
    result, _ = one(lambda call: send(200, completion(said, finish_reason="eos")))
    assert (result.text, result.finish_reason, result.error) == (text, reason, "")


@pytest.mark.parametrize(
    "logprobs",
    [
        None,
        [],
        {"token_logprobs": None},
        {"token_logprobs": [None]},
        {"token_logprobs": [float("-inf")]},
        {"token_logprobs": ["1"]},
    ],
)
def test_strange_logprobs_are_none(logprobs):
    result, _ = one(lambda call: send(200, completion("x", logprobs=logprobs)))
    assert (result.text, result.mean_logprob, result.error) == ("x", None, "")


def test_without_a_key_a_placeholder_is_sent(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    _, (call,) = one(lambda call: say("x"))
    assert call.headers["authorization"] == "Bearer EMPTY"
    monkeypatch.setenv("OTHER_KEY", f"{KEY}\n")
    _, (call,) = one(lambda call: say("x"), key_variable="OTHER_KEY")
    assert call.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    "chat, name, words",
    [
        (
            True,
            "max_tokens",
            "Unsupported parameter: 'max_tokens' is not supported. "
            "Use 'max_completion_tokens' instead.",
        ),
        (False, "logprobs", "logprobs is not supported"),
        (True, "stop", "Unsupported parameter: 'stop'"),
        (True, "top_p", "Unsupported parameter: 'top_p'"),
        (True, "seed", "body.seed: extra_forbidden"),
    ],
)
def test_a_parameter_that_the_server_does_not_know_is_left_out(chat, name, words, capsys):
    def script(call):
        if name in call.body:
            return error(400, words)
        return (
            send(200, {"choices": [{"message": {"content": "One. Q: two"}}]})
            if chat
            else say("One.")
        )

    with BadServer(script) as server:
        requests, stop = [ask("q1"), ask("q2")], ("Q:",)
        results = run(server, requests, chat=chat, concurrency=1, max_tokens=9, stop=stop)
    assert [result.text for result in results.values()] == ["One.", "One."]
    assert [name in call.body for call in server.calls] == [True, False, False]
    assert (server.calls[-1].body.get("max_completion_tokens") == 9) == (name == "max_tokens")
    assert capsys.readouterr().err.count(f"the server takes no {name}") == 1


def test_a_parameter_that_decides_the_text_is_never_left_out():
    said = "Unsupported value: 'temperature' does not support 0"
    with (
        BadServer(lambda call: error(400, said)) as server,
        pytest.raises(UserError, match="the server refuses temperature 0.0; change that field"),
    ):
        run(server, [ask("q1"), ask("q2")], chat=True, concurrency=1)
    assert len(server.calls) == 1


# --------------------------------------------------------------------------------------------------
# Many at once.


def test_concurrency_is_reached_and_never_exceeded():
    full, times = threading.Barrier(6), iter(range(100))

    def script(call):
        if next(times) < 6:
            full.wait(60)  # breaks, and the call hangs up, unless six are open at once
        time.sleep(0.01)
        return say(call.prompt)

    with BadServer(script) as server:
        results = run(server, [ask(f"q{i}") for i in range(40)], concurrency=6, retries=0)
    assert server.most == 6 and not full.broken
    assert {key: result.text for key, result in results.items()} == {
        f"q{i}": f"q{i}" for i in range(40)
    }


def test_results_come_as_they_are_finished_and_belong_to_their_requests():
    first = threading.Event()

    def script(call):
        if call.prompt == "q0":
            first.wait(60)
        return say(f"about {call.prompt}")

    with BadServer(script) as server:
        engine = OpenaiEngine(
            teacher(engine="openai", model="m", base_url=server.base_url, concurrency=2), "t"
        )
        results = []
        for result in engine.generate([ask(f"q{i}") for i in range(8)], never):
            results.append(result)
            if len(results) == 7:
                first.set()
        engine.close()
    assert results[-1].request.key == "q0" and len(results) == 8
    assert all(result.text == f"about {result.request.key}" for result in results)


def test_logged_requests_are_not_asked():
    with BadServer(lambda call: say("x")) as server:
        assert set(run(server, [ask("a", logged=True), ask("b")])) == {"b"}
        assert run(server, [ask("a", logged=True)]) == {} == run(server, [])
    assert [call.prompt for call in server.calls] == ["b"]


def test_stop_finishes_what_is_in_flight_and_begins_nothing():
    stopping, both = threading.Event(), threading.Barrier(2, action=lambda: stopping.set())

    def script(call):
        both.wait(60)
        time.sleep(0.1)
        return say("x")

    with BadServer(script) as server:
        results = run(server, [ask(f"q{i}") for i in range(9)], halt=stopping.is_set, concurrency=2)
    assert len(server.calls) == 2 and {call.prompt for call in server.calls} == set(results)


def test_stop_before_the_first_asks_nothing():
    with BadServer(lambda call: say("x")) as server:
        assert run(server, [ask("a")], halt=lambda: True) == {} and not server.calls


def test_stop_gives_up_what_waits_for_another_attempt():
    stopping = threading.Event()

    def script(call):
        threading.Timer(0.1, stopping.set).start()
        return error(429, "slow down", retry_after="100")

    began = time.monotonic()
    with BadServer(script) as server:
        assert run(server, [ask("a")], halt=stopping.is_set) == {} and len(server.calls) == 1
    assert time.monotonic() - began < 50  # of the 100 that were asked for


@pytest.mark.parametrize("bad", [False, True])
def test_nothing_is_asked_after_the_end(bad):
    with BadServer(
        lambda call: error(401, "no") if bad and call.prompt == "q3" else say("x")
    ) as server:
        engine = OpenaiEngine(
            teacher(engine="openai", model="m", base_url=server.base_url, concurrency=2), "t"
        )
        results = engine.generate([ask(f"q{i}") for i in range(3000)], never)
        if bad:
            with pytest.raises(UserError):
                list(results)
        else:
            next(results)
            results.close()
        assert list(engine.generate([], never)) == []  # by now the engine's thread knows
        asked = len(server.calls)
        time.sleep(0.3)
        assert len(server.calls) <= asked + 2  # which were on their way
        engine.close()


def test_a_job_that_ends_early_leaves_no_thread():
    before = threading.active_count()
    with BadServer(lambda call: say("x") if call.prompt == "a" else nothing) as server:
        engine = OpenaiEngine(
            teacher(engine="openai", model="m", base_url=server.base_url, timeout=600.0), "t"
        )
        results = engine.generate([ask("a"), ask("b")], never)
        assert next(results).text == "x"
        results.close()
        engine.close()
        engine.close()
    deadline = time.monotonic() + 60
    while threading.active_count() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threading.active_count() <= before


# --------------------------------------------------------------------------------------------------
# The server at the start.


def test_no_server():
    with BadServer(lambda call: say("x")) as server:
        url = server.base_url
    with pytest.raises(
        UserError, match=f"teacher 't': no server answers at {url}: .*; start it, e.g. vllm serve m"
    ):
        OpenaiEngine(teacher(engine="openai", model="m", base_url=url), "t")


def test_a_server_that_never_replies():
    assert "no whole reply within 0.3 s; start it" in refused(models=nothing, timeout=0.3)
    slow = trickle(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
    assert "no whole reply within 0.3 s; start it" in refused(models=slow, timeout=0.3)


def test_a_misspelt_model():
    models = send(200, {"data": [{"id": "smollm2"}, {"id": "qwen"}]})
    line = refused(lambda call: error(404, "no such model"), models, model="smolm2")
    assert "; did you mean 'smollm2'? (known: qwen, smollm2)" in line


def test_a_model_that_is_not_listed_but_taken():
    with BadServer(lambda call: say("x"), send(200, {"data": [{"id": "models/m"}]})) as server:
        assert run(server, [ask("q")])["q"].text == "x"
    assert [call.body["max_tokens"] for call in server.calls] == [256]


@pytest.mark.parametrize(
    "models",
    [
        error(404, "no"),
        error(405, "no"),
        error(403, "no"),
        error(500, "no"),
        send(200, b"ok"),
        send(200, {"data": []}),
        send(200, {"data": [3]}),
        send(200, []),
    ],
    ids=range(8),
)
def test_a_server_without_a_list_of_models_passes(models):
    with BadServer(lambda call: say("x"), models) as server:
        assert run(server, [ask("q")])["q"].text == "x"


def test_a_refused_key_at_the_start():
    assert "check the key in $OPENAI_API_KEY; " in refused(models=error(401, "bad key"))


def test_a_refused_key_that_is_not_set(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert "check the key in $OPENAI_API_KEY, which is not set; " in refused(
        models=error(401, "bad key")
    )


def test_a_bad_port():
    with pytest.raises(UserError, match="bad base_url http://127.0.0.1:99999999/v1"):
        OpenaiEngine(
            teacher(engine="openai", model="m", base_url="http://127.0.0.1:99999999/v1"), "t"
        )


def test_the_package_is_needed_by_the_engine_alone(tmp_path):
    code = """
import sys
import tinyllm_jax.teachers.openai_engine as engine
assert not {"openai", "jax", "flax", "torch", "tensorflow"} & set(sys.modules)
sys.modules["openai"] = None
from tinyllm_jax.teachers.config import teacher
try:
    engine.OpenaiEngine(teacher(engine="openai", model="m", base_url="http://127.0.0.1:1/v1"), "t")
except engine.UserError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    line = (
        "teacher 't': engine openai needs the package openai: pip install tinyllm_jax[teachers]\n"
    )
    assert done.stdout == line, done.stderr


# --------------------------------------------------------------------------------------------------
# The key.


def _everything(error: BaseException | None) -> str:
    """All that an exception and those behind it say."""
    said = ""
    while error is not None:
        said += repr(error) + str(error) + "".join(traceback.format_exception(error))
        error = error.__context__
    return said


@pytest.mark.parametrize(
    "key, status, models",
    [
        (KEY, 401, True),
        (KEY, 401, False),
        (KEY, 403, False),
        (KEY, 404, False),
        (KEY, 429, False),
        ("short", 401, False),
        (ODD_KEY, 401, False),
    ],
)
def test_a_server_that_echoes_the_key_does_not_spread_it(monkeypatch, key, status, models):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    echo = error(status, f"Incorrect key {key}: {'x' * 150} {key}", code="insufficient_quota")
    with (
        BadServer(lambda call: echo, echo if models else None) as server,
        pytest.raises(UserError) as raised,
    ):
        run(server, [ask("q")])
    assert "Incorrect key ***: x" in str(raised.value) and key not in _everything(raised.value)


@pytest.mark.parametrize("key", [KEY, ODD_KEY])
def test_no_row_holds_the_key(monkeypatch, capfd, key):
    monkeypatch.setenv("OPENAI_API_KEY", key)
    replies = {
        "400": error(400, f"bad {key}"),
        "500": error(500, f"bad {key}"),
        "raw": send(200, f"bad {key}".encode()),
        "repr": send(400, {"detail": [{"loc": ["header", f"Bearer {key}"]}]}),
        "json": send(200, {"odd": key}),
        "context": error(400, f"context length {key}"),
        "text": say(f"A rationale with {key}."),
    }
    with BadServer(lambda call: replies[call.prompt]) as server:
        results = run(server, map(ask, replies), retries=0)
    shown = "".join(map(repr, results.values())) + "".join(capfd.readouterr())
    for result in results.values():
        assert "***" in result.error + result.text
        for spelt in (key, repr(key)[1:-1], json.dumps(key)[1:-1]):
            assert spelt not in result.error + result.text and spelt not in shown


def test_a_key_that_no_header_can_hold(monkeypatch):
    for key in ("two\nlines-secret", "two words-secret", "schlüssel-secret"):
        monkeypatch.setenv("OPENAI_API_KEY", key)
        with pytest.raises(
            UserError, match=r"the key in \$OPENAI_API_KEY has characters"
        ) as raised:
            OpenaiEngine(teacher(engine="openai", model="m", base_url="http://127.0.0.1:1/v1"), "t")
        assert "secret" not in _everything(raised.value)
