"""A real HTTP server with OpenAI's interface that behaves as badly as a test's script says."""

import dataclasses
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclasses.dataclass(frozen=True)
class Call:
    """A request as it came.

    Attributes:
      path: e.g. "/v1/completions".
      headers: by lower-case name.
      body: its JSON; {} of a GET.
      prompt: the raw prompt or the user's message; "" of a GET.
      attempt: how often this prompt came before.
      at: when it came.
    """

    path: str
    headers: dict[str, str]
    body: dict
    prompt: str
    attempt: int
    at: float


Reply = Callable[[BaseHTTPRequestHandler], None]


def send(
    status: int, body: object, content_type: str = "application/json", **headers: str
) -> Reply:
    """Any status and body: bytes as they are, else as JSON.

    Underscores in header names stand for hyphens.
    """
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def reply(handler):
        handler.send_response(status)
        for name, value in {
            "content-type": content_type,
            "content-length": str(len(content)),
            **headers,
        }.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return reply


def error(status: int, message: str, code: str | None = None, **headers: str) -> Reply:
    """An error as OpenAI words it."""
    return send(
        status,
        {"error": {"message": message, "type": "some_error", "param": None, "code": code}},
        **headers,
    )


def say(text: str, **headers: str) -> Reply:
    """A good reply of /completions."""
    return send(200, completion(text), **headers)


def completion(text: str, **changes) -> dict:
    """The body of a good reply of /completions."""
    choice = {
        "index": 0,
        "text": text,
        "finish_reason": "stop",
        "logprobs": {"token_logprobs": [-0.5, -1.5]},
    }
    return {"choices": [choice | changes], "usage": {"prompt_tokens": 7, "completion_tokens": 2}}


def nothing(handler) -> None:
    """Never replies, as long as the server lives."""
    handler.server.over.wait()


def hang_up(handler) -> None:
    """Closes the connection at once."""


def half(handler) -> None:
    """Promises more than it sends."""
    handler.wfile.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\n\r\n"
        b'{"choices": ['
    )


def trickle(start: bytes) -> Reply:
    """Begins a reply and goes on for ever, a byte at a time."""

    def reply(handler):
        handler.wfile.write(start)
        try:
            while not handler.server.over.wait(0.05):
                handler.wfile.write(b" ")
        except OSError:
            pass  # the client has had enough

    return reply


class BadServer(ThreadingHTTPServer):
    """Answers each call as `script(call)` says. Use it in a `with` statement.

    Args:
      script: what to reply to a request for a text.
      models: what to reply to /models.

    Attributes:
      base_url: where it is.
      calls: the requests for a text, in the order in which they came.
      most: the most of them that were open at once.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, script: Callable[[Call], Reply], models: Reply | None = None):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script, self.models = script, models or send(200, {"data": [{"id": "m"}]})
        self.base_url = f"http://127.0.0.1:{self.server_port}/v1"
        self.calls: list[Call] = []
        self.most = self.open = 0
        self.seen: Counter[str] = Counter()
        self.lock, self.over = threading.Lock(), threading.Event()

    def __enter__(self):
        threading.Thread(
            target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, request, client_address):
        """A client that goes away is part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    disable_nagle_algorithm = True  # else every reply takes the 40 ms of a delayed acknowledgement

    def do_GET(self):
        self.server.models(self)

    def do_POST(self):
        server, body = self.server, json.loads(self.rfile.read(int(self.headers["content-length"])))
        prompt = body["messages"][0]["content"] if "messages" in body else body["prompt"]
        with server.lock:
            headers = {name.lower(): value for name, value in self.headers.items()}
            call = Call(self.path, headers, body, prompt, server.seen[prompt], time.monotonic())
            server.calls.append(call)
            server.seen[prompt] += 1
            server.open += 1
            server.most = max(server.most, server.open)
        try:
            reply = server.script(call)
        finally:
            with server.lock:
                server.open -= 1
        reply(self)

    def log_message(self, *_):
        """Says nothing."""
