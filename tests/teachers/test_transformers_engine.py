"""transformers teachers with tiny random weights.

Their texts equal plain generation, and do not depend on batches or restarts.
"""

import dataclasses

import pytest
import tiny
import torch
import transformers

from tinyllm_jax import tasks
from tinyllm_jax.corpus.logrow import read_log
from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers import job, plan, weights
from tinyllm_jax.teachers.transformers_engine import TransformersEngine


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.questions(tmp_path_factory.mktemp("questions"))


@pytest.fixture(scope="module", params=["causal", "t5"])
def model(request, tmp_path_factory):
    return tiny.make(tmp_path_factory.mktemp(request.param), request.param)


def prepare(model, source, **changes):
    """(engine, its planned requests)."""
    spec = tiny.spec(model, source, **changes)
    train = tasks.load("custom", source)["train"]
    teacher = plan.load_teacher(
        "tiny", spec, weights.resolve_revision("tiny", spec), "custom", train, 0
    )
    forced = teacher.spec.mode == "forced"
    return TransformersEngine(spec, "tiny", teacher.revision), plan.requests(
        teacher, train, forced, ()
    )


def texts(engine, requests, stop=lambda: False):
    return {(r.request.question.id, r.request.sample): r for r in engine.generate(requests, stop)}


def test_greedy_texts_equal_plain_generation_one_by_one(model, source):
    engine, requests = prepare(model, source)
    found = texts(engine, requests)
    tokenizer = transformers.AutoTokenizer.from_pretrained(model)
    auto = (
        transformers.AutoModelForSeq2SeqLM
        if engine.has_encoder
        else transformers.AutoModelForCausalLM
    )
    plain = auto.from_pretrained(model).eval()
    assert len(found) == len(requests) == 24
    for request in requests:
        read = tokenizer(request.prompt.text, return_tensors="pt")
        with torch.inference_mode():
            wrote = plain.generate(**read, max_new_tokens=12, do_sample=False)[
                0, 1 if engine.has_encoder else read.input_ids.shape[1] :
            ]
        result = found[request.question.id, 0]
        assert result.text == tokenizer.decode(wrote, skip_special_tokens=True)
        assert (result.prompt_tokens, result.tokens) == (read.input_ids.shape[1], len(wrote))
        assert result.finish_reason == ("stop" if wrote[-1] == 1 else "length")


def test_mean_logprob_is_the_model_s(model, source):
    engine, requests = prepare(model, source)
    result = texts(engine, requests[:3])[requests[1].question.id, 0]
    ids = engine.tokenizer(requests[1].prompt.text, return_tensors="pt").input_ids
    with torch.inference_mode():
        out = engine.model.generate(ids, max_new_tokens=12)
        start = 1 if engine.has_encoder else ids.shape[1]
        if engine.has_encoder:
            logits = engine.model(input_ids=ids, decoder_input_ids=out[:, :-1]).logits
        else:
            logits = engine.model(out[:, :-1]).logits[:, start - 1 :]
    chosen = logits.log_softmax(-1).gather(2, out[:, start:, None])[0, :, 0]
    assert result.mean_logprob == pytest.approx(chosen.mean().item(), abs=1e-5)


def test_texts_depend_on_neither_restarts_nor_what_is_logged(model, source):
    options = dict(mode="unforced", samples=2, temperature=1.0)
    engine, requests = prepare(model, source, **options)
    whole = {key: result.text for key, result in texts(engine, requests).items()}
    logged = [
        dataclasses.replace(request, logged=index % 3 == 0)
        for index, request in enumerate(requests)
    ]
    some = {key: result.text for key, result in texts(engine, logged).items()}
    assert 0 < len(some) < len(whole) == 48 and len(set(whole.values())) > 30
    assert some == {key: whole[key] for key in some}


def test_a_stop_string_ends_a_row_and_is_cut_off(model, source):
    engine, requests = prepare(model, source)
    whole = texts(engine, requests)
    stops = tuple(
        {
            result.text[3:5]
            for result in whole.values()
            if len(result.text) > 5 and "\ufffd" not in result.text[3:5]
        }
    )
    assert stops
    engine, requests = prepare(model, source, stop=stops)
    cut = texts(engine, requests)
    shorter = 0
    for key, result in cut.items():
        text = whole[key].text
        found = [text.index(stop) for stop in stops if stop in text]
        assert result.text == text[: min(found, default=len(text))]
        if found:
            assert result.finish_reason == "stop" and result.tokens <= whole[key].tokens
            shorter += result.tokens < whole[key].tokens
    assert shorter > 5


