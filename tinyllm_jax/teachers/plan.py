"""What one teacher is to write: its requests, in an order that follows from the config alone."""

import dataclasses
import hashlib
import sys
from collections.abc import Collection, Sequence

import ml_collections

from tinyllm_jax.corpus.logrow import LogRow, canonical, row_key
from tinyllm_jax.errors import printable
from tinyllm_jax.tasks import Question
from tinyllm_jax.teachers import config, prompts
from tinyllm_jax.teachers.engine import Request, Result


@dataclasses.dataclass(frozen=True)
class Teacher:
    """A teacher as a job runs it.

    Attributes:
      name: its column in the corpus.
      spec: its fields (`config.teacher`).
      revision: the revision of its weights ("" when it has none).
      examples: what its in-context examples are drawn from.
      templates: its prompt templates: the forced one under True, the unforced one under False.
      seed: draws the examples, and seeds the sampling of every request.
    """

    name: str
    spec: ml_collections.ConfigDict
    revision: str
    examples: Sequence[prompts.Example]
    templates: dict[bool, prompts.Template]
    seed: int

    @property
    def model(self) -> str:
        """The model's name in its log rows."""
        return f"scripted:{self.spec.model}" if self.spec.engine == "scripted" else self.spec.model

    @property
    def sampling(self) -> str:
        """Its sampling parameters, as its log rows record them."""
        return config.sampling(self.spec)

    @property
    def settings_hash(self) -> str:
        """A short hash of all that decides its texts beside the questions.

        It is part of the log's name, so that texts of different settings never share a log.
        """
        hashes = [self.prompt_hash(forced) for forced in (True, False)]
        content = canonical([self.revision or self.model, self.sampling, self.seed, *hashes])
        return hashlib.sha256(content.encode()).hexdigest()[:8]

    def prompt_hash(self, forced: bool) -> str:
        """The hash of a template with its examples, as its log rows record it."""
        return prompts.template_hash(self.templates[forced], self.examples, self.spec.shots)

    def warn(self, line: str) -> None:
        """Prints a line about this teacher on standard error."""
        print(f"{self.name}: {printable(line)}", file=sys.stderr, flush=True)


def load_teacher(
    name: str,
    spec: ml_collections.ConfigDict,
    revision: str,
    task: str,
    train: Sequence[Question],
    seed: int,
) -> Teacher:
    """Makes a teacher ready to run: reads its templates and its in-context examples.

    Args:
      name: the teacher's name.
      spec: its fields, which have passed `config.check`.
      revision: from `weights.resolve_revision`.
      task: the task's name.
      train: the training questions, from which the examples come.
      seed: as in `Teacher`.

    Raises:
      UserError: a bad template or file of examples.
    """
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

    Requests with the same in-context examples follow each other, so that an engine can reuse what
    it has computed of their common beginning; otherwise the questions' order is kept.

    Args:
      teacher: the teacher.
      questions: the questions that rationales are wanted for.
      forced: whether the gold answer is shown.
      logged: the keys of the rows that there are already.

    Raises:
      UserError: there are too few in-context examples.
    """
    planned: list[tuple[list[int], Request]] = []  # with the indices of the examples shown
    for question in questions:
        shown = prompts.draw(question, teacher.examples, teacher.spec.shots, teacher.seed)
        indices = [teacher.examples.index(example) for example in shown]
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
                key=key,
                question=question,
                prompt=prompt,
                forced=forced,
                sample=sample,
                seed=int(key[:8], 16) >> 1,  # 31 bits, which every engine's seed may have
                logged=key in logged,
            )
            planned.append((indices, request))
    planned.sort(key=lambda pair: pair[0])
    return [request for _, request in planned]


def log_row(teacher: Teacher, result: Result, seconds: float) -> LogRow:
    """The log row of a result that took so many seconds."""
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
