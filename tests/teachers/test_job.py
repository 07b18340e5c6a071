"""The job: stages, shards, failures and settings, with scripted engines; it never imports jax."""

import dataclasses
import json
import subprocess
import sys

import pytest

from tinyllm_jax import tasks
from tinyllm_jax.corpus.joining import build
from tinyllm_jax.corpus.logrow import read_log
from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import config, engine, job, plan, scripted, totals
from tinyllm_jax.teachers.log import Log

SOURCE = "train=60,validation=8,test=8"
QUESTIONS = tasks.load("things", SOURCE)["train"]


def spec(**changes):
    return config.teacher(**{**dict(engine="scripted", model="shape", shots=0), **changes})


def teach(out, *names, source=SOURCE, **options):
    return job.teach(
        "things", source, {name: spec(model=name) for name in names or ("shape",)}, out, **options
    )


def rows(path):
    """The log's rows by key, without the time that each took."""
    return {row.key: dataclasses.replace(row, seconds=0.0) for row in read_log(path)}


class Flaky:
    """The scripted engine, with some requests failing, or stating what `answer` says.

    It keeps what it was asked.
    """

    def __init__(self, fails=lambda request: False, answer=None):
        self.fails, self.answer, self.asked, self.closed = fails, answer, [], False

    def generate(self, requests, stop):
        for result in scripted.ScriptedEngine(spec()).generate(requests, stop):
            self.asked.append(result.request)
            if self.fails(result.request):
                yield engine.Result(result.request, error="timed out")
            elif self.answer and not result.request.forced:
                yield dataclasses.replace(
                    result, text=f"Hm. So the answer is {self.answer(result.request)}."
                )
            else:
                yield result

    def close(self):
        self.closed = True


def run(path, flaky, questions=QUESTIONS, stop=lambda: False, **changes):
    teacher = plan.load_teacher("shape", spec(**changes), "", "things", questions, seed=0)
    return job.run(teacher, questions, path, stop, lambda teacher: flaky)


def wrong(question):
    return next(choice for choice in question.choices if choice != question.answer)


def test_finished_job_does_nothing_and_says_so(tmp_path, capsys):
    teach(tmp_path, "shape", "material")
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())]
    capsys.readouterr()
    results = teach(tmp_path, "shape", "material")
    assert [
        (path.read_bytes(), path.stat().st_mtime_ns) for path in sorted(tmp_path.iterdir())
    ] == before
    assert all((r.done_before, r.written, r.left) == (60, 0, 0) for r in results.values())
    printed = capsys.readouterr().out
    assert (
        "all 60 rows were done before; nothing to do" in printed and "ledger: 60 rows in" in printed
    )


def test_more_splits_add_rows_and_a_limit_takes_the_first(tmp_path):
    assert teach(tmp_path, limit=7)["shape"].written == 7
    more = teach(tmp_path, splits=("train", "validation"))["shape"]
    assert (more.done_before, more.written) == (7, 61)


def test_logs_in_an_object_store_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match="cannot write logs to gs://bucket/logs: nothing can be ap"):
        teach("gs://bucket/logs")
    assert not list(tmp_path.iterdir())


def test_another_setting_is_another_log(tmp_path, capsys):
    first = teach(tmp_path)["shape"]
    second = teach(tmp_path, seed=1)["shape"]
    assert second.log != first.log and (second.done_before, second.written) == (0, 60)
    assert not rows(first.log).keys() & rows(second.log).keys()
    assert f"{first.log} is of another model, prompt, sampling or seed" in capsys.readouterr().err


def test_the_setting_is_all_that_decides_the_texts(tmp_path):
    template = tmp_path / "t.txt"
    template.write_text("{question} {options} {answer} {rationale}")
    base = plan.load_teacher("t", spec(), "r", "things", QUESTIONS, 0)
    same = [
        plan.load_teacher("t", spec(**c), "r", "things", QUESTIONS, 0)
        for c in (
            {"mode": "unforced"},
            {"dtype": "float32"},
            {"window": 512},
            {"batch_tokens": 1},
            {"concurrency": 3},
        )
    ]
    other = [
        plan.load_teacher("t", spec(**c), "r", "things", QUESTIONS, 0)
        for c in (
            {"temperature": 0.5},
            {"top_p": 0.5},
            {"max_tokens": 9},
            {"stop": ("x",)},
            {"chat": True},
            {"forced_template": str(template)},
        )
    ]
    other += [
        plan.load_teacher("t", spec(), "r2", "things", QUESTIONS, 0),
        plan.load_teacher("t", spec(), "r", "things", QUESTIONS, 1),
    ]
    assert {teacher.settings_hash for teacher in same} == {base.settings_hash}
    assert len({base.settings_hash, *(teacher.settings_hash for teacher in other)}) == 9