def test_a_context_is_cut_to_the_window_and_the_question_never(model, source):
    engine, requests = prepare(model, source)
    limit = (
        max(len(engine.tokenizer(request.prompt.cut(0).text)["input_ids"]) for request in requests)
        + 2
    )
    engine, requests = prepare(model, source, window=limit + (0 if engine.has_encoder else 12))
    found = texts(engine, requests)
    assert any(result.context_cut for result in found.values())
    for request in requests:
        result = found[request.question.id, 0]
        assert (
            not result.error
            and result.prompt_tokens <= limit
            and result.context_cut <= request.prompt.context_words
        )
    engine, requests = prepare(model, source, window=40)
    assert all(
        "even without" in r.error or "only" in r.error for r in texts(engine, requests).values()
    )


def test_out_of_memory_halves_the_batch_and_goes_on(model, source, capsys, monkeypatch):
    engine, requests = prepare(model, source, batch_tokens=100_000)
    whole = texts(engine, requests)
    sizes, generate = [], engine.model.generate

    def small_memory(input_ids, **options):
        sizes.append(len(input_ids))
        if len(input_ids) > 7:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return generate(input_ids=input_ids, **options)

    monkeypatch.setattr(engine.model, "generate", small_memory)
    found = texts(engine, requests)
    assert {key: r.text for key, r in found.items()} == {key: r.text for key, r in whole.items()}
    assert sizes[:3] == [24, 12, 6] and max(sizes[2:]) <= 7 and sum(sizes[2:]) == 24
    assert "out of memory with 24 prompts" in capsys.readouterr().out
    monkeypatch.setattr(
        engine.model,
        "generate",
        lambda **_: (_ for _ in ()).throw(torch.OutOfMemoryError("CUDA out of memory")),
    )
    assert all(
        r.error.startswith("out of memory on one prompt")
        for r in texts(engine, requests[:3]).values()
    )


def test_the_chat_template_is_an_option(model, source):
    engine, requests = prepare(model, source, chat=True)
    plain, _ = prepare(model, source)
    read, bare = engine._tokenize(requests[0]), plain._tokenize(requests[0])
    assert (
        engine.tokenizer.decode(read.ids).replace("</s>", "")
        == f"<user>{requests[0].prompt.text}<assistant>"
    )
    assert plain.tokenizer.decode(bare.ids).replace("</s>", "") == requests[0].prompt.text


def test_stop_ends_after_the_batch(model, source):
    engine, requests = prepare(model, source)
    asked = []
    found = texts(engine, requests, stop=lambda: bool(asked) or asked.append(1))
    assert 0 < len(found) < 24


def test_unforced_first_through_the_job(model, source, tmp_path):
    spec = tiny.spec(model, source, mode="unforced-first")
    done = job.teach("custom", source, {"tiny": spec}, tmp_path)["tiny"]
    rows = list(read_log(done.log))
    assert (
        done.left == 0
        and sum(not row.forced for row in rows) == 24
        and sum(row.forced for row in rows) > 20
    )
    assert {row.revision for row in rows} == {weights.fingerprint(model)} and rows[0].model == str(
        model
    )


def test_a_moved_directory_is_the_same_teacher_and_other_weights_are_not(model, tmp_path):
    import shutil

    moved = shutil.copytree(model, tmp_path / "moved")
    assert weights.fingerprint(moved) == weights.fingerprint(model)
    content = bytearray((moved / "model.safetensors").read_bytes())
    content[-1] ^= 1
    (moved / "model.safetensors").write_bytes(content)
    assert weights.fingerprint(moved) != weights.fingerprint(model)


def test_weights_that_cannot_be_read(model, source, tmp_path):
    import shutil

    broken = shutil.copytree(model, tmp_path / "broken")
    (broken / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="transformers cannot load"):
        job.teach("custom", source, {"tiny": tiny.spec(broken, source)}, tmp_path / "out")
