"""Any server with OpenAI's interface: `vllm serve` on this machine or another one, or a hosted API.

A `vllm serve` fills what a request leaves out from the model's generation_config.json (top_k, a
repetition penalty); start it with `--generation-config vllm` where its texts should be those of the
engine `vllm`.

All requests run in one event loop in a thread of its own. So a deadline covers a whole reply,
however slowly it trickles in, and what is in flight can be dropped at once when the job ends.
"""

import asyncio
import contextlib
import difflib
import json
import os
import queue
import random
import re
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence

import ml_collections

from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.teachers.engine import Request, Result
from tinyllm_jax.teachers.openai_reply import (
    NO_KEY,
    PromptTooLong,
    Refusal,
    TransientFailure,
    failure_of,
    line_without_key,
    requested_wait,
    result_of,
    status_line,
)

# All times are in seconds.
BACKOFF = 0.5  # the longest pause before the first retry; it doubles with every further one
LONGEST_BACKOFF = 60.0
POLL = 0.1  # between two looks at `stop()` while a request waits
CONNECT = 10.0  # the deadline for reaching a server
FIND = 30.0  # the deadline for its list of models

REFUSED_STATUSES = (401, 402, 403, 404)  # after one of these no request can be answered
UNSUPPORTED = re.compile(
    r"unsupported|not (support|permitted|allowed)|extra_forbidden|unrecognized|unknown",
    re.IGNORECASE,
)


