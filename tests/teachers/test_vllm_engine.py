"""vLLM and Ray with a tiny random model.

They write the same greedy texts as transformers, and do what the job asks of every engine.
"""

import dataclasses
import importlib.util
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
import tiny

from tinyllm_jax import tasks
from tinyllm_jax.corpus.logrow import read_log
from tinyllm_jax.teachers import job, plan, weights

if not importlib.util.find_spec("vllm"):
    pytest.skip("vLLM is not installed (launch/teachers.sh installs it)", allow_module_level=True)

import psutil  # vLLM brings it

CPU = dict(
    dtype="float32",
    engine_args=dict(enforce_eager=True, max_num_seqs=8, gpu_memory_utilization=0.2),
    window=512,
)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp("causal"), "causal")


@pytest.fixture(scope="module")
def teacher(model, source):
    spec = tiny.spec(model, source, engine="vllm", **CPU)
    return plan.load_teacher(
        "tiny",
        spec,
        weights.resolve_revision("tiny", spec),
        "custom",
        tasks.load("custom", source)["train"],
        0,
    )


@pytest.fixture(scope="module")
def engine(teacher):
    from tinyllm_jax.teachers.vllm_engine import VllmEngine

    engine = VllmEngine(teacher.spec, "tiny", teacher.revision)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def expected(model, source, tmp_path_factory):
    """The greedy texts of the engine `transformers`."""
    done = job.teach(
        "custom", source, {"tiny": tiny.spec(model, source)}, tmp_path_factory.mktemp("expected")
    )
    return {row.question_id: row for row in read_log(done["tiny"].log)}


def requests(teacher):
    return plan.requests(teacher, tasks.load("custom", tiny_source(teacher))["train"], True, ())


def tiny_source(teacher):
    return "jsonl:" + teacher.spec.examples.removesuffix("/examples.jsonl")


def check(results, expected) -> None:
    """The results are those of the engine `transformers`."""
    # vLLM leaves the beginning of a character out, transformers writes U+FFFD for it.
    fields = lambda row: (
        row.text.strip().rstrip("\ufffd"),
        row.prompt_tokens,
        row.tokens,
        row.finish_reason,
    )
    found = {result.request.question.id: result for result in results}
    assert {name: fields(result) for name, result in found.items()} == {
        name: fields(expected[name]) for name in found
    }
    for name, result in found.items():
        assert result.mean_logprob == pytest.approx(expected[name].mean_logprob, abs=1e-4)


def test_same_texts_as_transformers(engine, teacher, expected):
    results = list(engine.generate(requests(teacher), lambda: False))
    assert len(results) == 24
    check(results, expected)


def test_logged_requests_are_left_out(engine, teacher, expected):
    asked = [
        dataclasses.replace(request, logged=index % 2 == 0)
        for index, request in enumerate(requests(teacher))
    ]
    results = list(engine.generate(asked, lambda: False))
    assert len(results) == 12
    check(results, expected)


def test_stop_finishes_what_is_in_flight(engine, teacher):
    results = []
    for result in engine.generate(requests(teacher), lambda: bool(results)):
        results.append(result)  # noqa: PERF402  `stop` looks at them while they come
    assert 0 < len(results) < 24
    assert (
        len(list(engine.generate(requests(teacher), lambda: False))) == 24
    )  # nothing was left behind


def test_a_prompt_that_does_not_fit_harms_no_other(engine, teacher, expected):
    asked = requests(teacher)
    long = dataclasses.replace(
        asked[3], prompt=dataclasses.replace(asked[3].prompt, before="x " * 800)
    )
    results = {
        result.request.key: result
        for result in engine.generate([*asked[:3], long, *asked[4:]], lambda: False)
    }
    assert "only 500 fit" in results[long.key].error and len(results) == 24
    check([result for result in results.values() if not result.error], expected)


JOB = """
import sys, tiny, pathlib
from tinyllm_jax.teachers import job
if __name__ == "__main__":
    out, model, source = sys.argv[1:]
    engine_args = dict(enforce_eager=True, max_num_seqs=2, gpu_memory_utilization=0.2)
    spec = tiny.spec(pathlib.Path(model), source, engine="vllm", max_tokens=300, window=512,
                     shots=0, dtype="float32", engine_args=engine_args)
    sys.exit(3 if job.teach("custom", source, {"tiny": spec}, out)["tiny"].stopped else 0)
"""


def start(tmp_path, model, source):
    """A job in a process group of its own, as a shell starts it; returns when its log has a row."""
    (tmp_path / "run.py").write_text(JOB)
    environment = {
        **os.environ,
        "PYTHONPATH": f"{os.environ.get('PYTHONPATH', '')}:{pathlib.Path(tiny.__file__).parent}",
    }
    process = subprocess.Popen(
        [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "out"), str(model), source],
        process_group=0,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not any(
        path.stat().st_size for path in tmp_path.glob("out/*")
    ):
        time.sleep(0.01)
    return process


def test_ctrl_c_at_a_terminal_finishes_what_is_in_flight(model, source, tmp_path):
    process = start(tmp_path, model, source)
    os.killpg(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=120)
    assert (
        process.returncode == 3
        and "what is in flight is finished first" in err
        and " left (" in out
    )
    assert 2 <= len(list(read_log(*tmp_path.glob("out/*")))) < 24


def test_kill_9_leaves_no_process(model, source, tmp_path):
    process = start(tmp_path, model, source)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate(timeout=120)
    assert not psutil.wait_procs(children, timeout=60)[1]


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
def test_ray(model, source, expected, tmp_path):
    spec = tiny.spec(model, source, engine="ray", **CPU)
    done = job.teach("custom", source, {"tiny": spec}, tmp_path, limit=6)["tiny"]
    rows = list(read_log(done.log))
    assert done.left == 0 and len(rows) == 6
    for row in rows:
        other = expected[row.question_id]
        assert row.text.rstrip("\ufffd") == other.text.rstrip("\ufffd")
        assert (row.prompt_tokens, row.tokens, row.finish_reason) == (
            other.prompt_tokens,
            other.tokens,
            other.finish_reason,
        )
