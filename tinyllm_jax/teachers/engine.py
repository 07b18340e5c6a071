"""What an engine is: a function from a stream of requests to a stream of results, in any order."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from tinyllm_jax.tasks import Question


@dataclasses.dataclass(frozen=True)
class Request:
    """One rationale to be written.

    Attributes:
      key: the identity of the log row that the result will be (`corpus.logrow.row_key`).
      question: the question to explain.
      prompt: the whole text that the teacher reads.
    """

    key: str
    question: Question
    prompt: str


@dataclasses.dataclass(frozen=True)
class Result:
    """What became of a request.

    Attributes:
      request: the request.
      text: the rationale.
      finish_reason: "stop", "length" or "unknown".
      prompt_tokens, tokens: tokens read and written (-1 when the engine counts none).
      seconds: how long it took.
      error: why there is no rationale; "" when there is one.
    """

    request: Request
    text: str = ""
    finish_reason: str = "unknown"
    prompt_tokens: int = -1
    tokens: int = -1
    seconds: float = 0.0
    error: str = ""


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher as a job runs it.

    Attributes:
      name: its column in the corpus and its log's file name.
      model, revision: the model behind it.
      sampling: the sampling parameters as JSON with sorted keys.
      generate: the engine.
      examples: the number of in-context examples in its prompts.
      forced: whether its prompts show the gold answer.
    """

    name: str
    model: str
    revision: str
    sampling: str
    generate: Callable[[Iterable[Request]], Iterator[Result]]
    examples: int = 2
    forced: bool = True
