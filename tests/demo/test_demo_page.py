"""The demo's page: without gradio one line, with it a request through its interface."""

import json
import socket
import sys
import urllib.request
from typing import Any

import pytest
from students import TYPED, student

from tinyllm_jax import cli
from tinyllm_jax.demo import page
from tinyllm_jax.demo.ask import ask, typed_question
from tinyllm_jax.errors import UserError

pytestmark = pytest.mark.usefixtures("quick_compilation")


def test_without_gradio_it_is_one_line(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "gradio", None)
    with pytest.raises(SystemExit) as e:
        cli.main(["demo", "--workdir", "/nowhere"])
    said = capsys.readouterr().err
    assert e.value.code == 2 and said.count("\n") == 1
    assert said.startswith("tinyllm: ") and "pip install 'tinyllm_jax[demo]'" in said


@pytest.fixture(scope="module")
def address():
    """The address of a page that asks two students."""
    pytest.importorskip("gradio", reason="gradio is not installed: pip install '.[demo]'")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    shown = page.serve({"one": student(), "two": student("decoder")}, port, wait=False)
    yield f"http://127.0.0.1:{port}"
    shown.close()


def request(address: str, *fields: str) -> tuple[str, Any]:
    """Asks through the page's interface: how it ended, "complete" or "error", and its data."""
    asked = urllib.request.Request(
        f"{address}/gradio_api/call/ask",
        json.dumps({"data": fields}).encode(),
        {"Content-Type": "application/json"},
    )
    number = json.load(urllib.request.urlopen(asked))["event_id"]
    with urllib.request.urlopen(f"{address}/gradio_api/call/ask/{number}") as told:
        lines = told.read().decode().strip().splitlines()
    return lines[-2].removeprefix("event: "), json.loads(lines[-1].removeprefix("data: "))


def test_a_request_is_answered_by_every_student(address):
    ended, data = request(address, *TYPED)
    assert ended == "complete" and len(data) == 6
    for asks, (likely, written, rationale) in (
        (student(), data[:3]),
        (student("decoder"), data[3:]),
    ):
        expected = ask(asks, typed_question(*TYPED))
        found = {each["label"]: each["confidence"] for each in likely["confidences"]}
        lettered = ("(a) spin", "(b) stand upright", "(c) hang")
        assert found == pytest.approx(dict(zip(lettered, expected.probabilities, strict=True)))
        assert (written, rationale) == (expected.written, expected.rationales["shape"])


def test_bad_input_is_told(address):
    ended, data = request(address, "q", "one", "")
    assert ended == "error" and "2 to 26 choices" in data["error"]


def test_it_says_that_a_port_is_taken(address):
    with pytest.raises(UserError, match="is taken; choose another one with --port"):
        page.serve({"one": student()}, int(address.rpartition(":")[2]), wait=False)
