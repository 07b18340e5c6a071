"""What a teacher is asked: in-context examples, the question, the gold answer, and the request for a rationale.

The template is the teacher-forcing chain of thought of the TinyLLM paper (arXiv 2402.04616) in the layout that its
reference code describes. The examples come first, so that prompts share a prefix.
"""

import hashlib
import random
import string

from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import Question

CONTEXT = "Context:\n{context}\n"
EXAMPLE = "Question:\n{question}\nOptions:\n{options}\nAnswer:\n{answer}\n\n"
REQUEST = "Question:\n{question}\nOptions:\n{options}\nAnswer:\n{answer}\nRationale:\nLet's think step by step.\n"


def template_hash(examples: int) -> str:
    """sha256 of the template and the number of in-context examples."""
    return hashlib.sha256("\0".join([CONTEXT, EXAMPLE, REQUEST, str(examples)]).encode()).hexdigest()


def render(question: Question, examples: list[Question]) -> str:
    """The prompt that asks for a rationale of `question`, after `examples`, each shown with its gold answer."""
    return "".join(_fill(EXAMPLE, example) for example in examples) + _fill(REQUEST, question)


def draw_examples(question: Question, train: list[Question], count: int, seed: int) -> list[Question]:
    """`count` different questions of `train`, none with the question's own text, drawn by (seed, question id).

    Raises:
      UserError: `train` has too few other questions.
    """
    rng = random.Random(f"{seed} {question.split} {question.id}")
    drawn: dict[int, Question] = {}  # by index in `train`; an own-text question is drawn too, and left out
    picked: list[Question] = []
    while len(picked) < count:
        if len(drawn) == len(train):
            raise UserError(f"task '{question.task}' has too few training questions to draw {count} in-context "
                            f"examples for question {question.id}")
        index = rng.randrange(len(train))
        if index not in drawn:
            drawn[index] = train[index]
            if train[index].question != question.question:
                picked.append(train[index])
    return picked


def _fill(template: str, question: Question) -> str:
    letters = [f"({letter})" for letter in string.ascii_lowercase]
    options = "\n".join(f"{letter} {choice}" for letter, choice in zip(letters, question.choices))
    context = CONTEXT.format(context=question.context) if question.context else ""
    return context + template.format(question=question.question, options=options, answer=letters[question.gold])
