"""What an engine is: a teacher's model at work. It turns requests into results, in any order."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from tinyllm_jax.errors import printable
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers.prompts import Prompt


@dataclasses.dataclass(frozen=True)
class Request:
    """One rationale to be written.

    Attributes:
      key: the identity of the log row that the result will be (`corpus.logrow.row_key`).
      question: the question to explain.
      prompt: what the teacher reads; only its `context` may be cut.
      forced: whether the prompt shows the gold answer.
      sample: which of the question's samples this is, from 0.
      seed: the seed of its own sampling, derived from `key`: it depends on neither shards nor
        restarts.
      logged: whether its result is in the log already, so that none is needed. An engine whose
        texts could depend on the other requests of a batch forms its batches with these too, so
        that they are the same after a restart; any other engine leaves them out.
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
      finish_reason: "stop", "length" or "unknown"; of a failure also "content_filter".
      prompt_tokens: tokens read (-1 when the engine counts none).
      tokens: tokens written (likewise).
      mean_logprob: the mean log-probability of the tokens written; None when the engine gives none.
      context_cut: words cut off the context.
      error: why there is no rationale, in one line; "" when there is one.
      too_long: whether that is because the prompt does not fit the model's window, which says
        nothing about other requests.
    """

    request: Request
    text: str = ""
    finish_reason: str = "unknown"
    prompt_tokens: int = -1
    tokens: int = -1
    mean_logprob: float | None = None
    context_cut: int = 0
    error: str = ""
    too_long: bool = False


LINE_LENGTH = 200  # characters quoted from a library or server


def one_line(message: object) -> str:
    """A library's or server's message as one short printable line; an empty one as its type."""
    text = " ".join(printable(str(message) or type(message).__name__).split())
    return text if len(text) <= LINE_LENGTH else text[: LINE_LENGTH - 1] + "…"


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
