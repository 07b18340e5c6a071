"""Ray Data with vLLM: one teacher spread over the GPUs of a Ray cluster, or of this machine where there is none.

Ray places the replicas, feeds them, and replaces one that dies. Prompts are made into tokens here,
so that a context is cut and a chat template used as with the engine `vllm`. Ray's results carry no
log-probabilities. When the job is stopped, what is in flight is dropped, and asked again by the
next run. `tinyllm_jax` must be installed on every node.
"""

import signal
from collections.abc import Callable, Iterator, Sequence

import ml_collections

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import models, reading
from tinyllm_jax.teachers.engine import Request, Result, one_line
from tinyllm_jax.teachers.vllm_engine import arguments

BATCH = 16  # requests that come back together


class RayEngine:
    """A model in vLLM replicas under Ray Data; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.
      revision: from `models.resolve`.

    Raises:
      UserError: Ray is not installed, or the model's tokenizer cannot be loaded.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str, revision: str):
        models.quiet()
        try:
            import ray.data.llm
            import transformers
        except ImportError as error:
            raise UserError(
                f"teacher '{name}': engine ray needs Ray ({error}): pip install 'tinyllm_jax[ray]'"
            ) from None
        self.spec = spec
        model, pinned = models.where(spec, revision)
        try:
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(model, **pinned)
            known = models.window(transformers.AutoConfig.from_pretrained(model, **pinned))
        except (OSError, ValueError) as error:
            raise UserError(
                f"teacher '{name}': transformers cannot load {model}: {one_line(error)}"
            ) from error
        self.window = spec.window or known or self.tokenizer.model_max_length
        handler = signal.getsignal(signal.SIGTERM)
        ray.init(ignore_reinit_error=True, log_to_driver=False)
        signal.signal(
            signal.SIGTERM, handler
        )  # Ray puts its own in its place, and the job's would not be asked
        cpu = not ray.cluster_resources().get("GPU")
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False
        config = ray.data.llm.vLLMEngineProcessorConfig(
            model_source=model,
            engine_kwargs={**arguments(spec, cpu), **pinned},
            concurrency=spec.replicas,
            batch_size=BATCH,
            chat_template_stage=False,
            tokenize_stage=False,
            detokenize_stage=False,
            should_continue_on_error=True,
            log_engine_metrics=False,
            **({"placement_group_config": {"bundles": [{"CPU": 1}]}} if cpu else {}),
        )
        self.processor = ray.data.llm.build_processor(config, preprocess=_ask, postprocess=_answer)

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`; results come in batches."""
        import ray.data

        spec, asked, rows = self.spec, {}, []
        for request in requests:
            if request.logged:
                continue
            try:
                ids, cut = reading.read(
                    self.tokenizer, request.prompt, spec.chat, self.window - spec.max_tokens
                )
            except ValueError as error:
                yield Result(request, error=str(error))
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
                    "stop": list(spec.stop),
                }
            )
        if not rows or stop():
            return
        try:
            for row in self.processor(
                ray.data.from_items(rows, override_num_blocks=-(-len(rows) // BATCH))
            ).iter_rows():
                yield self._result(row, *asked[row["key"]])
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
        full = row["tokens"] >= self.spec.max_tokens and row["last"] != self.tokenizer.eos_token_id
        return Result(
            request,
            row["text"],
            "length" if full else "stop",
            row["prompt_tokens"],
            row["tokens"],
            None,
            cut,
        )


def _ask(row: dict) -> dict:
    """What Ray's vLLM stage reads."""
    sampling = {name: row[name] for name in ("seed", "max_tokens", "temperature", "top_p")} | {
        "stop": list(row["stop"])
    }
    return {"key": row["key"], "tokenized_prompt": row["ids"], "sampling_params": sampling}


def _answer(row: dict) -> dict:
    """What of its output comes back."""
    tokens = list(row["generated_tokens"])
    return {
        "key": row["key"],
        "text": row["generated_text"],
        "tokens": len(tokens),
        "last": int(tokens[-1]) if tokens else -1,
        "prompt_tokens": int(row["num_input_tokens"]),
        "error": row.get("__inference_error__") or "",
    }