class OpenaiEngine:
    """A server that has been found; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.

    Raises:
      UserError: the package `openai` is missing, no server answers, it refuses the key, or does not
        know the model.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str):
        self.spec, self.name = spec, name
        self._key = ""
        self._client = self._make_client()
        self._refused: set[str] = set()  # parameters that the server does not know
        self._paused_until = 0.0  # no request may be sent before
        self._last_reply = 0.0  # when the server last replied
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._find_server(), self._loop).result()
        except BaseException:
            self.close()
            raise

    def _make_client(self):
        """Reads the key and makes the library's client; nothing is sent yet."""
        try:
            import openai
        except ImportError:
            raise UserError(
                f"teacher '{self.name}': engine openai needs the package openai: "
                f"pip install tinyllm_jax[teachers]"
            ) from None
        self._key = _read_key(self.spec.key_variable)
        try:
            # Reading the port raises an error where it is none; the client would fail only when it
            # connects.
            _ = urllib.parse.urlsplit(self.spec.base_url).port
            return openai.AsyncOpenAI(
                api_key=self._key,
                base_url=self.spec.base_url,
                max_retries=0,
                # The deadline of a whole reply is ours.
                timeout=openai.Timeout(None, connect=min(CONNECT, self.spec.timeout)),
            )
        except Exception as error:  # also InvalidURL of whichever HTTP package openai brings
            raise UserError(
                f"teacher '{self.name}': bad base_url {self.spec.base_url}: "
                f"{line_without_key(error, self._key)}"
            ) from None

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`.

        A request that waits for a further attempt when `stop()` becomes true has no result.
        """
        # The event loop's thread puts the results into a queue, and None when it has ended.
        finished: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        waiting = [request for request in requests if not request.logged]
        work = asyncio.run_coroutine_threadsafe(
            self._answer_all(waiting, stop, finished.put), self._loop
        )
        work.add_done_callback(lambda _: finished.put(None))
        try:
            while (result := finished.get()) is not None:
                yield result
            work.result()  # raises the error that ended it
        finally:
            work.cancel()

    def close(self) -> None:
        """Drops what is in flight, and closes the connections."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._drop_all(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _drop_all(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    # ----------------------------------------------------------------------------------------------
    # Many requests at once.

    async def _answer_all(
        self, requests: Sequence[Request], stop: Callable[[], bool], put: Callable[[Result], None]
    ) -> None:
        """Answers the requests with as many workers as there may be requests in flight."""
        waiting = iter(requests)  # shared by the workers

        async def work() -> None:
            for request in waiting:
                result = await self._answer(request, stop)
                if result is None:
                    return
                put(result)

        count = min(self.spec.concurrency, len(requests))
        workers = [asyncio.ensure_future(work()) for _ in range(count)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _wait_for_turn(self, not_before: float, stop: Callable[[], bool]) -> bool:
        """Waits until a request may be sent.

        Args:
          not_before: the time before which this request may not be sent; a pause of all requests
            may be longer.
          stop: says whether to end early.

        Returns:
          Whether the request may be sent; False as soon as `stop()` is true.
        """
        while not stop():
            left = max(not_before, self._paused_until) - time.monotonic()
            if left <= 0:
                return True
            await asyncio.sleep(min(left, POLL))
        return False

    def _pause_all(self, seconds: float) -> None:
        """Keeps every request from being sent for so long."""
        self._paused_until = max(self._paused_until, time.monotonic() + seconds)

    # ----------------------------------------------------------------------------------------------
    # One request.

    async def _answer(self, request: Request, stop: Callable[[], bool]) -> Result | None:
        """What becomes of a request; None where `stop()` became true while it waited."""
        began = time.monotonic()
        not_before = 0.0
        failures = 0
        words = kept = request.prompt.context_words
        shorter = _shorter_contexts(words)
        while await self._wait_for_turn(not_before, stop):
            prompt = request.prompt if kept == words else request.prompt.cut(kept)
            try:
                reply = await self._ask(prompt.text, request.seed)
                return result_of(request, reply, self.spec.stop, words - kept, self._key)
            except Refusal as error:
                return Result(request, error=str(error))
            except PromptTooLong as error:
                if not shorter:
                    return Result(
                        request,
                        error=f"prompt does not fit the model's window even without its context: "
                        f"{error}",
                    )
                kept = shorter.pop(0)
            except TransientFailure as error:
                if failures == self.spec.retries:
                    return self._give_up(request, failures + 1, error, began)
                not_before = self._back_off(failures, error)
                failures += 1
        return None

    def _back_off(self, failures: int, error: TransientFailure) -> float:
        """The time before which a request may not be tried again.

        Args:
          failures: how many of its attempts had failed before.
          error: the failure of the last one; where it concerns all requests, all pause.
        """
        # The pause is random, so that requests that failed together do not come together again.
        longest = min(LONGEST_BACKOFF, BACKOFF * 2 ** min(failures, 20))
        pause = random.uniform(0, longest)
        if error.everyone:
            self._pause_all(pause if error.wait is None else error.wait)
        return time.monotonic() + (error.wait or 0.0) + pause

    def _give_up(
        self, request: Request, attempts: int, error: TransientFailure, began: float
    ) -> Result:
        """The result of a request without retries left.

        Raises:
          UserError: the server has not replied to anything since the request began, and takes no
            connection: it is not there any more.
        """
        if error.unreachable and self._last_reply < began:
            raise UserError(
                f"teacher '{self.name}': no server answers at {self.spec.base_url} any more "
                f"({error}); start it again, and the same command goes on"
            )
        return Result(request, error=f"{attempts} attempts failed, the last: {error}")

    async def _ask(self, text: str, seed: int) -> bytes:
        """One attempt; it is repeated only without a parameter that the server does not know."""
        while True:
            parameters = self._parameters(text, seed)
            try:
                return await self._send(parameters)
            except Refusal as refusal:
                if not self._leave_out_refused(parameters, refusal.full_text):
                    raise

    async def _send(self, parameters: Mapping) -> bytes:
        """The body of the reply to a request.

        Raises:
          TransientFailure, Refusal, PromptTooLong: this request is not answered.
          UserError: no request can be answered.
        """
        import openai

        # The failure is raised behind the `try`: inside it, it would carry along the library's
        # error, which holds the key.
        failure: Exception
        try:
            async with asyncio.timeout(self.spec.timeout):
                reply = await self._create(parameters)
            self._last_reply = time.monotonic()
            self._pause_all(requested_wait(reply.headers, reply.status_code) or 0.0)
            return reply.content
        except TimeoutError:
            failure = TransientFailure(f"no whole reply within {self.spec.timeout:g} s")
        except openai.APIStatusError as error:
            self._last_reply = time.monotonic()
            failure = self._meaning_of(error)
        except openai.APIConnectionError as error:
            cause = error.__cause__
            failure = TransientFailure(
                line_without_key(cause or error, self._key),
                unreachable=type(cause).__name__ in ("ConnectError", "ConnectTimeout"),
            )
        raise failure

    async def _create(self, parameters: Mapping):
        resource = self._client.chat.completions if self.spec.chat else self._client.completions
        return await resource.with_raw_response.create(**parameters)

    def _meaning_of(self, error) -> Exception:
        """What an `openai.APIStatusError` means: for its request, or for all (a `UserError`)."""
        message = status_line(error, self._key)
        if error.status_code == 429 and "insufficient_quota" in str(error.body):
            return UserError(
                f"teacher '{self.name}': its quota is spent; {self.spec.base_url} says: {message}"
            )
        if error.status_code not in REFUSED_STATUSES:
            return failure_of(error, self._key)
        if error.status_code == 404:
            advice = "check model and base_url"
            if not self.spec.chat:
                advice += ", or set chat=True, for hosted APIs often have no /completions"
        else:
            advice = f"check the key in ${self.spec.key_variable}"
            if self._key == NO_KEY:
                advice += ", which is not set"
        return UserError(f"teacher '{self.name}': {advice}; {self.spec.base_url} says: {message}")

    # ----------------------------------------------------------------------------------------------
    # The parameters of a request.

    def _parameters(self, text: str, seed: int) -> dict:
        spec = self.spec
        parameters = {
            "model": spec.model,
            "max_tokens": spec.max_tokens,
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "seed": seed,
        }
        if spec.stop:
            parameters["stop"] = list(spec.stop)
        if spec.chat:
            parameters["messages"] = [{"role": "user", "content": text}]
        else:
            parameters |= {"prompt": text, "logprobs": 0}
        if "max_tokens" in self._refused:
            parameters["max_completion_tokens"] = parameters["max_tokens"]
        return {name: value for name, value in parameters.items() if name not in self._refused}

    def _leave_out_refused(self, parameters: Mapping, refusal: str) -> bool:
        """Leaves out, from now on, a parameter that the server does not know.

        Only a parameter that does not decide the text is left out: a text is cut at the stop
        strings here too, 1 is the interface's default for temperature and top_p, a seed binds no
        server, and newer chat models call max_tokens max_completion_tokens.

        Args:
          parameters: those of the request that was refused.
          refusal: all that the server said.

        Returns:
          Whether one was left out, so that the request may be sent again.
        """
        dispensable = {"logprobs", "stop", "seed"}
        dispensable |= {name for name in ("temperature", "top_p") if parameters.get(name) == 1}
        if self.spec.chat:
            dispensable.add("max_tokens")
        for name in sorted(dispensable & parameters.keys()):
            if UNSUPPORTED.search(refusal) and re.search(rf"\b{name}\b", refusal):
                if name not in self._refused:
                    print(
                        f"{self.name}: the server takes no {name}; from now on it is asked without",
                        file=sys.stderr,
                    )
                self._refused.add(name)
                return True
        return False

    # ----------------------------------------------------------------------------------------------
    # The server itself.

    async def _find_server(self) -> None:
        """Checks that a server answers, and that it has the model.

        Raises:
          UserError: no server answers, it refuses the key, or it lists models without this one and
            does not take its name either.
        """
        listed = await self._list_models()
        if not listed or self.spec.model in listed or await self._takes_model():
            return
        nearest = difflib.get_close_matches(self.spec.model, listed, n=10, cutoff=0.0)
        error = unknown(f"model at {self.spec.base_url}", self.spec.model, nearest)
        raise UserError(f"teacher '{self.name}': {line_without_key(error, self._key)}")

    async def _list_models(self) -> list[str]:
        """The names of the server's models; none where it has no list.

        Raises:
          UserError: no server answers, or it refuses the key.
        """
        import openai

        problem = None  # raised behind the `try`, as in `_send`
        limit = min(FIND, self.spec.timeout)
        try:
            async with asyncio.timeout(limit):
                reply = await self._client.models.with_raw_response.list()
            names = [model["id"] for model in json.loads(reply.content)["data"]]
            return [name for name in names if isinstance(name, str)]
        except openai.APIStatusError as error:
            # A server may have no list (404, 405), a key no right to it (403), and other errors may
            # pass.
            if error.status_code in (401, 402):
                problem = self._meaning_of(error)
        except openai.APIConnectionError as error:
            problem = self._absent(line_without_key(error.__cause__ or error, self._key))
        except TimeoutError:
            problem = self._absent(f"no reply within {limit:g} s")
        except (ValueError, RecursionError, KeyError, TypeError):
            pass  # the server answers, though not with a list
        if problem is not None:
            raise problem
        return []

    def _absent(self, why: str) -> UserError:
        return UserError(
            f"teacher '{self.name}': no server answers at {self.spec.base_url}: {why}; start it, "
            f"e.g. vllm serve {self.spec.model} --host 127.0.0.1"
        )

    async def _takes_model(self) -> bool:
        """Whether the server takes a model's name that it does not list, such as an alias.

        It is asked for one token. Whatever else is wrong will come up again with the requests.
        """
        import openai

        with contextlib.suppress(openai.APIError, TimeoutError):
            try:
                async with asyncio.timeout(self.spec.timeout):
                    await self._create({**self._parameters("Hello", 0), "max_tokens": 1})
            except openai.NotFoundError:
                return False
        return True


def _shorter_contexts(words: int) -> list[int]:
    """How many of a context's words are kept, try after try, where the prompt is too long."""
    quarters = {words * quarter // 4 for quarter in range(4)}
    return sorted(quarters - {words}, reverse=True)


def _read_key(variable: str) -> str:
    """The key in an environment variable; where there is none, what a server without keys takes."""
    key = os.environ.get(variable, "").strip() or NO_KEY
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(
            f"the key in ${variable} has characters that no HTTP header may hold; set it again"
        )
    return key