def test_shards_share_the_work_and_know_of_each_other(tmp_path):
    whole = teach(tmp_path / "whole")["shape"]
    parts = [teach(tmp_path / "parts", shard=(index, 3))["shape"] for index in range(3)]
    assert [part.log.name.split(".", 1)[1] for part in parts] == [
        f"{i}-of-3.tfrecord" for i in range(3)
    ]
    assert [part.written for part in parts] == [20, 20, 20]
    assert rows(parts[0].log) | rows(parts[1].log) | rows(parts[2].log) == rows(whole.log)
    again = teach(tmp_path / "parts", shard=(0, 2))[
        "shape"
    ]  # another number of workers: nothing is done twice
    assert (again.done_before, again.written) == (30, 0)
    with pytest.raises(UserError, match="no shard 3/3; 3 shards are 0/3 to 2/3"):
        teach(tmp_path, shard=(3, 3))


def test_rows_hold_the_question_and_where_the_text_came_from(tmp_path):
    result = teach(tmp_path, "material")["material"]
    questions = {question.id: question for question in QUESTIONS}
    for row in read_log(result.log):
        question = questions.pop(row.question_id)
        assert row.question_key == question.key and row.text == scripted.explain(
            "material", question
        )
        assert (row.task, row.split, row.teacher, row.error) == ("things", "train", "material", "")
        assert (row.model, row.forced, row.sample) == ("scripted:material", True, 0)
        assert (
            row.finish_reason == "stop"
            and row.tokens == len(row.text.split())
            and row.prompt_tokens > 10
        )
    assert not questions


def test_failures_are_logged_listed_and_tried_again(tmp_path, capsys):
    path = tmp_path / "shape.tfrecord"
    bad = {question.id for question in QUESTIONS[::4]}
    first = run(path, Flaky(lambda request: request.question.id in bad))
    assert (first.written, len(first.failed), first.left) == (45, 15, 15)
    assert sum(row.error == "timed out" and not row.text for row in read_log(path)) == 15
    printed = capsys.readouterr()
    assert (
        f"failed: train {QUESTIONS[0].id}: timed out" in printed.err and "15 failed" in printed.out
    )
    second = Flaky()
    again = run(path, second)
    assert (again.done_before, again.written, again.left) == (45, 15, 0) and second.closed
    assert {request.question.id for request in second.asked} == bad
    with Log(path, "things", "shape") as done:
        assert len(done.rows) == 60 and not done.failed
    assert totals.add_up(done.rows.values(), done.failed.values()).rows == 60


def test_a_job_that_only_fails_gives_up(tmp_path):
    many = tasks.load("things", "train=150,validation=1,test=1")["train"]
    with pytest.raises(UserError, match="100 requests in a row failed, the last with: timed out"):
        run(tmp_path / "l.tfrecord", Flaky(lambda request: True), many)


def test_an_outage_in_the_middle_ends_the_job_and_the_next_run_goes_on(tmp_path):
    many = tasks.load("things", "train=150,validation=1,test=1")["train"]
    path, flaky = tmp_path / "l.tfrecord", Flaky(lambda request: len(flaky.asked) > 5)
    with pytest.raises(UserError, match="100 requests in a row failed"):
        run(path, flaky, many)
    assert len(flaky.asked) == 105 and flaky.closed
    again = run(path, Flaky(), many)
    assert (again.done_before, again.written, again.left) == (5, 145, 0)


def test_prompts_that_are_too_long_say_nothing_about_the_others(tmp_path):
    many = tasks.load("things", "train=150,validation=1,test=1")["train"]

    class Long(Flaky):
        def generate(self, requests, stop):
            for result in super().generate(requests, stop):
                yield dataclasses.replace(result, too_long=bool(result.error))

    flaky = Long(lambda request: len(flaky.asked) <= 120)
    assert run(tmp_path / "l.tfrecord", flaky, many).written == 30


