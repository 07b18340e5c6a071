"""Ray Data with vLLM: one teacher spread over the GPUs of a Ray cluster, or of this machine.

Ray places the replicas, feeds them, and replaces one that dies. Prompts are made into tokens here,
so that a context is cut and a chat template used as with the engine `vllm`. Ray's results carry no
log-probabilities. When the job is stopped, what is in flight is dropped, and asked again by the
next run. `tinyllm_jax` must be installed on every node.
"""

import signal
from collections.abc import Callable, Iterator, Sequence

import ml_collections

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import prompt_tokens, weights
from tinyllm_jax.teachers.config import stop_strings
from tinyllm_jax.teachers.engine import Request, Result, one_line
from tinyllm_jax.teachers.vllm_engine import engine_arguments

BATCH = 16  # requests whose results are returned together


class RayEngine:
    """A model in vLLM replicas under Ray Data; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.
      revision: from `weights.resolve_revision`.

    Raises:
      UserError: Ray is not installed, or the model's tokenizer cannot be loaded.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str, revision: str):
        weights.silence_libraries()
        try:
            import ray.data.llm
            import transformers
        except ImportError as error:
            raise UserError(
                f"teacher '{name}': engine ray needs Ray ({error}): pip install 'tinyllm_jax[ray]'"
            ) from None
        self.spec = spec
        model, pinned = weights.loading_arguments(spec, revision)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, **pinned)
            known = weights.window_of(transformers.AutoConfig.from_pretrained(model, **pinned))
        except (OSError, ValueError) as error:
            raise UserError(
                f"teacher '{name}': transformers cannot load {model}: {one_line(error)}"
            ) from error
        self.window = spec.window or known or self.tokenizer.model_max_length
        # Ray replaces the handler of SIGTERM, by which the job hears that it shall stop.
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(ignore_reinit_error=True, log_to_driver=False)
        signal.signal(signal.SIGTERM, handler)
        cpu = not ray.cluster_resources().get("GPU")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        config = ray.data.llm.vLLMEngineProcessorConfig(
            model_source=model,
            engine_kwargs={**engine_arguments(spec, cpu), **pinned},
            concurrency=spec.replicas,
            batch_size=BATCH,
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
            should_continue_on_error=True,
            log_engine_metrics=False,
            **({"placement_group_config": {"bundles": [{"CPU": 1}]}} if cpu else {}),
        )
        self.processor = ray.data.llm.build_processor(
            config, preprocess=_to_vllm, postprocess=_from_vllm
        )

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`; results come in batches."""
        import ray.data

        spec = self.spec
        asked: dict[str, tuple[Request, int]] = {}  # by key, with the words cut off the context
        rows = []
        for request in requests:
            if request.logged:
                continue
            try:
                ids, cut = prompt_tokens.fit_to_window(
                    self.tokenizer, request.prompt, spec.chat, self.window - spec.max_tokens
                )
            except ValueError as error:
                yield Result(request, error=str(error), too_long=True)
                continue
            asked[request.key] = request, cut
            rows.append(
                {
                    "key": request.key,
                    "ids": ids,
                    "seed": request.seed,
                    "max_tokens": spec.max_tokens,
                    "temperature": float(spec.temperature),
                    "top_p": float(spec.top_p),
                    "stop": list(stop_strings(spec)),
                }
            )
        if not rows or stop():
            return
        blocks = -(-len(rows) // BATCH)  # rounded up
        try:
            dataset = ray.data.from_items(rows, override_num_blocks=blocks)
            for row in self.processor(dataset).iter_rows():
                request, cut = asked[row["key"]]
                yield self._result(row, request, cut)
                if stop():
                    return
        except ray.exceptions.RayError as error:
            raise UserError(
                f"Ray failed: {one_line(error)}; the rows in the log are safe, the same command "
                f"goes on from there"
            ) from error

    def close(self) -> None:
        """Leaves the cluster; a local one ends."""
        import ray

        ray.shutdown()

    def _result(self, row: dict, request: Request, cut: int) -> Result:
        if row["error"]:
            return Result(request, error=one_line(row["error"]))
        # Ray does not say why a text ended: at max_tokens, unless its last token ends every text.
        full = row["tokens"] >= self.spec.max_tokens and row["last"] != self.tokenizer.eos_token_id
        return Result(
            request,
            text=row["text"],
            finish_reason="length" if full else "stop",
            prompt_tokens=row["prompt_tokens"],
            tokens=row["tokens"],
            context_cut=cut,
        )


def _to_vllm(row: dict) -> dict:
    """One of `generate`'s rows as Ray's vLLM stage reads it."""
    sampling = {name: row[name] for name in ("seed", "max_tokens", "temperature", "top_p")} | {
        "stop": list(row["stop"])
    }
    return {"key": row["key"], "tokenized_prompt": row["ids"], "sampling_params": sampling}


def _from_vllm(row: dict) -> dict:
    """What `_result` needs of the vLLM stage's output."""
    tokens = list(row["generated_tokens"])
    return {
        "key": row["key"],
        "text": row["generated_text"],
        "tokens": len(tokens),
        "last": int(tokens[-1]) if tokens else -1,
        "prompt_tokens": int(row["num_input_tokens"]),
        "error": row.get("__inference_error__") or "",
    }
