"""Runs of the openai engine against a `bad_server`."""

from collections.abc import Iterable

import pytest
from bad_server import BadServer, say

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers.config import teacher
from tinyllm_jax.teachers.engine import Request
from tinyllm_jax.teachers.openai_engine import OpenaiEngine
from tinyllm_jax.teachers.prompts import Prompt

KEY = "sk-Very/Secret+0123456789"
ODD_KEY = "quo'te\"back\\slash-0123456789"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.002)
    monkeypatch.setattr("tinyllm_jax.teachers.openai_engine.POLL", 0.01)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def ask(name: str, context: str = "", **changes) -> Request:
    question = Question(
        id=name,
        task="obqa",
        split="train",
        context=context,
        question=name,
        choices=("a", "b"),
        answer="a",
    )
    return Request(
        key=name, question=question, prompt=Prompt("", context, name), seed=11, **changes
    )


def never() -> bool:
    return False


def run(server: BadServer, requests: Iterable[Request], halt=never, **changes) -> dict:
    """The results by request key.

    Every test also checks here that there is at most one per request. A reply may take a minute:
    a machine that runs many tests at once can stand still for seconds.
    """
    fields = dict(engine="openai", model="m", base_url=server.base_url, retries=3, timeout=60.0)
    engine = OpenaiEngine(teacher(**fields | changes), "t")
    try:
        results = list(engine.generate(list(requests), halt))
    finally:
        engine.close()
    assert len({result.request.key for result in results}) == len(results)
    return {result.request.key: result for result in results}


def one(script, context: str = "", **changes):
    """The only result of one request, and the calls that it took."""
    with BadServer(script) as server:
        (result,) = run(server, [ask("q", context)], **changes).values()
    return result, server.calls


def refused(script=lambda call: say("x"), models=None, **changes) -> str:
    """The one line of the `UserError` that a server brings about."""
    with BadServer(script, models) as server, pytest.raises(UserError) as raised:
        run(server, [ask("q")], **changes)
    assert "\n" not in str(raised.value)
    return str(raised.value)
