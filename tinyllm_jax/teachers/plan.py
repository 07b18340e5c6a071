"""What one teacher is to write: its requests in an order that follows from the config alone, and the log's name."""

import dataclasses
import hashlib
from collections.abc import Collection, Sequence

import ml_collections

from tinyllm_jax.corpus.logrow import LogRow, canonical, row_key
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import config as configs
from tinyllm_jax.teachers import prompts
from tinyllm_jax.teachers.engine import Request, Result


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher as a job runs it.

    Attributes:
      name: its column in the corpus.
      spec: its fields (`config.teacher`).
      revision: of its weights ("" when it has none).
      examples: what its in-context examples are drawn from.
      templates: by `forced`.
      seed: draws the examples, and seeds every sampling.
    """

    name: str
    spec: ml_collections.ConfigDict
    revision: str
    examples: Sequence[prompts.Example]
    templates: dict[bool, prompts.Template]
    seed: int

    @property
    def model(self) -> str:
        """What its rows call the model."""
        return f"scripted:{self.spec.model}" if self.spec.engine == "scripted" else self.spec.model

    @property
    def sampling(self) -> str:
        """Its sampling parameters, as its rows record them."""
        return configs.sampling(self.spec)

    @property
    def setting(self) -> str:
        """A short hash of all that decides its texts beside the questions: two settings never share a log."""
        hashes = [self.prompt_hash(forced) for forced in (True, False)]
        content = canonical([self.revision or self.model, self.sampling, self.seed, *hashes])
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def prompt_hash(self, forced: bool) -> str:
        """The hash of a template with its examples, as its rows record it."""
        return prompts.template_hash(self.templates[forced], self.examples, self.spec.shots)


def load(
    name: str,
    spec: ml_collections.ConfigDict,
    revision: str,
    task: str,
    train: Sequence[Question],
    seed: int,
) -> Teacher:
    """The teacher of a checked `spec`; raises `UserError` for a bad template or file of examples."""
    examples = prompts.read_examples(spec.examples, task, train) if spec.shots else []
    templates = {
        forced: prompts.read_template(
            spec.forced_template if forced else spec.unforced_template, forced
        )
        for forced in (True, False)
    }
    return Teacher(name, spec, revision, examples, templates, seed)


def requests(
    teacher: Teacher, questions: Sequence[Question], forced: bool, logged: Collection[str]
) -> list[Request]:
    """The requests of one stage: one forced rationale a question, or `samples` unforced ones.

    They are sorted by their in-context examples, so that equal beginnings follow each other, and
    are otherwise in the questions' order.

    Args:
      teacher: the teacher.
      questions: whose rationales are wanted.
      forced: whether the gold answer is shown.
      logged: the keys of the rows that there are already.

    Raises:
      UserError: there are too few in-context examples.
    """
    planned = []
    for question in questions:
        shown = prompts.draw(question, teacher.examples, teacher.spec.shots, teacher.seed)
        prompt = teacher.templates[forced].render(question, shown)
        for sample in range(1 if forced else teacher.spec.samples):
            key = row_key(
                question,
                teacher.name,
                teacher.revision or teacher.model,
                prompt.text,
                teacher.sampling,
                teacher.seed,
                sample,
            )
            request = Request(
                key, question, prompt, forced, sample, int(key[:8], 16) >> 1, key in logged
            )
            planned.append(([teacher.examples.index(example) for example in shown], request))
    return [request for _, request in sorted(planned, key=lambda pair: pair[0])]


def row(teacher: Teacher, result: Result, seconds: float) -> LogRow:
    """The log row of a result."""
    request, question = result.request, result.request.question
    return LogRow(
        key=request.key,
        question_id=question.id,
        question_key=question.key,
        task=question.task,
        split=question.split,
        teacher=teacher.name,
        model=teacher.model,
        revision=teacher.revision,
        prompt_hash=teacher.prompt_hash(request.forced),
        sampling=teacher.sampling,
        seed=teacher.seed,
        forced=request.forced,
        sample=request.sample,
        text=result.text.strip(),
        finish_reason=result.finish_reason,
        prompt_tokens=result.prompt_tokens,
        tokens=result.tokens,
        mean_logprob=result.mean_logprob,
        context_cut=result.context_cut,
        seconds=round(seconds, 6),
        error=result.error,
    )
