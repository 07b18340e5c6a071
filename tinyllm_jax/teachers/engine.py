"""What an engine is: a teacher's model at work, which turns requests into results, in any order."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers.prompts import Prompt


@dataclasses.dataclass(frozen=True)
class Request:
    """One rationale to be written.

    Attributes:
      key: the identity of the log row that the result will be (`corpus.logrow.row_key`).
      question: the question to explain.
      prompt: what the teacher reads; of its parts only `context` may be cut.
      forced: whether the prompt shows the gold answer.
      sample: which of the question's samples this is, from 0.
      seed: the seed of its own sampling, derived from `key`: it depends on neither shards nor
        restarts.
      logged: its result is in the log already. An engine whose texts could depend on what is
        computed beside them uses these to form the same batches after a restart; any other engine
        leaves them out. No result is needed for them.
    """

    key: str
    question: Question
    prompt: Prompt
    forced: bool = True
    sample: int = 0
    seed: int = 0
    logged: bool = False


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a request: the fields of the same names in `corpus.logrow.LogRow`.

    Attributes:
      request: the request.
      text: the rationale, without the stop string that ended it.
      finish_reason: "stop", "length" or "unknown".
      prompt_tokens, tokens: tokens read and written (-1 when the engine counts none).
      mean_logprob: the mean log-probability of the tokens written; None when the engine gives none.
      context_cut: words cut off the context.
      error: why there is no rationale, in one line; "" when there is one.
    """

    request: Request
    text: str = ""
    finish_reason: str = "unknown"
    prompt_tokens: int = -1
    tokens: int = -1
    mean_logprob: float | None = None
    context_cut: int = 0
    error: str = ""


LINE = 200  # characters quoted from a library or server


def one_line(said: object) -> str:
    """What a library or server says, as one short printable line."""
    text = "".join(c if c.isprintable() else " " for c in str(said) or type(said).__name__)
    text = " ".join(text.split())
    return text if len(text) <= LINE else text[: LINE - 1] + "…"


class Engine(Protocol):
    """A model that has been loaded, or a server that has been found."""

    def generate(self, requests: Sequence[Request], stop: Callable[[], bool]) -> Iterator[Result]:
        """Yields one result per request that is not `logged`, each as soon as it is finished.

        A request that cannot be answered becomes a result with an `error`; the others go on. When
        `stop()` becomes true, what is in flight is finished and yielded, nothing new is begun, and
        the iterator ends.

        Raises:
          UserError: the engine itself is gone (a dead process, a refused key): no request can be
            answered any more.
        """

    def close(self) -> None:
        """Gives back the engine's memory and processes."""
