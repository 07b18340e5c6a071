"""Hugging Face transformers: encoder-decoder teachers such as FLAN-T5-xl, which vLLM does not have, and small causal ones.

Prompts are sorted by length and computed in batches under a budget of padded tokens. The batches
follow from the whole
list of requests, those in the log included: a job that was interrupted computes the same batches as
one that was not, and so writes the same texts, sampled ones too. Where memory runs out, the budget
is halved for good and the batch done again.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

import ml_collections

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import models, reading
from tinyllm_jax.teachers.engine import Request, Result, one_line


@dataclasses.dataclass(frozen=True)
class _Item:
    request: Request
    ids: list[int]
    cut: int


class TransformersEngine:
    """A model in transformers; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.
      revision: from `models.resolve`.

    Raises:
      UserError: torch or transformers is not installed, or they cannot load the model.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str, revision: str):
        models.quiet()
        try:
            import safetensors
            import torch
            import transformers
        except ImportError as error:
            raise UserError(
                f"teacher '{name}': engine transformers needs PyTorch ({error}); install it with "
                f"launch/teachers.sh"
            ) from None
        self.spec, self.budget = spec, spec.batch_tokens
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model, pinned = models.where(spec, revision)
        # A CPU without bfloat16 units emulates it, several times slower than float32.
        dtype = "float32" if self.device == "cpu" and spec.dtype == "auto" else spec.dtype
        try:
            config = transformers.AutoConfig.from_pretrained(model, **pinned)
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                model, padding_side="left", **pinned
            )
            self.reads_apart = bool(config.is_encoder_decoder)  # the prompt has a window of its own
            kind = (
                transformers.AutoModelForSeq2SeqLM
                if self.reads_apart
                else transformers.AutoModelForCausalLM
            )
            self.model = kind.from_pretrained(
                model, config=config, dtype=dtype, use_safetensors=True, **pinned
            )
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise UserError(
                f"teacher '{name}': transformers cannot load {model}: {one_line(error)}"
            ) from error
        self.model.to(self.device).eval()
        self.window = spec.window or models.window(config) or self.tokenizer.model_max_length
        given = self.model.generation_config
        eos = given.eos_token_id if given.eos_token_id is not None else self.tokenizer.eos_token_id
        self.ends = set(eos if isinstance(eos, list) else [eos]) - {None}
        self.pad = (
            self.tokenizer.pad_token_id
            if self.tokenizer.pad_token_id is not None
            else min(self.ends, default=0)
        )
        # Of the model's own settings only the special tokens: its top_k or repetition penalty are
        # not in our rows.
        sampling = (
            {"temperature": spec.temperature, "top_p": spec.top_p, "top_k": 0}
            if spec.temperature
            else {}
        )
        self.model.generation_config = transformers.GenerationConfig(
            max_new_tokens=spec.max_tokens,
            do_sample=bool(spec.temperature),
            eos_token_id=eos,
            pad_token_id=self.pad,
            decoder_start_token_id=given.decoder_start_token_id,
            **sampling,
        )

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`."""
        items = []
        for request in requests:
            try:
                items.append(self._read(request))
            except ValueError as error:
                if not request.logged:
                    yield Result(request, error=str(error))
        items.sort(
            key=lambda item: -len(item.ids)
        )  # the longest first: memory runs out at once or never
        start = 0
        while start < len(items):
            batch = self._batch(items, start)
            if all(item.request.logged for item in batch):
                start += len(batch)
                continue
            if stop():
                return
            try:
                results = self._write(batch)
            except (MemoryError, RuntimeError) as error:
                if not _out_of_memory(error):
                    raise UserError(
                        f"PyTorch failed: {one_line(error)}; the rows in the log are safe"
                    ) from error
                results = self._less(batch, error)
            start += len(batch) if results else 0
            yield from (result for result in results if not result.request.logged)

    def close(self) -> None:
        """Frees the model's memory."""
        import torch

        del self.model
        torch.cuda.empty_cache()

    def _read(self, request: Request) -> _Item:
        limit = self.window - (0 if self.reads_apart else self.spec.max_tokens)
        return _Item(request, *reading.read(self.tokenizer, request.prompt, self.spec.chat, limit))

    def _batch(self, items: list[_Item], start: int) -> list[_Item]:
        """The items from `start` that fit the budget beside the first, which is the longest; at least that one."""
        each = len(items[start].ids) + self.spec.max_tokens
        return items[start : start + max(1, self.budget // each)]

    def _less(self, batch: list[_Item], error: Exception) -> list[Result]:
        """After memory ran out: halves the budget, or gives up on a batch of one."""
        import torch

        torch.cuda.empty_cache()
        if len(batch) == 1:
            return [
                Result(batch[0].request, error=f"out of memory on one prompt: {one_line(error)}")
            ]
        self.budget = (len(batch[0].ids) + self.spec.max_tokens) * len(batch) // 2
        print(
            f"out of memory with {len(batch)} prompts; going on with batches of {self.budget:,} tokens",
            flush=True,
        )
        return []

    def _write(self, batch: list[_Item]) -> list[Result]:
        import torch

        longest = len(batch[0].ids)
        ids = self._padded([item.ids for item in batch], self.pad)
        mask = self._padded([[1] * len(item.ids) for item in batch], 0)
        torch.manual_seed(batch[0].request.seed)
        start = 1 if self.reads_apart else longest
        likelihood, stopped = _Likelihood(), _Stop(self.tokenizer, self.spec.stop, start)
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                stopping_criteria=[stopped],
                logits_processor=[likelihood],
            )
            logprobs = likelihood.finish(out)
        return [
            self._result(item, wrote, row)
            for item, wrote, row in zip(batch, out[:, start:].tolist(), logprobs)
        ]

    def _padded(self, rows: list[list[int]], fill: int):
        """One tensor of the rows: a causal model goes on at their right end, an encoder counts positions from the left."""
        import torch

        pads = [[fill] * (max(map(len, rows)) - len(row)) for row in rows]
        return torch.tensor(
            [row + pad if self.reads_apart else pad + row for row, pad in zip(rows, pads)],
            device=self.device,
        )

    def _result(self, item: _Item, wrote: list[int], logprobs: list[float]) -> Result:
        count = next((at + 1 for at, token in enumerate(wrote) if token in self.ends), 0)
        text = self.tokenizer.decode(wrote[: count or None], skip_special_tokens=True)
        found = [text.index(stop) for stop in self.spec.stop if stop in text]
        reason = "stop" if count or found else "length"
        if found and not count:  # what follows the stop in a batch is padding
            count = next(at for at in range(1, len(wrote) + 1) if self._stopped(wrote[:at]))
        count = count or len(wrote)
        return Result(
            item.request,
            text[: min(found, default=len(text))],
            reason,
            len(item.ids),
            count,
            sum(logprobs[:count]) / count,
            item.cut,
        )

    def _stopped(self, wrote: list[int]) -> bool:
        text = self.tokenizer.decode(wrote, skip_special_tokens=True)
        return any(stop in text for stop in self.spec.stop)


class _Likelihood:
    """A logits processor that changes nothing and keeps the log-probability of every token that is then chosen."""

    def __init__(self):
        self.before, self.chosen = None, []

    def __call__(self, ids, scores):
        self._keep(ids)
        self.before = scores.float().log_softmax(-1)
        return scores

    def finish(self, ids) -> list[list[float]]:
        """Per row the log-probabilities of its tokens, those of padding included."""
        import torch

        self._keep(ids)
        return torch.stack(self.chosen, dim=1).tolist()

    def _keep(self, ids) -> None:
        if self.before is not None:
            self.chosen.append(self.before.gather(1, ids[:, -1:])[:, 0])


class _Stop:
    """A stopping criterion: a row is finished when a stop string stands in what it has written.

    transformers' own looks at the prompt too, and a prompt that ends in a line break is half of
    "\\n\\n".
    """

    def __init__(self, tokenizer, stops: Sequence[str], start: int):
        self.tokenizer, self.stops, self.start = tokenizer, stops, start
        self.tail = (
            max(map(len, stops), default=0) + 4
        )  # tokens: one has a byte at least, and a character four at most

    def __call__(self, ids, scores, **_):
        import torch

        tails = self.tokenizer.batch_decode(
            ids[:, max(self.start, ids.shape[1] - self.tail) :], skip_special_tokens=True
        )
        return torch.tensor(
            [any(stop in tail for stop in self.stops) for tail in tails], device=ids.device
        )


def _out_of_memory(error: Exception) -> bool:
    import torch

    # The CPU's allocator has no error class of its own.
    return isinstance(
        error, (MemoryError, torch.OutOfMemoryError)
    ) or "can't allocate memory" in str(error)
