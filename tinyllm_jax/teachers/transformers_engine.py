"""Hugging Face transformers, for encoder-decoder teachers such as FLAN-T5-xl, which vLLM lacks.

Causal models run too. Prompts are sorted by length and computed in batches under a budget of padded
tokens. The batches follow from the whole list of requests, those in the log included: a job that
was interrupted computes the same batches as one that was not, and so writes the same texts, sampled
ones too. Where memory runs out, the budget is halved for good and the batch done again.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import ml_collections

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import prompt_tokens, weights
from tinyllm_jax.teachers.config import stop_strings
from tinyllm_jax.teachers.engine import Request, Result, one_line


@dataclasses.dataclass(frozen=True)
class _Item:
    """A request, the ids of its prompt, and the words cut off its context."""

    request: Request
    ids: list[int]
    cut: int


class TransformersEngine:
    """A model in transformers; see `engine.Engine`.

    Args:
      spec: the teacher's fields.
      name: the teacher's name.
      revision: from `weights.resolve_revision`.

    Raises:
      UserError: torch or transformers is not installed, or they cannot load the model.
    """

    def __init__(self, spec: ml_collections.ConfigDict, name: str, revision: str):
        weights.silence_libraries()
        try:
            import safetensors
            import torch
            import transformers
        except ImportError as error:
            raise UserError(
                f"teacher '{name}': engine transformers needs PyTorch ({error}); install it with "
                f"launch/teachers.sh"
            ) from None
        self.spec, self.budget, self.stop = spec, spec.batch_tokens, stop_strings(spec)
        self.device = "cuda" if torch.cuda.is_available() else "cpu"
        model, pinned = weights.loading_arguments(spec, revision)
        # A CPU without bfloat16 units emulates it, several times slower than float32.
        dtype = "float32" if self.device == "cpu" and spec.dtype == "auto" else spec.dtype
        try:
            config = transformers.AutoConfig.from_pretrained(model, **pinned)
            self.tokenizer = transformers.AutoTokenizer.from_pretrained(
                model, padding_side="left", **pinned
            )
            # An encoder reads the prompt in a window of its own.
            self.has_encoder = bool(config.is_encoder_decoder)
            auto_class: Any = transformers.AutoModelForCausalLM
            if self.has_encoder:
                auto_class = transformers.AutoModelForSeq2SeqLM
            self.model = auto_class.from_pretrained(
                model, config=config, dtype=dtype, use_safetensors=True, **pinned
            )
        except (OSError, ValueError, KeyError, RuntimeError, safetensors.SafetensorError) as error:
            raise UserError(
                f"teacher '{name}': transformers cannot load {model}: {one_line(error)}"
            ) from error
        self.model.to(self.device).eval()
        self.window = spec.window or weights.window_of(config) or self.tokenizer.model_max_length
        self._configure_generation()

    def _configure_generation(self) -> None:
        """Replaces the model's own way of generating by the teacher's fields.

        Only the special tokens of the model's own configuration are kept: its top_k or its
        repetition penalty would change texts, and no log row would show it.
        """
        import transformers

        spec, models_own = self.spec, self.model.generation_config
        eos = models_own.eos_token_id
        if eos is None:
            eos = self.tokenizer.eos_token_id
        self.ends = set(eos if isinstance(eos, list) else [eos]) - {None}  # tokens that end a text
        self.pad = self.tokenizer.pad_token_id
        if self.pad is None:
            self.pad = min(self.ends, default=0)
        sampling = {}
        if spec.temperature:
            sampling = {"temperature": spec.temperature, "top_p": spec.top_p, "top_k": 0}
        self.model.generation_config = transformers.GenerationConfig(
            max_new_tokens=spec.max_tokens,
            do_sample=bool(spec.temperature),
            eos_token_id=eos,
            pad_token_id=self.pad,
            decoder_start_token_id=models_own.decoder_start_token_id,
            **sampling,
        )

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """See `engine.Engine.generate`."""
        items = []
        for request in requests:
            try:
                items.append(self._tokenize(request))
            except ValueError as error:
                if not request.logged:
                    yield Result(request, error=str(error), too_long=True)
        # The longest come first, so that memory runs out at once or never.
        items.sort(key=lambda item: -len(item.ids))
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
                results = self._after_out_of_memory(batch, error)
            if results:
                start += len(batch)
            for result in results:
                if not result.request.logged:
                    yield result

    def close(self) -> None:
        """Frees the model's memory."""
        import torch

        del self.model
        torch.cuda.empty_cache()

    def _tokenize(self, request: Request) -> _Item:
        """The request with the ids of its prompt; raises `ValueError` where it does not fit."""
        limit = self.window
        if not self.has_encoder:
            limit -= self.spec.max_tokens
        ids, cut = prompt_tokens.fit_to_window(
            self.tokenizer, request.prompt, self.spec.chat, limit
        )
        return _Item(request, ids, cut)

    def _batch(self, items: list[_Item], start: int) -> list[_Item]:
        """As many items from `start` on as fit the budget, but at least one.

        The first is the longest, so all are padded to its length.
        """
        padded_tokens = len(items[start].ids) + self.spec.max_tokens  # of each item
        return items[start : start + max(1, self.budget // padded_tokens)]

    def _after_out_of_memory(self, batch: list[_Item], error: Exception) -> list[Result]:
        """Halves the budget, and returns nothing; or gives up on a batch of one."""
        import torch

        torch.cuda.empty_cache()
        if len(batch) == 1:
            return [
                Result(batch[0].request, error=f"out of memory on one prompt: {one_line(error)}")
            ]
        self.budget = (len(batch[0].ids) + self.spec.max_tokens) * len(batch) // 2
        print(
            f"out of memory with {len(batch)} prompts; going on with batches of {self.budget:,} "
            f"tokens",
            flush=True,
        )
        return []

    def _write(self, batch: list[_Item]) -> list[Result]:
        """Has the model write a rationale for every item of a batch."""
        import torch

        ids = self._padded([item.ids for item in batch], self.pad)
        mask = self._padded([[1] * len(item.ids) for item in batch], 0)
        torch.manual_seed(batch[0].request.seed)
        # The output begins with the decoder's start token, or else with the whole prompt.
        start = 1 if self.has_encoder else ids.shape[1]
        likelihood = _Likelihood()
        with torch.inference_mode():
            out = self.model.generate(
                input_ids=ids,
                attention_mask=mask,
                stopping_criteria=[_Stop(self.tokenizer, self.stop, start)],
                logits_processor=[likelihood],
            )
            logprobs = likelihood.finish(out)
        written = out[:, start:].tolist()
        return [
            self._result(item, row, row_logprobs)
            for item, row, row_logprobs in zip(batch, written, logprobs, strict=True)
        ]

    def _padded(self, rows: list[list[int]], fill: int):
        """The rows as one tensor (rows, longest row), filled up with `fill`.

        A causal model goes on at the right end of a row, so its rows are filled at the left; an
        encoder counts positions from the left, so its rows are filled at the right.
        """
        import torch

        longest = max(map(len, rows))
        padded = []
        for row in rows:
            padding = [fill] * (longest - len(row))
            padded.append(row + padding if self.has_encoder else padding + row)
        return torch.tensor(padded, device=self.device)

    def _result(self, item: _Item, written: list[int], logprobs: list[float]) -> Result:
        """The result of an item.

        Args:
          item: the item.
          written: the ids that its row of the batch holds after the prompt, padding included.
          logprobs: the log-probability of each of them.
        """
        # The text ends with the first token that ends texts, or else before a stop string; what
        # follows in the row is padding.
        ended = [index for index, token in enumerate(written) if token in self.ends]
        count = ended[0] + 1 if ended else len(written)
        text = self._decode(written[:count])
        stops = [text.index(stop) for stop in self.stop if stop in text]
        if stops and not ended:
            count = self._count_to_stop(written)
        return Result(
            item.request,
            text=text[: min(stops, default=len(text))],
            finish_reason="stop" if ended or stops else "length",
            prompt_tokens=len(item.ids),
            tokens=count,
            mean_logprob=sum(logprobs[:count]) / count,
            context_cut=item.cut,
        )

    def _count_to_stop(self, written: list[int]) -> int:
        """How many of the ids it takes until a stop string stands in their text."""
        for count in range(1, len(written)):
            text = self._decode(written[:count])
            if any(stop in text for stop in self.stop):
                return count
        return len(written)

    def _decode(self, ids: list[int]) -> str:
        text = self.tokenizer.decode(ids, skip_special_tokens=True)
        assert isinstance(text, str)  # a list only for several rows of ids
        return text


class _Likelihood:
    """A logits processor that changes nothing and keeps the log-probabilities of what is chosen.

    It is called before each token is chosen, with the ids so far, and so learns of a choice when it
    is called for the next one.
    """

    def __init__(self) -> None:
        self.before: Any = None  # the log-probabilities (rows, vocabulary) of the next token
        self.chosen: list[Any] = []  # for each token those of the chosen ids (rows,)

    def __call__(self, ids, scores):
        self._keep(ids)
        self.before = scores.float().log_softmax(-1)
        return scores

    def finish(self, ids) -> list[list[float]]:
        """By row the log-probabilities of its tokens, those of padding included."""
        import torch

        self._keep(ids)
        return torch.stack(self.chosen, dim=1).tolist()

    def _keep(self, ids) -> None:
        if self.before is not None:
            self.chosen.append(self.before.gather(1, ids[:, -1:])[:, 0])


class _Stop:
    r"""A stopping criterion: a row is finished when a stop string stands in what it has written.

    The criterion of transformers itself looks at the prompt too, and a prompt that ends in a line
    break holds half of "\n\n".

    Args:
      tokenizer: the model's tokenizer.
      stops: the stop strings.
      start: the position at which a row's text begins, after its prompt.
    """

    def __init__(self, tokenizer, stops: Sequence[str], start: int):
        self.tokenizer, self.stops, self.start = tokenizer, stops, start
        # How many of the last tokens are looked at: a token has one byte at least, and a character
        # four bytes at most.
        self.tail = max(map(len, stops), default=0) + 4

    def __call__(self, ids, scores, **_):
        import torch

        tail_start = max(self.start, ids.shape[1] - self.tail)
        tails = self.tokenizer.batch_decode(ids[:, tail_start:], skip_special_tokens=True)
        stopped = [any(stop in tail for stop in self.stops) for tail in tails]
        return torch.tensor(stopped, device=ids.device)


def _out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return True
    return "can't allocate memory" in str(error)  # the CPU's allocator has no error of its own
