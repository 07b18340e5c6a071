"""Whatever stands in a file, a reply or a config: a right result, or one clear line.

Hypothesis makes the input, the same in every run. What is not a `UserError` (or, where a caller
turns it into one, the error that a docstring names) ends the test.
"""

import json
import math

import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from tinyllm_jax import tasks
from tinyllm_jax.config_args import parse_arg
from tinyllm_jax.corpus import codec, tfrecord
from tinyllm_jax.corpus.importing.rationales import read_rationales
from tinyllm_jax.corpus.judging import answers, quality
from tinyllm_jax.corpus.schema import Rationale, Row
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks import custom, question, released_questions, things
from tinyllm_jax.tasks.question import Question
from tinyllm_jax.teachers import reply
from tinyllm_jax.training.recipes import default_config, run_of, teacher_weights

settings.register_profile(
    "exact",
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("exact")

anything = st.text(st.characters(), max_size=40)  # half surrogates too
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | anything,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(anything, inner, max_size=4),
    max_leaves=8,
)


def rows_of(*fields: str):
    """JSON objects with some of these fields, and others."""
    named = st.fixed_dictionaries({}, optional=dict.fromkeys(fields, json_values))
    return st.lists(named | json_values, max_size=4)


def one_line(error: UserError) -> None:
    assert str(error).strip() and len(str(error)) < 2000


# --------------------------------------------------------------------------------------------------
# Records and rows.


@given(st.lists(st.binary(max_size=60), max_size=5), st.data())
def test_records_come_back_and_damage_is_named(tmp_path, payloads, data):
    path = tmp_path / "records"
    path.write_bytes(b"".join(map(tfrecord.frame, payloads)))
    assert list(tfrecord.read_records(path)) == payloads
    whole = path.read_bytes()
    assume(whole)
    at = data.draw(st.integers(0, len(whole) - 1))
    flip = data.draw(st.integers(1, 255))
    path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
    with pytest.raises(UserError) as error:
        list(tfrecord.read_records(path))
    one_line(error.value)


@given(st.binary(max_size=200))
def test_a_file_of_any_bytes_is_no_record_or_is_named(tmp_path, content):
    path = tmp_path / "records"
    path.write_bytes(content)
    try:
        payloads = list(tfrecord.read_records(path))
    except UserError as error:
        one_line(error)
    else:
        assert b"".join(map(tfrecord.frame, payloads)) == content


@given(st.binary(max_size=200))
def test_a_payload_of_any_bytes_is_no_row(payload):
    with pytest.raises(ValueError, match="not a row of a corpus"):
        codec.decode(payload, "train", ("a",))


@given(anything, anything, st.lists(st.floats(0, 1, width=32), max_size=4))
def test_a_row_comes_back_or_is_refused(asked, text, votes):
    one = Question("q", "custom", "train", "", asked, ("a", "b"), "a")
    assume(not question.problem(one))
    row = Row(one, {"t": Rationale(text, "t", votes=tuple(votes))})
    try:
        payload = codec.encode(row, ("t",))
    except UserError as error:
        one_line(error)
    else:
        assert codec.decode(payload, "train", ("t",)) == row


# --------------------------------------------------------------------------------------------------
# What people and models write.


@given(rows_of("id", "question", "choices", "rationale", "instruction", "output", "context"))
def test_rationales_of_any_form(tmp_path, rows):
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows))
    try:
        assert len(read_rationales(path).rows) == len(rows)
    except UserError as error:
        one_line(error)


@given(rows_of("id", "question", "choices", "answer", "context", "split"))
def test_questions_of_any_form(tmp_path, rows):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    try:
        found = custom.read(str(path))
    except UserError as error:
        one_line(error)
    else:
        assert not any(question.problem(each) for some in found.values() for each in some)


@given(st.binary(max_size=200))
def test_a_question_file_of_any_bytes(tmp_path, content):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(content)
    for read in (lambda: custom.read(str(path)), lambda: released_questions.read_json(path)):
        try:
            read()
        except UserError as error:
            one_line(error)


CHOICES = st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=5, unique=True)


@given(CHOICES, st.text(max_size=80), st.data())
def test_a_stated_answer_is_a_choice_or_none(choices, text, data):
    one = Question("q", "custom", "train", "", "Which?", tuple(choices), choices[0])
    assume(not question.problem(one))
    pieces = [*choices, *one.lettered, "The answer is ", "**", '"', "\n", " ", ".", text]
    said = "".join(data.draw(st.lists(st.sampled_from(pieces), max_size=8)))
    index = answers.stated_answer(said, one)
    assert index is None or 0 <= index < len(choices)
    kept = answers.without_stated_answer(said, one)
    assert len(kept) <= len(said)
    assert set(quality.flags_of(kept, one)) <= set(quality.FLAGS)


@given(st.binary(max_size=100) | json_values.map(lambda value: json.dumps(value).encode()))
def test_a_reply_of_any_bytes_has_a_choice_or_is_refused(content):
    try:
        choice = reply.choice_of(reply.json_of(content))
    except ValueError:
        return
    assert isinstance(choice, dict)


@given(st.text(max_size=120))
def test_own_text_is_part_of_what_was_written(text):
    own, _ = reply.own_text(text)
    assert len(own) <= len(text) and reply.clean(reply.clean(text)) == reply.clean(text)


# --------------------------------------------------------------------------------------------------
# Settings.


@given(anything)
@example("\0")
def test_arguments_and_sources_of_any_text(text):
    for read in (
        lambda: parse_arg(text, task="things", student="small"),
        lambda: teacher_weights(text),
        lambda: things.generate("train=4,validation=0,test=0," + text),
        lambda: tasks.load("custom", f"jsonl:/nowhere/{text}"),
    ):
        try:
            read()
        except UserError as error:
            one_line(error)


FIELDS = sorted(default_config().to_dict().items())
PATHS = [name for name, value in FIELDS if not isinstance(value, dict)] + [
    f"{group}.{name}"
    for group, value in FIELDS
    if isinstance(value, dict)
    for name in sorted(value)
]


@given(st.sampled_from(PATHS), json_values)
def test_a_field_of_any_value_is_refused_or_finite(path, value):
    config = default_config()
    part = config
    *groups, name = path.split(".")
    for group in groups:
        part = part[group]
    try:
        with config.ignore_type():
            part[name] = value
    except ValueError:  # ml_collections itself refuses the name of a field
        assume(False)
    try:
        run = run_of(config)
    except UserError as error:
        one_line(error)
    else:
        found = json.dumps(run.to_json(), default=str)
        assert not any(
            isinstance(each, float) and not math.isfinite(each)
            for each in json.loads(found).values()
        )