def test_an_empty_text_is_a_failure(tmp_path, capsys):
    class Mute(Flaky):
        def generate(self, requests, stop):
            for result in super().generate(requests, stop):
                yield dataclasses.replace(result, text=" \n")

    path = tmp_path / "l.tfrecord"
    result = run(path, Mute(), QUESTIONS[:3])
    assert (result.written, len(result.failed), result.left) == (0, 3, 3)
    assert job.reasons([result]) == "3 × the text is empty"
    assert "failed: train" in capsys.readouterr().err
    assert {row.error for row in read_log(path)} == {"the text is empty"}
    assert run(path, Flaky(), QUESTIONS[:3]).written == 3


def test_questions_without_ids_are_found_by_their_content(tmp_path):
    """A line in front moves all others; the logs of older versions name rows by their lines."""
    path, log = tmp_path / "q.jsonl", tmp_path / "shape.tfrecord"
    texts = [
        json.dumps({"question": q.question, "choices": list(q.choices), "answer": q.answer})
        for q in QUESTIONS
    ]
    read = lambda lines: path.write_text("\n".join(lines)) and tasks.load("things", f"jsonl:{path}")
    first = read([*texts[1:40], texts[3]])["train"]
    assert first[2].id == first[2].key[:16] and first[-1].id == first[2].id + "-2"
    numbered = [
        dataclasses.replace(question, id=str(index)) for index, question in enumerate(first, 1)
    ]
    assert run(log, Flaky(), numbered).written == 40
    moved, flaky = read(["", *texts[:40], "", texts[3]])["train"], Flaky()
    result = run(log, flaky, moved)
    assert (result.done_before, result.written, result.left) == (40, 1, 0)
    assert [request.question.question for request in flaky.asked] == [QUESTIONS[0].question]
    report = build.build("things", {"train": moved}, [log], tmp_path / "out").report
    assert report["log"]["rows of an unknown or changed question"] == 0
    assert report["splits"]["train"]["teachers"]["shape"]["missing"] == 0
    assert run(log, Flaky(), first).written == 0


def test_an_empty_row_of_an_older_log_is_asked_again(tmp_path):
    path = tmp_path / "shape.tfrecord"
    run(path, Flaky(), QUESTIONS[:3])
    written = [dataclasses.replace(row, text="") for row in read_log(path)]
    path.unlink()
    with Log(path, "things", "shape") as log:
        for row in written:
            log.append(row)
        assert not log.rows and len(log.failed) == 3
    assert run(path, Flaky(), QUESTIONS[:3]).written == 3


def test_unforced_samples_of_each_question(tmp_path):
    path = tmp_path / "l.tfrecord"
    first = run(path, Flaky(), mode="unforced", samples=3, temperature=1.0)
    assert first.written == 180
    found = list(read_log(path))
    assert not any(row.forced for row in found) and {row.sample for row in found} == {0, 1, 2}
    flaky = Flaky()
    more = run(path, flaky, mode="unforced", samples=4, temperature=1.0)
    assert (more.done_before, more.written) == (180, 60) and {
        request.sample for request in flaky.asked
    } == {3}
    assert len({request.seed for request in flaky.asked}) > 55


def test_forced_where_no_sample_reaches_gold(tmp_path):
    path, lost = tmp_path / "l.tfrecord", {question.id for question in QUESTIONS[:10]}

    def answer(request):
        reaches = request.question.id not in lost and request.sample == 1
        return request.question.answer if reaches else wrong(request.question)

    options = dict(mode="unforced-first", samples=2, temperature=1.0)
    result = run(path, Flaky(answer=answer), **options)
    assert (result.written, result.left) == (130, 0)
    assert {row.question_id for row in read_log(path) if row.forced} == lost
    assert run(path, Flaky(answer=answer), **options).written == 0


def test_a_question_whose_sample_failed_waits(tmp_path, capsys):
    path, failing = tmp_path / "l.tfrecord", QUESTIONS[3].id
    flaky = Flaky(
        lambda request: request.question.id == failing,
        answer=lambda request: wrong(request.question),
    )
    result = run(path, flaky, mode="unforced-first")
    assert (result.written, result.left) == (
        59 + 59,
        1,
    ) and "1 questions wait for samples" in capsys.readouterr().err
    result = run(path, Flaky(answer=lambda request: wrong(request.question)), mode="unforced-first")
    assert (result.written, result.left) == (2, 0)


