"""Generation through `teach`, log and all, against the raw engine on the same prompts.

    python tests/benchmarks/bench_teach.py --config configs/teachers_cpu.py:models=DIR \
      --teachers smollm2,flan-t5-small --task obqa --source released:RELEASED --questions 64

The engine is loaded once; then each round runs both, in turn in either order, with vLLM's prefix
cache emptied before each. The raw vLLM is `LLM.generate` with all prompts at once and the same
sampling parameters; the raw transformers is `model.generate` on the same batches. Prints the rates
and their ratio (median of the rounds), and the ratio of the processor time of this process and its
children: on a machine that others share, that is the steadier figure (it says nothing of a GPU).
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from absl import flags

from tinyllm_jax import cli_flags, tasks
from tinyllm_jax.corpus.logrow import read_log
from tinyllm_jax.teachers import config, job, plan, prompt_tokens, weights


def processor_seconds():
    """What this process and its children have used so far."""
    import psutil

    own = psutil.Process()
    return sum(sum(process.cpu_times()[:2]) for process in (own, *own.children(recursive=True)))


class Borrowed:
    """An engine that a job may use and not close."""

    def __init__(self, engine):
        self.generate = engine.generate

    def close(self):
        """The benchmark closes it."""


def raw_vllm(engine, requests):
    """Returns the seconds and the tokens of `LLM.generate`."""
    spec = engine.spec
    prompts = [
        {
            "prompt_token_ids": prompt_tokens.fit_to_window(
                engine.tokenizer, request.prompt, spec.chat, engine.window - spec.max_tokens
            )[0]
        }
        for request in requests
    ]
    parameters = [
        engine.sampling(
            max_tokens=spec.max_tokens,
            temperature=spec.temperature,
            top_p=spec.top_p,
            seed=request.seed,
            stop=list(spec.stop),
            logprobs=0,
        )
        for request in requests
    ]
    began = time.perf_counter()
    outputs = engine.llm.generate(prompts, parameters, use_tqdm=False)
    seconds = time.perf_counter() - began
    cached = sum(output.num_cached_tokens for output in outputs)
    read = sum(len(output.prompt_token_ids) for output in outputs)
    print(f"prefix cache: {cached:,} of {read:,} prompt tokens were not computed again")
    return seconds, sum(len(output.outputs[0].token_ids) for output in outputs)


def raw_transformers(engine, requests):
    """Returns the seconds and the tokens of `model.generate` in the engine's own batches.

    The texts are decoded too.
    """
    import torch

    items = sorted(
        (engine._tokenize(request) for request in requests), key=lambda item: -len(item.ids)
    )
    began, tokens, start = time.perf_counter(), 0, 0
    while start < len(items):
        batch = engine._batch(items, start)
        ids = engine._padded([item.ids for item in batch], engine.pad)
        mask = engine._padded([[1] * len(item.ids) for item in batch], 0)
        with torch.inference_mode():
            out = engine.model.generate(
                input_ids=ids,
                attention_mask=mask,
                stop_strings=list(engine.spec.stop),
                tokenizer=engine.tokenizer,
            )
        wrote = out[:, 1 if engine.has_encoder else ids.shape[1] :]
        engine.tokenizer.batch_decode(wrote, skip_special_tokens=True)
        tokens += int((wrote != engine.pad).sum())
        start += len(batch)
    return time.perf_counter() - began, tokens


def through_teach(engine, teacher, questions):
    """Returns the seconds and the tokens of the same questions through the job, into a new log."""
    with tempfile.TemporaryDirectory() as out:
        path = job.log_path(Path(out), teacher)
        began = time.perf_counter()
        job.run(teacher, questions, path, lambda: False, lambda _: Borrowed(engine))
        seconds = time.perf_counter() - began
        return seconds, sum(row.tokens for row in read_log(path))


def measure(teacher, questions, rounds: int) -> str:
    """Measures one teacher; returns a line of its rates."""
    spec = teacher.spec
    requests = plan.requests(teacher, questions, True, ())
    engine: Any = job._open_engine(teacher)
    raw = raw_vllm if spec.engine == "vllm" else raw_transformers
    times: dict[str, list[tuple[float, int]]] = {"raw": [], "teach": []}
    processor = {"raw": 0.0, "teach": 0.0}
    raw(engine, requests[:2])  # compiles and warms up
    for index in range(rounds):
        for kind in ("raw", "teach") if index % 2 == 0 else ("teach", "raw"):
            if spec.engine == "vllm":
                engine.llm.reset_prefix_cache()
            before = processor_seconds()
            if kind == "raw":
                times[kind].append(raw(engine, requests))
            else:
                times[kind].append(through_teach(engine, teacher, questions))
            processor[kind] += processor_seconds() - before
    engine.close()

    rates = {kind: [tokens / seconds for seconds, tokens in found] for kind, found in times.items()}
    ratios = [through / raw for raw, through in zip(rates["raw"], rates["teach"], strict=True)]
    parts = [f"{teacher.name:16} {spec.engine:13}"]
    for kind, found in times.items():
        rows = len(requests) / statistics.median(seconds for seconds, _ in found)
        tokens = statistics.median(rates[kind])
        parts.append(f"{kind} {tokens:8.1f} tokens/s {rows:7.2f} rows/s  ")
    listed = ", ".join(f"{ratio:.3f}" for ratio in ratios)
    parts.append(f"ratio {statistics.median(ratios):.3f} ({listed})  ")
    parts.append(f"processor time {processor['raw'] / processor['teach']:.3f}")
    return " ".join(parts)


def main() -> None:
    """Prints one line per teacher."""
    parser = argparse.ArgumentParser()
    for name, default in (
        ("config", ""),
        ("teachers", ""),
        ("task", "obqa"),
        ("source", ""),
        ("questions", "64"),
        ("rounds", "3"),
    ):
        parser.add_argument(f"--{name}", default=default)
    arguments = parser.parse_args()
    values = flags.FlagValues()
    argv = ["bench", "--config", arguments.config]
    cli_flags.define_config(values, argv, "the teachers")
    values(argv)
    train = tasks.load(arguments.task, arguments.source)["train"]
    questions = train[: int(arguments.questions)]
    lines = []
    for name in arguments.teachers.split(","):
        spec = values.config.teachers[name]
        config.check(name, spec)
        revision = weights.resolve_revision(name, spec)
        teacher = plan.load_teacher(name, spec, revision, arguments.task, train, 0)
        lines.append(measure(teacher, questions, int(arguments.rounds)))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
