"""Any server with OpenAI's interface: `vllm serve` on this machine or another one, or a hosted API.

A `vllm serve` fills what a request leaves out from the model's generation_config.json (top_k, a
repetition penalty); start it with `--generation-config vllm` where its texts should be those of the
engine `vllm`.

One event loop in a thread of its own holds all requests: so a deadline covers a whole reply,
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
from tinyllm_jax.teachers import openai_reply as replies
from tinyllm_jax.teachers.engine import Request, Result
from tinyllm_jax.teachers.openai_reply import Again, Refusal, TooLong

BACKOFF = 0.5  # seconds before the first retry, at most; they double with every further one
LONGEST_BACKOFF = 60.0
POLL = 0.1  # seconds between two looks at `stop()` while a request waits
CONNECT = 10.0  # seconds to reach a server
FIND = 30.0  # seconds for its list of models

REFUSED = (401, 402, 403, 404)  # by these no request can be answered
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
        try:
            import openai
        except ImportError:
            raise UserError(
                f"teacher '{name}': engine openai needs the package openai: "
                f"pip install tinyllm_jax[teachers]"
            ) from None
        self.spec, self.name = spec, name
        self._key = _key(spec.key_variable)
        self._refused: set[str] = set()  # parameters that the server does not know
        self._resume = self._heard = 0.0  # until when nobody may ask; when a reply last came
        try:
            urllib.parse.urlsplit(
                spec.base_url
            ).port  # raises, where it is none; a client fails only as it connects
            self._client = openai.AsyncOpenAI(
                api_key=self._key,
                base_url=spec.base_url,
                max_retries=0,
                # The deadline of a whole reply is ours.
                timeout=openai.Timeout(None, connect=min(CONNECT, spec.timeout)),
            )
        except Exception as error:  # also InvalidURL of whichever HTTP package openai brings
            raise UserError(
                f"teacher '{name}': bad base_url {spec.base_url}: {replies.line(error, self._key)}"
            ) from None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._find(), self._loop).result()
        except BaseException:
            self.close()
            raise

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`; a request that waits for a further attempt when `stop()` comes has no result."""
        finished: queue.SimpleQueue[Result | None] = queue.SimpleQueue()
        waiting = [request for request in requests if not request.logged]
        work = asyncio.run_coroutine_threadsafe(
            self._answer_all(waiting, stop, finished.put), self._loop
        )
        work.add_done_callback(lambda _: finished.put(None))
        try:
            while (result := finished.get()) is not None:
                yield result
            work.result()
        finally:
            work.cancel()

    def close(self) -> None:
        """Drops what is in flight, and closes the connections."""
        if self._loop.is_closed():
            return
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._client.close()

    # Many requests.

    async def _answer_all(
        self, requests: Sequence[Request], stop: Callable[[], bool], put: Callable[[Result], None]
    ) -> None:
        waiting = iter(requests)

        async def work():
            for request in waiting:
                result = await self._answer(request, stop)
                if result is None:
                    return
                put(result)

        workers = [
            asyncio.ensure_future(work()) for _ in range(min(self.spec.concurrency, len(requests)))
        ]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()

    async def _may_ask(self, until: float, stop: Callable[[], bool]) -> bool:
        """Waits until a time and the end of everyone's pause; False as soon as `stop()` comes."""
        while not stop():
            left = max(until, self._resume) - time.monotonic()
            if left <= 0:
                return True
            await asyncio.sleep(min(left, POLL))
        return False

    def _pause(self, seconds: float) -> None:
        """Nobody may ask for so long."""
        self._resume = max(self._resume, time.monotonic() + seconds)

    # One request.

    async def _answer(self, request: Request, stop: Callable[[], bool]) -> Result | None:
        """What becomes of a request; None where `stop()` came while it waited."""
        words = kept = request.prompt.context_words
        shorter = iter(
            sorted({words * quarters // 4 for quarters in range(4)} - {words}, reverse=True)
        )
        failures, until, began = 0, 0.0, time.monotonic()
        while await self._may_ask(until, stop):
            prompt = request.prompt if kept == words else request.prompt.cut(kept)
            try:
                reply = await self._ask(prompt.text, request.seed)
                return replies.result(request, reply, self.spec.stop, words - kept, self._key)
            except Refusal as error:
                return Result(request, error=str(error))
            except TooLong as error:
                kept = next(shorter, None)
                if kept is None:
                    return Result(
                        request,
                        error=f"prompt does not fit the model's window even without its context: {error}",
                    )
            except Again as error:
                if failures == self.spec.retries:
                    return self._given_up(request, failures + 1, error, began)
                pause = random.uniform(0, min(LONGEST_BACKOFF, BACKOFF * 2 ** min(failures, 20)))
                failures, until = failures + 1, time.monotonic() + (error.wait or 0.0) + pause
                if error.everyone:
                    self._pause(pause if error.wait is None else error.wait)
        return None

    def _given_up(self, request: Request, attempts: int, error: Again, began: float) -> Result:
        """The result of a request without retries left; raises `UserError` where the server is not there any more."""
        if error.unreachable and self._heard < began:
            raise UserError(
                f"teacher '{self.name}': no server answers at {self.spec.base_url} any more ({error}); start it "
                f"again, and the same command goes on"
            )
        return Result(request, error=f"{attempts} attempts failed, the last: {error}")

    async def _ask(self, text: str, seed: int) -> bytes:
        """One attempt, repeated only without a parameter that the server does not know."""
        while True:
            sent = self._parameters(text, seed)
            try:
                return await self._send(sent)
            except Refusal as refusal:
                if not self._spare(sent, refusal.everything):
                    raise

    async def _send(self, parameters: Mapping) -> bytes:
        """A reply's body; raises `Again`, `Refusal`, `TooLong` or `UserError`."""
        import openai

        failure = None  # raised below, where it does not drag along the library's error, which holds the key
        try:
            async with asyncio.timeout(self.spec.timeout):
                reply = await self._create(parameters)
        except TimeoutError:
            failure = Again(f"no whole reply within {self.spec.timeout:g} s")
        except openai.APIStatusError as error:
            self._heard = time.monotonic()
            failure = self._judge(error)
        except openai.APIConnectionError as error:
            unreachable = type(error.__cause__).__name__ in ("ConnectError", "ConnectTimeout")
            failure = Again(
                replies.line(error.__cause__ or error, self._key), unreachable=unreachable
            )
        if failure is not None:
            raise failure
        self._heard = time.monotonic()
        self._pause(replies.asked_wait(reply.headers, reply.status_code) or 0.0)
        return reply.content

    async def _create(self, parameters: Mapping):
        resource = self._client.chat.completions if self.spec.chat else self._client.completions
        return await resource.with_raw_response.create(**parameters)

    def _judge(self, error) -> Exception:
        """What a reply with an error's status means: for its request, or for all of them."""
        said = replies.said(error, self._key)
        if error.status_code == 429 and "insufficient_quota" in str(error.body):
            return UserError(
                f"teacher '{self.name}': its quota is spent; {self.spec.base_url} says: {said}"
            )
        if error.status_code not in REFUSED:
            return replies.failure(error, self._key)
        mend = f"check the key in ${self.spec.key_variable}"
        if error.status_code == 404:
            mend = "check model and base_url"
            mend += (
                ""
                if self.spec.chat
                else ", or set chat=True, for hosted APIs often have no /completions"
            )
        elif self._key == replies.NO_KEY:
            mend += ", which is not set"
        return UserError(f"teacher '{self.name}': {mend}; {self.spec.base_url} says: {said}")

    # The parameters.

    def _parameters(self, text: str, seed: int) -> dict:
        spec = self.spec
        asked = {
            "model": spec.model,
            "max_tokens": spec.max_tokens,
            "temperature": spec.temperature,
            "top_p": spec.top_p,
            "seed": seed,
        }
        if spec.stop:
            asked["stop"] = list(spec.stop)
        asked |= (
            {"messages": [{"role": "user", "content": text}]}
            if spec.chat
            else {"prompt": text, "logprobs": 0}
        )
        if "max_tokens" in self._refused:
            asked["max_completion_tokens"] = asked["max_tokens"]
        return {name: value for name, value in asked.items() if name not in self._refused}

    def _spare(self, sent: Mapping, refusal: str) -> bool:
        """Whether all requests can do without a parameter that the server does not know, and ask for the same text.

        They can: a text is cut at the stop strings here too, 1 is the interface's default for
        temperature and top_p, a seed binds no server, and newer chat models call max_tokens
        max_completion_tokens.
        """
        spare = {"logprobs", "stop", "seed"} | {
            name for name in ("temperature", "top_p") if sent.get(name) == 1
        }
        spare |= {"max_tokens"} if self.spec.chat else set()
        for name in sorted(spare & sent.keys()):
            if UNSUPPORTED.search(refusal) and re.search(rf"\b{name}\b", refusal):
                if name not in self._refused:
                    print(
                        f"{self.name}: the server takes no {name}; from now on it is asked without",
                        file=sys.stderr,
                    )
                self._refused.add(name)
                return True
        return False

    # The server itself.

    async def _find(self) -> None:
        """Raises `UserError` unless a server answers, and knows the model where it says which ones it has."""
        import openai

        known, limit, problem = [], min(FIND, self.spec.timeout), None
        try:
            async with asyncio.timeout(limit):
                reply = await self._client.models.with_raw_response.list()
            known = [
                model["id"]
                for model in json.loads(reply.content)["data"]
                if isinstance(model["id"], str)
            ]
        except openai.APIStatusError as error:
            # A server may lack the list (404, 405), a key the right to it (403); what else is wrong
            # may pass.
            problem = self._judge(error) if error.status_code in (401, 402) else None
        except openai.APIConnectionError as error:
            problem = self._absent(replies.line(error.__cause__ or error, self._key))
        except TimeoutError:
            problem = self._absent(f"no reply within {limit:g} s")
        except (ValueError, RecursionError, KeyError, TypeError):
            pass  # an answer, though no list
        if known and self.spec.model not in known and not await self._takes_model():
            near = difflib.get_close_matches(self.spec.model, known, n=10, cutoff=0.0)
            hint = replies.line(
                unknown(f"model at {self.spec.base_url}", self.spec.model, near), self._key
            )
            problem = UserError(f"teacher '{self.name}': {hint}")
        if problem is not None:
            raise problem

    def _absent(self, why: str) -> UserError:
        return UserError(
            f"teacher '{self.name}': no server answers at {self.spec.base_url}: {why}; start it, e.g. "
            f"vllm serve {self.spec.model} --host 127.0.0.1"
        )

    async def _takes_model(self) -> bool:
        """Whether the server takes a name that it does not list, as of an alias; it is asked for one token."""
        import openai

        with contextlib.suppress(
            openai.APIError, TimeoutError
        ):  # whatever else is wrong comes again
            try:
                async with asyncio.timeout(self.spec.timeout):
                    await self._create({**self._parameters("Hello", 0), "max_tokens": 1})
            except openai.NotFoundError:
                return False
        return True


def _key(variable: str) -> str:
    """The key in an environment variable; where there is none, what a server without keys takes."""
    key = os.environ.get(variable, "").strip() or replies.NO_KEY
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise UserError(
            f"the key in ${variable} has characters that no HTTP header may hold; set it again"
        )
    return key
