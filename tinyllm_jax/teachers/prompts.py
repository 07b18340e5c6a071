"""What a teacher is asked: in-context examples, then the question, then the request for a rationale.

A template is one plain text, the shape of a solved question (`templates/forced.txt`,
`templates/unforced.txt`). An in-context example is the template with everything filled in; the
question itself is the template up to `{rationale}`, where the teacher goes on. The examples come
first, and are drawn from few, so that prompts share a prefix.

    {context}      the passage; a paragraph that holds `{context}` is left out where there is none
    {question}     the question
    {options}      the choices, one a line: "(a) iron nails"
    {answer}       the gold answer's letter: "(a)"
    {answer_text}  the gold answer
    {rationale}    an example's rationale; what stands behind it is not shown of the question itself

The forced template is the teacher-forcing chain of thought of the TinyLLM paper (arXiv 2402.04616)
in the layout that its reference code describes; the unforced one shows no answer before
`{rationale}`.
"""

import dataclasses
import hashlib
import json
import random
import string
from collections.abc import Sequence
from pathlib import Path

from tinyllm_jax.corpus.judging.quality import normalize as normal
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks import Question

HERE = Path(__file__).parent
FIELDS = ("context", "question", "options", "answer", "answer_text", "rationale")
ANSWERS = ("{answer}", "{answer_text}")


@dataclasses.dataclass(frozen=True)
class Prompt:
    """A prompt in three parts, of which only `context` may be cut to fit a model's window."""

    before: str
    context: str
    after: str

    @property
    def text(self) -> str:
        """The whole prompt."""
        return self.before + self.context + self.after

    @property
    def context_words(self) -> int:
        """How many words the context has."""
        return len(self.context.split())

    def cut(self, keep: int) -> "Prompt":
        """The prompt with the context's first `keep` words."""
        return dataclasses.replace(self, context=" ".join(self.context.split()[:keep]))


@dataclasses.dataclass(frozen=True)
class Example:
    """A training question with a rationale to imitate."""

    question: Question
    rationale: str


class Template:
    """A prompt template; see above for its text.

    Args:
      text: the template.
      forced: whether it may show the gold answer before the rationale; it must, or must not.
      place: what an error names.

    Raises:
      UserError: an unknown or missing field, or an answer that is shown where it must not be (or is
        not, where it must).
    """

    def __init__(self, text: str, forced: bool, place: str = "template"):
        try:
            used = {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}
        except ValueError as error:
            raise UserError(f"{place}: {error}; write {{{{ for a brace") from None
        for name in sorted(used):
            if name not in FIELDS:
                raise UserError(f"{place}: {unknown('field', name, FIELDS)}")
        for name in ("question", "options", "rationale"):
            if name not in used:
                raise UserError(f"{place} has no {{{name}}}")
        self.text, self.forced = text.strip("\n"), forced
        self.head = self.text[: self.text.index("{rationale}")]
        if any(answer in self.head for answer in ANSWERS) != forced:
            raise UserError(
                f"{place}: {'no' if forced else 'the'} answer stands before {{rationale}}, but this is the "
                f"{'forced' if forced else 'unforced'} template"
            )
        if not forced and not any(answer in self.text for answer in ANSWERS):
            raise UserError(
                f"{place}: no answer stands behind {{rationale}}; the examples must show how to state one"
            )

    def render(self, question: Question, examples: Sequence[Example] = ()) -> Prompt:
        """The prompt that asks for a rationale of `question`, after `examples`, each shown in full."""
        shown = "".join(
            f"{_fill(self.text, example.question, example.rationale)}\n\n" for example in examples
        )
        before, mark, after = _paragraphs(self.head, question).partition("{context}")
        before, after = (_fill(part, question) for part in (before, after))
        return Prompt(shown + before, question.context if mark else "", after)


def read_template(path: str, forced: bool) -> Template:
    """The template in a file; "" is the package's own.

    Raises:
      UserError: it cannot be read, or is no such template.
    """
    file = (
        Path(path).expanduser()
        if path
        else HERE / "templates" / f"{'forced' if forced else 'unforced'}.txt"
    )
    try:
        return Template(file.read_text(encoding="utf-8"), forced, f"template {file}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read template {file}: {error}") from None


def read_examples(path: str, task: str, train: Sequence[Question]) -> list[Example]:
    """The in-context examples that prompts are drawn from: training questions with a rationale written by hand.

    A file has JSON lines {"question": …, "rationale": …}; the question is found in `train` by its
    text, so that no example comes from another split and choices and answer are the dataset's own.

    Args:
      path: the file; "" is the package's own for the task.
      task: the task's name.
      train: the training split.

    Raises:
      UserError: no file, a line that is not such an object, or a question that `train` does not
        have.
    """
    file = Path(path).expanduser() if path else HERE / "examples" / f"{task}.jsonl"
    if not path and not file.exists():
        raise UserError(
            f"there are no in-context examples for task '{task}': write a few training questions with a rationale "
            f'as JSON lines {{"question": …, "rationale": …}} and name the file as the teacher\'s examples, '
            f"or ask without any (shots=0)"
        )
    known = {normal(question.question): question for question in reversed(train)}
    examples = []
    try:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read examples {file}: {error}") from None
    for number, line in enumerate(lines, start=1):
        try:
            text, rationale = (
                " ".join(json.loads(line)[name].split()) for name in ("question", "rationale")
            )
        except (ValueError, TypeError, KeyError, AttributeError):
            raise UserError(
                f'{file}, example {number}: not {{"question": …, "rationale": …}}: {line[:60]}'
            ) from None
        if normal(text) not in known:
            raise UserError(
                f"{file}, example {number}: the training split has no question '{text[:60]}'; examples come from "
                f"it alone"
            )
        examples.append(Example(known[normal(text)], rationale))
    return examples


def draw(question: Question, examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """`count` different examples, none the question itself, drawn by (seed, question's split and id), in a fixed order.

    Raises:
      UserError: there are too few.
    """
    others = [
        example
        for example in examples
        if normal(example.question.question) != normal(question.question)
    ]
    if len(others) < count:
        raise UserError(
            f"task '{question.task}' has {len(others)} in-context examples besides question {question.id}, and "
            f"{count} are wanted; write more, or lower shots"
        )
    picked = random.Random(f"{seed} {question.split} {question.id}").sample(
        range(len(others)), count
    )
    return [others[index] for index in sorted(picked)]


def template_hash(template: Template, examples: Sequence[Example], shots: int) -> str:
    """sha256 of a template, the examples that it may show and how many of them it shows."""
    shown = [[example.question.key, example.rationale] for example in examples] if shots else []
    return hashlib.sha256(
        json.dumps([template.text, template.forced, shots, shown]).encode()
    ).hexdigest()


def _paragraphs(template: str, question: Question) -> str:
    """The template without the paragraph of a context that is not there."""
    paragraphs = template.split("\n\n")
    return "\n\n".join(p for p in paragraphs if question.context or "{context}" not in p)


def _fill(template: str, question: Question, rationale: str = "") -> str:
    letters = [f"({letter})" for letter in string.ascii_lowercase]
    options = "\n".join(f"{letter} {choice}" for letter, choice in zip(letters, question.choices))
    return _paragraphs(template, question).format(
        context=question.context,
        question=question.question,
        options=options,
        answer=letters[question.gold],
        answer_text=question.answer,
        rationale=rationale,
    )