def test_stop_finishes_what_is_in_flight(tmp_path):
    asked = []
    flaky = Flaky(lambda request: asked.append(request))
    result = run(tmp_path / "l.tfrecord", flaky, stop=lambda: len(asked) >= 20)
    assert (result.written, result.left, result.stopped) == (20, 40, True) and flaky.closed


def test_the_engine_is_not_opened_for_nothing(tmp_path):
    run(tmp_path / "l.tfrecord", Flaky())
    run(tmp_path / "l.tfrecord", None)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(model="shaep"), "did you mean 'shape'"),
        (dict(model=""), "it has no model"),
        (dict(engine="vlm"), "did you mean 'vllm'"),
        (dict(mode="free"), "unknown mode of teacher 't'"),
        (dict(samples=3), "samples is 3 in mode forced"),
        (dict(samples=3, mode="unforced"), "3 samples at temperature 0 would all be the same"),
        (dict(top_p=0.0), "top_p is 0.0"),
        (dict(stop=("", "x")), "an empty stop string"),
        (dict(max_tokens=0), "max_tokens is 0; it must be at least 1"),
        (dict(engine="openai", base_url="http://me:secret@host/v1"), "no name, password or query"),
        (
            dict(engine="transformers", model="/nowhere/model"),
            "there is no directory /nowhere/model",
        ),
        (
            dict(engine="vllm", model="nobody/nothing"),
            "model 'nobody/nothing' is no directory here, and the hub does not give it",
        ),
        (
            dict(engine="vllm", model="not a name"),
            "is no directory here, and the hub does not give it",
        ),
        (
            dict(engine="vllm", engine_args={"trust_remote_code": True}),
            "only safetensors without code are loaded",
        ),
        (dict(shots=2), "no in-context examples for task 'things'"),
    ],
)
def test_bad_teachers(tmp_path, arguments, message):
    with pytest.raises(UserError) as error:
        job.teach("things", SOURCE, {"t": spec(**arguments)}, tmp_path / "out")
    assert message in str(error.value) and "secret" not in str(error.value)
    assert not list(tmp_path.glob("out/*")) or (
        arguments["model"] == "shaep" and rows(*tmp_path.glob("out/*")) == {}
    )


def test_a_shard_without_questions_is_one_line(tmp_path):
    with pytest.raises(UserError, match="shard 1/2 gets none of the 1 questions"):
        teach(tmp_path / "out", shard=(1, 2), limit=1)
    assert not (tmp_path / "out").exists()


def test_bad_names_and_splits(tmp_path):
    with pytest.raises(UserError, match="use lower-case letters"):
        job.teach("things", SOURCE, {"My Teacher": spec()}, tmp_path / "out")
    with pytest.raises(UserError, match="no split 'test'"):
        teach(tmp_path / "out", source="train=10,test=0,validation=0", splits=("test",))
    with pytest.raises(
        UserError, match="unknown teacher field 'max_tokns'; did you mean 'max_tokens'"
    ):
        config.teacher(max_tokns=3)
    assert not (tmp_path / "out").exists()


def test_a_directory_without_safetensors(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "pytorch_model.bin").write_text("")
    with pytest.raises(UserError, match="holds no .*safetensors, and no other weights are loaded"):
        job.teach(
            "things",
            SOURCE,
            {"t": spec(engine="transformers", model=str(tmp_path))},
            tmp_path / "out",
        )


def test_scripted_teachers_know_things_only(tmp_path):
    question = tasks.Question(
        "1", "obqa", "train", "", "The sun is responsible for", ("a", "b"), "a"
    )
    teacher = plan.load_teacher("shape", spec(), "", "obqa", [question], 0)
    with pytest.raises(UserError, match="not a question about a made-up thing"):
        job.run(teacher, [question], tmp_path / "l.tfrecord", lambda: False)


def test_neither_jax_nor_torch_is_imported():
    code = (
        "import sys; import tinyllm_jax.teachers.job, tinyllm_jax.cli; "
        "from tinyllm_jax.teachers import vllm_engine, transformers_engine, openai_engine; "
        "heavy = {'jax', 'flax', 'torch', 'tensorflow', 'tensorflow_datasets', 'vllm', "
        "'transformers', 'openai'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
