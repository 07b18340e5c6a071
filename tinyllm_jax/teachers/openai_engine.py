"""Any server with OpenAI's interface: `vllm serve` on this machine or another one, or a hosted API.

A `vllm serve` fills what a request leaves out from the model's generation_config.json (top_k, a
repetition penalty); start it with `--generation-config vllm` where its texts should be those of the
engine `vllm`. Retries, their pauses and Retry-After are those of the package `openai`.
"""

import asyncio
import os
import re
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import ml_collections

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.teachers import config, openai_reply, reply
from tinyllm_jax.teachers.engine import Request, Result
from tinyllm_jax.teachers.openai_reply import NO_KEY, line_without_key

POLL = 0.1  # seconds between two looks at `stop()`
CONNECT, FIND = 10.0, 30.0  # seconds for reaching a server, and for its list of models
# A key has so many characters. A shorter one is a placeholder, and may be a word of a rationale.
SECRET_LENGTH = 16


class OpenaiEngine:
    """A server that has been found; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.

    Raises:
      UserError: the package `openai` is missing, no server answers, or it refuses the key.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str):
        self.spec, self.name = spec, name
        self._key = _read_key(spec.key_variable)
        self._left_out: set[str] = set()  # parameters that the server does not take
        self._models: list[str] = []  # those that the server lists
        self._client = self._make_client()
        # The event loop runs in a thread of its own, for a notebook has one in the main thread.
        self._runner, self._thread, self._closed = asyncio.Runner(), ThreadPoolExecutor(1), False
        try:
            self._run(self._find_server())
        except BaseException:
            self.close()
            raise

    def _make_client(self):
        """The library's client; nothing is sent yet."""
        try:
            import openai
        except ImportError:
            raise self._error(
                "engine openai needs the package openai: pip install tinyllm_jax[teachers]"
            ) from None
        url, retries = self.spec.base_url, self.spec.retries
        try:
            _ = urllib.parse.urlsplit(url).port  # raises an error where it is none
            self._http = _http_client(self.spec.timeout)
            return openai.AsyncOpenAI(
                api_key=self._key, base_url=url, max_retries=retries, http_client=self._http
            )
        except Exception as error:  # whatever the HTTP package raises at a bad URL or proxy
            why = line_without_key(error, self._key)
        raise self._error(f"bad base_url {url}: {why}{self._doubts()}")

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`.

        A request that waits for a further attempt when `stop()` becomes true has no result.
        """
        waiting = iter([request for request in requests if not request.logged])
        working: set[asyncio.Task[Result]] = set()
        try:
            while True:
                while (
                    len(working) < self.spec.concurrency
                    and not stop()
                    and (request := next(waiting, None)) is not None
                ):
                    working.add(self._runner.get_loop().create_task(self._answer(request)))
                if not working:
                    return
                done, working = self._run(
                    asyncio.wait(working, timeout=POLL, return_when=asyncio.FIRST_COMPLETED)
                )
                for task in sorted(done, key=lambda task: task.exception() is not None):
                    yield task.result()
                if stop() and not done and not self._http.in_flight:
                    return  # all others wait for a further attempt
        finally:
            for task in working:
                task.cancel()

    def close(self) -> None:
        """Drops what is in flight, and closes the connections."""
        if not self._closed:
            self._closed = True
            self._run(self._client.close())
            self._thread.submit(self._runner.close).result()
            self._thread.shutdown()

    def _run(self, work: Coroutine) -> Any:
        """What a coroutine returns."""
        return self._thread.submit(self._runner.run, work).result()

    async def _answer(self, request: Request) -> Result:
        """What becomes of a request.

        It is asked again only without a parameter that the server does not take, and, where it is
        too long, with ever less of its context.
        """
        import openai

        client, stop = self._client, config.stop_strings(self.spec)
        resource = client.chat.completions if self.spec.chat else client.completions
        secret = self._key if len(self._key) >= SECRET_LENGTH else ""
        words = kept = request.prompt.context_words
        shorter = sorted({words * quarter // 4 for quarter in range(4)} - {words})
        began = time.monotonic()
        while True:
            prompt = request.prompt if kept == words else request.prompt.cut(kept)
            parameters = self._parameters(prompt.text, request.seed)
            try:
                content = (await resource.with_raw_response.create(**parameters)).content
                return reply.openai_result(request, content, stop, words - kept, secret)
            except openai.APIError as error:
                line, about = openai_reply.failure_of(error, parameters, self._key)
            if about in openai_reply.PARAMETERS:
                self._leave_out(about, parameters[about], line)
            elif about == "window" and shorter:
                kept = shorter.pop()
            else:
                if about != "server" or self._http.last_reply < began:
                    self._check_hope(line, about)
                told = "prompt does not fit the model's window even without its context: "
                line = told * (about == "window") + line
                return Result(request, error=line, too_long=about == "window")

    def _parameters(self, text: str, seed: int) -> dict:
        """The parameters of a request, without those that the server does not take."""
        spec, stop = self.spec, list(config.stop_strings(self.spec))
        asked = {"messages": [{"role": "user", "content": text}]}
        parameters = {
            "model": spec.model,
            "max_tokens": spec.max_tokens,
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "seed": seed,
            **({"stop": stop} if stop else {}),
            **(asked if spec.chat else {"prompt": text, "logprobs": 0}),
        }
        for name in self._left_out & parameters.keys():
            value, instead = parameters.pop(name), openai_reply.QUIRKS[name][0]
            parameters |= {instead: value} if instead else {}
        return parameters

    def _leave_out(self, name: str, value: object, line: str) -> None:
        """Leaves out, from now on, a parameter whose value the server refuses in that line.

        Raises:
          UserError: the text hangs on it.
        """
        instead, only = openai_reply.QUIRKS.get(name, ("", "none"))
        if only not in (None, value) or instead not in line:
            says = f"{self.spec.base_url} says: {line}"
            raise self._error(f"the server refuses {name} {value}; change that field; {says}")
        if name not in self._left_out:
            self._left_out.add(name)
            told = f"it is sent {instead}" if instead else "it is asked without"
            print(f"{self.name}: the server takes no {name}; from now on {told}", file=sys.stderr)

    def _check_hope(self, line: str, about: str) -> None:
        """Raises `UserError` where a failure (`openai_reply.failure_of`) concerns every request."""
        spec, says = self.spec, f"{self.spec.base_url} says: {line}"
        unset = ", which is not set" if self._key == NO_KEY else ""
        raw = "" if spec.chat else ", or set chat=True, for hosted APIs often have no /completions"
        model = f"check model and base_url{raw}"
        if self._models and spec.model not in self._models:
            model = line_without_key(unknown("model", spec.model, self._models), self._key)
        messages = {
            "spent": f"its quota is spent; {says}",
            "key": f"check the key in ${spec.key_variable}{unset}; {says}",
            "model": f"{model}; {says}{self._doubts()}",
            "server": f"no server answers at {spec.base_url}: {line}; start it, e.g. "
            f"vllm serve {spec.model} --host 127.0.0.1{self._doubts()}",
        }
        if about in messages:
            raise self._error(messages[about])

    async def _find_server(self) -> None:
        """Checks that a server answers, and keeps the names of its models."""
        import openai

        once, line, about = self._client.with_options(max_retries=0), "<a web page>", ""
        try:
            content = (await once.models.with_raw_response.list()).content
            about = "model" if content.lstrip().startswith(b"<") else ""
            self._models = reply.model_names(content)
        except openai.APIError as error:
            # A server may have no list (404, 405), a key no right to it (403), and others may pass.
            if getattr(error, "status_code", 401) in (401, 402):
                line, about = openai_reply.failure_of(error, {}, self._key)
                about = about or "server"
        self._check_hope(line, about)

    def _doubts(self) -> str:
        """What may be wrong with the way to the server: no /v1, or a proxy in between."""
        url, proxies = urllib.parse.urlsplit(self.spec.base_url), urllib.request.getproxies()
        host = url.hostname or ""
        doubts = "" if re.search(r"/v\d", url.path) else "; base_url has no /v1 at its end"
        kind = next((kind for kind in (url.scheme, "all") if kind in proxies), "")
        if kind and not urllib.request.proxy_bypass(host):
            doubts += f"; the proxy in ${kind.upper()}_PROXY is used, unless NO_PROXY={host} is set"
        return doubts

    def _error(self, message: str) -> UserError:
        return UserError(f"teacher '{self.name}': {message}")


def _http_client(timeout: float):
    """The library's HTTP client, with a deadline for a whole reply, however slowly it trickles in.

    It knows how many requests are `in_flight`, and when the `last_reply` came.
    """
    import openai

    class Client(openai.DefaultAsyncHttpxClient):
        in_flight, last_reply = 0, 0.0

        async def send(self, request, **options):
            limit = timeout if request.method == "POST" else min(FIND, timeout)
            self.in_flight += 1
            try:
                async with asyncio.timeout(limit):
                    response = await super().send(request, **options)
                    await response.aread()
            except TimeoutError:
                httpx = sys.modules[type(request).__module__.partition(".")[0]]
                raise httpx.ReadTimeout(f"no whole reply within {limit:g} s") from None
            finally:
                self.in_flight -= 1
            self.last_reply = time.monotonic()
            openai_reply.mend_status(response)
            return response

    return Client(timeout=openai.Timeout(None, connect=min(CONNECT, timeout)))


def _read_key(variable: str) -> str:
    """The key in an environment variable; where there is none, what a server without keys takes."""
    key = os.environ.get(variable, "").strip() or NO_KEY
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(
            f"the key in ${variable} has characters that no HTTP header may hold; set it again"
        )
    return key
