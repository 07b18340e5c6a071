"""What a teacher is asked: in-context examples, the question, the request for a rationale.

A template is one plain text in the form of a solved question (`templates/forced.txt`,
`templates/unforced.txt`). An in-context example is the template with everything filled in; the
question itself is the template up to `{rationale}`, where the teacher goes on. The examples come
first, and are drawn from few, so that many prompts begin alike.

    {context}      the passage; a paragraph that holds `{context}` is left out where there is none
    {question}     the question
    {options}      the choices, one a line: "(a) iron nails"
    {answer}       the gold answer's letter: "(a)"
    {answer_text}  the gold answer
    {rationale}    an example's rationale; of the question itself the prompt ends here

The forced template is the teacher-forcing chain of thought of the TinyLLM paper (arXiv 2402.04616)
in the layout that its reference code describes; the unforced one shows no answer before
`{rationale}`.
"""

import dataclasses
import hashlib
import json
import random
import string
from collections.abc import Mapping, Sequence
from pathlib import Path

from tinyllm_jax.corpus.judging.plain import normalize as normal
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.tasks import Question

HERE = Path(__file__).parent  # of the package's own templates and examples
FIELDS = ("context", "question", "options", "answer", "answer_text", "rationale")
ANSWERS = ("{answer}", "{answer_text}")  # the fields that show the gold answer


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
    """A prompt template; the module's docstring describes its text.

    Args:
      text: the template.
      forced: whether it is the forced template, which must show the gold answer before the
        rationale; an unforced one must not.
      place: where the template comes from, for errors.

    Raises:
      UserError: an unknown or missing field, or a gold answer that is shown where it must not be,
        or not shown where it must be.
    """

    def __init__(self, text: str, forced: bool, place: str = "template"):
        _check_fields(text, place)
        self.text, self.forced = text.strip("\n"), forced
        self.head = self.text[: self.text.index("{rationale}")]
        shown_before = any(answer in self.head for answer in ANSWERS)
        shown_at_all = any(answer in self.text for answer in ANSWERS)
        if forced and not shown_before:
            raise UserError(
                f"{place}: no answer stands before {{rationale}}, but this is the forced template"
            )
        if shown_before and not forced:
            raise UserError(
                f"{place}: the answer stands before {{rationale}}, but this is the unforced "
                f"template"
            )
        if not shown_at_all:
            raise UserError(
                f"{place}: no answer stands behind {{rationale}}; the examples must show how to "
                f"state one"
            )

    def render(self, question: Question, examples: Sequence[Example] = ()) -> Prompt:
        """The prompt that shows `examples` in full and asks for a rationale of `question`."""
        shown = ""
        for example in examples:
            shown += _fill(self.text, example.question, example.rationale) + "\n\n"
        before, field, after = _without_empty_context(self.head, question).partition("{context}")
        return Prompt(
            before=shown + _fill(before, question),
            context=question.context if field else "",
            after=_fill(after, question),
        )


def _check_fields(text: str, place: str) -> None:
    """Raises `UserError` for a field that a template must not have, or one that it must have."""
    try:
        fields = [field for field in string.Formatter().parse(text) if field[1] is not None]
    except ValueError as error:
        raise UserError(f"{place}: {error}; write {{{{ for a brace") from None
    for _, name, spec, conversion in fields:
        if spec or conversion:
            raise UserError(f"{place}: field {{{name}}} takes no ':' or '!'; write {{{name}}}")
    used = {name for _, name, _, _ in fields if name is not None}
    for name in sorted(used):
        if name not in FIELDS:
            raise UserError(f"{place}: {unknown('field', name, FIELDS)}")
    for name in ("question", "options", "rationale"):
        if name not in used:
            raise UserError(f"{place} has no {{{name}}}")


def read_template(path: str, forced: bool) -> Template:
    """Reads a template.

    Args:
      path: the file; "" is the package's own.
      forced: as in `Template`.

    Raises:
      UserError: it cannot be read, or is no such template.
    """
    own = HERE / "templates" / ("forced.txt" if forced else "unforced.txt")
    file = Path(path).expanduser() if path else own
    try:
        return Template(file.read_text(encoding="utf-8"), forced, f"template {file}")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read template {file}: {error}") from None


def read_examples(path: str, task: str, train: Sequence[Question]) -> list[Example]:
    """Reads the in-context examples: training questions with a rationale written by hand.

    A file has JSON lines {"question": …, "rationale": …}; the question is found in `train` by its
    text, so that no example comes from another split, and choices and answer are the dataset's own.

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
            f"there are no in-context examples for task '{task}': write a few training questions "
            f'with a rationale as JSON lines {{"question": …, "rationale": …}} and name the file '
            f"as the teacher's examples, or ask without any (shots=0)"
        )
    try:
        lines = [line for line in file.read_text(encoding="utf-8").split("\n") if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"cannot read examples {file}: {error}") from None
    # Of several training questions with the same text, the first is taken.
    known = {normal(question.question): question for question in reversed(train)}
    return [
        _example(line, f"{file}, example {number}", known)
        for number, line in enumerate(lines, start=1)
    ]


def _example(line: str, place: str, known: Mapping[str, Question]) -> Example:
    """The example in a line; `known` holds the training questions by their `normal` text."""
    try:
        row = json.loads(line)
        text, rationale = (" ".join(row[name].split()) for name in ("question", "rationale"))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise UserError(f'{place}: not {{"question": …, "rationale": …}}: {line[:60]}') from None
    if normal(text) not in known:
        raise UserError(
            f"{place}: the training split has no question '{text[:60]}'; examples come from it "
            f"alone"
        )
    return Example(known[normal(text)], rationale)


def draw(question: Question, examples: Sequence[Example], count: int, seed: int) -> list[Example]:
    """Draws the in-context examples of a question.

    Args:
      question: the question, which is never an example of itself.
      examples: the examples to draw from.
      count: how many different ones to draw.
      seed: seeds the draw, together with the question's split and id.

    Returns:
      The examples, in the order that they have among `examples`.

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
            f"task '{question.task}' has {len(others)} in-context examples besides question "
            f"{question.id}, and {count} are wanted; write more, or lower shots"
        )
    rng = random.Random(f"{seed} {question.split} {question.id}")
    drawn = rng.sample(range(len(others)), count)
    return [others[index] for index in sorted(drawn)]


def template_hash(template: Template, examples: Sequence[Example], shots: int) -> str:
    """sha256 of a template, the examples that it may show and how many of them it shows."""
    shown = [[example.question.key, example.rationale] for example in examples] if shots else []
    content = json.dumps([template.text, template.forced, shots, shown])
    return hashlib.sha256(content.encode()).hexdigest()


def _without_empty_context(template: str, question: Question) -> str:
    """The template, without the paragraph of the context where the question has none."""
    paragraphs = template.split("\n\n")
    if not question.context:
        paragraphs = [paragraph for paragraph in paragraphs if "{context}" not in paragraph]
    return "\n\n".join(paragraphs)


def _fill(template: str, question: Question, rationale: str = "") -> str:
    """A template, or a part of one, with its fields filled in."""
    return _without_empty_context(template, question).format(
        context=question.context,
        question=question.question,
        options="\n".join(question.lettered),
        answer=f"({question.letter(question.gold)})",
        answer_text=question.answer,
        rationale=rationale,
    )
