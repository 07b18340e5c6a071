"""The command `tinyllm predict`."""

from absl import flags

from tinyllm_jax import cli_devices, cli_students, storage
from tinyllm_jax.errors import UserError


def define_predict(values, argv):
    """The flags of `predict`."""
    cli_students.define(values)
    flags.DEFINE_string(
        "target",
        "answer",
        "what to write: answer, or a teacher whose rationales it learned",
        values,
    )
    flags.DEFINE_integer("max_tokens", 128, "tokens of a text", flag_values=values, lower_bound=1)
    flags.DEFINE_string("out", "", "the JSONL file to write", values)
    return ("out",)


def predict(values) -> None:
    """Has a student write answers, or rationales as one of its teachers would, as JSON lines."""
    storage.require_writable(values.out, "choose another --out")
    cli_devices.prepare(values.distributed, cli_students.shared_directory(values))
    from tinyllm_jax.evaluation import results
    from tinyllm_jax.student.writing import write

    students = cli_students.given(values)
    if len(students) > 1:
        raise UserError("predict takes one --workdir; run it once for each")
    (given,) = students
    questions = given.questions(values.split, values.questions)
    texts = write(given.student, questions, values.target, values.max_tokens, values.batch_size)
    if not cli_devices.is_first():
        return
    ids = [question.id for question in questions]
    results.write_texts(values.out, values.target, list(zip(ids, texts, strict=True)))
    print(f"wrote {values.out}  {len(texts):,} {values.split} questions")
