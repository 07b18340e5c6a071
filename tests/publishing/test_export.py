"""Exported students: plain transformers and PEFT load them and compute and write the same."""

import dataclasses
import json
import pathlib
import re
from typing import ClassVar

import jax
import numpy as np
import pytest
import small_runs
import yaml
from command_lines import fails
from flax import traverse_util
from safetensors.numpy import load_file
from small_runs import QUESTIONS, SHAPES, STEP, TEACHERS

from tinyllm_jax import cli
from tinyllm_jax.errors import UserError
from tinyllm_jax.evaluation import results
from tinyllm_jax.publishing.card import EXAMPLE
from tinyllm_jax.publishing.export import export
from tinyllm_jax.student import decoding, hf, inputs, lora, model
from tinyllm_jax.student.export import write_tokenizer
from tinyllm_jax.student.student import ANSWER
from tinyllm_jax.student.writing import write
from tinyllm_jax.training import restore

pytestmark = pytest.mark.usefixtures("quick_compilation")
TOKENS = 12  # of a text
LORA_TARGETS = {"1.0": ("q", "o", "wi", "wo"), "1.1": ("q", "v", "wi_0", "wo")}


def theirs(directory):
    """The tokenizer and the model of a directory, as transformers loads them."""
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("torch").set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    return tokenizer, transformers.AutoModelForSeq2SeqLM.from_pretrained(directory).eval()


def padded(rows):
    """Rows of token ids as one array, padded with 0."""
    length = max(map(len, rows))
    return np.array([row + [0] * (length - len(row)) for row in rows], np.int32)


def check_equal(student, tokenizer, torch_model):
    """The ids of every prompt, the logits (1e-4), and the greedy text of every target."""
    import torch

    begin = [0, 5, 9, 4, 7]
    rows = student.encode(QUESTIONS).rows
    apply = jax.jit(model.apply, static_argnums=0)
    logits = apply(student.config, student.params, padded(rows), np.array([begin] * len(rows)))
    for question, row, ours in zip(QUESTIONS, rows, logits, strict=True):
        said = tokenizer(inputs.prompt(question, student.prefixes[ANSWER]), return_tensors="pt")
        assert said["input_ids"][0].tolist() == row
        with torch.no_grad():
            out = torch_model(**said, decoder_input_ids=torch.tensor([begin]))
        assert out.logits.abs().max() > 0.1
        np.testing.assert_allclose(np.asarray(ours), out.logits[0].numpy(), rtol=0, atol=1e-4)

    in_encoder = student.prefix_side == "encoder"
    different = set()
    for target, prefix in student.prefixes.items():
        begin = [0, *student.decoder_prefix(target)]
        assert (len(begin) > 1) == (not in_encoder and target != ANSWER)
        rows = padded(student.encode(QUESTIONS, target).rows)
        tokens = decoding.greedy(
            student.config, student.params, rows, TOKENS, prefix_tokens=begin[1:]
        )
        texts = write(student, QUESTIONS, target, TOKENS, 4)
        for question, want, text in zip(QUESTIONS, tokens, texts, strict=True):
            said = inputs.prompt(question, prefix if in_encoder else student.prefixes[ANSWER])
            have = torch_model.generate(
                **tokenizer(said, return_tensors="pt"),
                decoder_input_ids=torch.tensor([begin]),
                max_new_tokens=TOKENS,
            )[0, len(begin) :]
            assert have.tolist() == want[: len(have)].tolist() and not want[len(have) :].any()
            assert tokenizer.decode(have, skip_special_tokens=True).strip() == text
            different.add(tuple(have.tolist()))
    assert len(different) > 1, different  # it is not one text for all


@pytest.mark.parametrize(
    "version, tokenizer, prefix",
    [
        ("1.0", "byte", "encoder"),
        ("1.1", "byte", "decoder"),
        ("1.0", "words", "decoder"),
        ("1.1", "words", "encoder"),
    ],
)
def test_transformers_computes_and_writes_the_same(version, tokenizer, prefix, tmp_path):
    made, shape = "byte", SHAPES[version]
    if tokenizer == "words":
        made = small_runs.word_tokenizer()
        shape = dataclasses.replace(shape, vocab_size=len(made))
    run = small_runs.make(tmp_path / "run", shape, made, prefix=prefix)
    assert export(run, str(tmp_path / "out")) == STEP
    check_equal(restore.restore(run, STEP), *theirs(tmp_path / "out"))
    generation = json.loads((tmp_path / "out" / "generation_config.json").read_text())
    assert generation == {
        "decoder_start_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 0,
        "max_new_tokens": 256,
    }


def with_lora(version: str):
    """A shape with updates of nearly everything, and its parameters."""
    shape = dataclasses.replace(
        SHAPES[version], lora_rank=3, lora_alpha=12.0, lora_targets=LORA_TARGETS[version]
    )
    return shape, small_runs.random_params(shape)


def base_of(directory, shape, params):
    """Writes the base of a student with LoRA, as the run's weights."""
    flat = traverse_util.flatten_dict(params, sep="/")
    kernels = {path: leaf for path, leaf in flat.items() if not lora.is_lora(path)}
    config = dataclasses.replace(shape, lora_rank=0)
    hf.save_hf(directory, config, traverse_util.unflatten_dict(kernels, sep="/"))
    return str(directory)


def test_lora_is_merged(tmp_path):
    shape, params = with_lora("1.1")
    run = small_runs.make(tmp_path / "run", shape, params=params)
    export(run, str(tmp_path / "out"))
    tokenizer, torch_model = theirs(tmp_path / "out")
    unmerged = restore.restore(run, STEP, merged=False)
    assert unmerged.config.lora_rank == 3
    check_equal(unmerged, tokenizer, torch_model)


@pytest.mark.parametrize("version", list(SHAPES))
def test_peft_puts_an_adapter_on_its_base(version, tmp_path):
    peft = pytest.importorskip("peft")
    import transformers

    shape, params = with_lora(version)
    base = base_of(tmp_path / "base", shape, params)
    run = small_runs.make(tmp_path / "run", shape, params=params, weights=base)
    export(run, str(tmp_path / "out"), adapter=True)
    tokenizer = transformers.AutoTokenizer.from_pretrained(tmp_path / "out")
    bare = transformers.AutoModelForSeq2SeqLM.from_pretrained(base)
    loaded = peft.PeftModel.from_pretrained(bare, tmp_path / "out").eval()
    check_equal(restore.restore(run, STEP), tokenizer, loaded)


def test_an_adapter_has_pefts_names_and_shapes(tmp_path):
    """What PEFT is promised, where it is not installed."""
    shape, params = with_lora("1.1")
    run = small_runs.make(tmp_path / "run", shape, params=params, weights="org/base")
    export(run, str(tmp_path / "out"), adapter=True)
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "org/base"
    assert (config["r"], config["lora_alpha"]) == (3, 12.0)
    tensors = load_file(tmp_path / "out" / "adapter_model.safetensors")
    assert len(tensors) == 2 * (2 * (2 + 2) + 2 * (4 + 2))  # A, B; the layers of both stacks
    name = "base_model.model.decoder.block.1.layer.1.EncDecAttention.q.lora_{}.weight"
    ours = params["decoder"]["layers"]["cross_attention"]["q"]
    np.testing.assert_array_equal(tensors[name.format("A")], ours["lora_a"][1].T)
    np.testing.assert_array_equal(tensors[name.format("B")], ours["lora_b"][1].T)
    assert not (tmp_path / "out" / "model.safetensors").exists()
    card = (tmp_path / "out" / "README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["base_model"] == "org/base"
    assert 'from_pretrained("org/base")' in card


def result(correct: int, split: str) -> results.Result:
    """An evaluation of ten questions, of which `correct` were answered right."""
    predictions = [
        results.Prediction(
            *(str(i), str(i), 0, (-1.0, -2.0), (2, 2), int(i >= correct), 0, i < correct, True),
            *("x", False, i < 2, False, False),
        )
        for i in range(10)
    ]
    return results.Result("things", split, tuple(predictions), 0.25, None, {}, 1.0, STEP)


def code_of(card: str) -> list[str]:
    """The Python in a card."""
    return re.findall(r"```python\n(.*?)```", card, flags=re.DOTALL)


@pytest.mark.parametrize("prefix", ["encoder", "decoder"])
def test_the_card_says_how_to_ask_and_how_right_it_is(prefix, tmp_path, capsys):
    pytest.importorskip("torch")
    run = small_runs.make(tmp_path / "run", SHAPES["1.1"], prefix=prefix, weights=str(tmp_path))
    results.write(run / "evaluation" / f"test-{STEP}", result(7, "test"))
    results.write(run / "evaluation" / f"validation-1{STEP}", result(1, "validation"))
    export(run, str(tmp_path / "out"))
    card = (tmp_path / "out" / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["task"] == "things" and front["teachers"] == list(TEACHERS)
    assert not {"license", "base_model"} & front.keys()

    # 7 of 10 with Wilson's interval; the other checkpoint's result is not this one's.
    (row,) = [line for line in card.splitlines() if line.startswith("| test | 10 |")]
    assert row.startswith("| test | 10 | 70.0 \\[39.7, 89.2\\] |") and "| 25.0 |" in row
    assert "| validation |" not in card
    for fact in ("step 7 of 9, seed 3", "c0ffee", '"learning_rate": 5e-05'):
        assert fact in card
    assert str(tmp_path) not in card  # no path of this machine

    # The card's own code asks as the student is asked.
    student = restore.restore(run, STEP)
    code = "\n".join(code_of(card)).replace("DIRECTORY_OR_HUB_NAME", str(tmp_path / "out"))
    capsys.readouterr()
    exec(code.replace("max_new_tokens=256", f"max_new_tokens={TOKENS}"), {})
    printed = capsys.readouterr().out
    (answer,) = write(student, [EXAMPLE], ANSWER, TOKENS, 1)
    assert printed.startswith(answer)
    for teacher in TEACHERS:
        if prefix == "decoder":
            (text,) = write(student, [EXAMPLE], teacher, TOKENS, 1)
            assert f"{teacher} {text}" in printed
        else:
            assert f"explain {teacher}: What floats on water?\nAnswer Choices:\n(a) a" in card


def test_the_tokenizer_writes_as_the_student_does(t5_tokenizer_dir, tmp_path):
    tokenizer = inputs.load_tokenizer(t5_tokenizer_dir)
    write_tokenizer(tmp_path, tokenizer)
    again = inputs.load_tokenizer(tmp_path)
    for text in ("a jar .", "he did n't"):
        assert again.decode(again(text)["input_ids"], skip_special_tokens=True) == text


def test_what_was_not_evaluated_says_so(tmp_path):
    run = small_runs.make(tmp_path / "run", SHAPES["1.1"])
    export(run, str(tmp_path / "out"))
    assert "This checkpoint was not evaluated" in (tmp_path / "out" / "README.md").read_text()


def test_bad_input_is_one_line_and_leaves_nothing(tmp_path, capsys, monkeypatch):
    run = small_runs.make(tmp_path / "run", SHAPES["1.1"])
    tuned = small_runs.make(tmp_path / "tuned", with_lora("1.1")[0])
    out = tmp_path / "out"
    ask = ["--out", out, "--workdir"]
    assert "is not the workdir of a run" in fails(capsys, "export", *ask, tmp_path)
    assert "has no checkpoint of step 8" in fails(capsys, "export", *ask, run, "--step", 8)
    assert "trained without LoRA" in fails(capsys, "export", *ask, run, "--adapter")
    assert "started from random weights" in fails(capsys, "export", *ask, tuned, "--adapter")
    assert "give USER/NAME" in fails(capsys, "export", *ask, run, "--push", "name")
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    assert "HF_TOKEN" in fails(capsys, "export", *ask, run, "--push", "user/name")
    assert "a local directory" in fails(
        capsys, "export", "--workdir", run, "--out", "gs://bucket/out"
    )
    assert "not an empty directory" in fails(capsys, "export", "--workdir", run, "--out", run)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "tuned"]


def test_a_failure_leaves_no_directory(tmp_path, monkeypatch):
    run = small_runs.make(tmp_path / "run", SHAPES["1.1"])

    def fail(*_):
        raise OSError("no room")

    monkeypatch.setattr("tinyllm_jax.student.inputs.save_tokenizer", fail)
    with pytest.raises(UserError, match="no room"):
        export(run, str(tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


class FakeHub:
    """What HfApi is, without a network; `calls` is what was asked of it."""

    calls: ClassVar[list] = []

    def create_repo(self, name, **more):
        self.calls.append(("create_repo", name, more))
        return f"https://huggingface.co/{name}"

    def upload_folder(self, **more):
        files = sorted(path.name for path in pathlib.Path(more["folder_path"]).iterdir())
        self.calls.append(("upload_folder", more, files))


class BrokenHub(FakeHub):
    def upload_folder(self, **more):
        raise ConnectionError("401 for hf_secret\nfrom the hub")


def test_push(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_secret")
    monkeypatch.setattr("huggingface_hub.HfApi", FakeHub)
    run, out = small_runs.make(tmp_path / "run", SHAPES["1.1"]), tmp_path / "out"
    cli.main(["export", "--workdir", str(run), "--out", str(out), "--push", "user/name"])
    assert "uploaded to https://huggingface.co/user/name" in capsys.readouterr().out
    (created, name, _), (uploaded, more, files) = FakeHub.calls
    assert (created, name, uploaded) == ("create_repo", "user/name", "upload_folder")
    assert more["repo_id"] == "user/name" and more["folder_path"] == str(out)
    assert {"README.md", "config.json", "model.safetensors", "tokenizer_config.json"} <= set(files)
    assert 'name = "user/name"' in (out / "README.md").read_text()

    monkeypatch.setattr("huggingface_hub.HfApi", BrokenHub)
    ask = ["--workdir", run, "--out", tmp_path / "again", "--push", "user/name"]
    said = fails(capsys, "export", *ask)
    assert f"hf upload user/name {tmp_path / 'again'}" in said and "hf_secret" not in said
    assert (tmp_path / "again" / "model.safetensors").exists()


@pytest.fixture(scope="module")
def flan(flan_t5_small, tmp_path_factory):
    """A run of real weights, its export, and what its student answers."""
    root = tmp_path_factory.mktemp("flan")
    shape, params = hf.load_hf(flan_t5_small)
    tokenizer = inputs.load_tokenizer(flan_t5_small)
    run = small_runs.make(root / "run", shape, tokenizer, jax.device_put(params))
    export(run, str(root / "out"))
    student = restore.restore(run, STEP)
    return student, root / "out", write(student, QUESTIONS, ANSWER, TOKENS, 4)


def test_real_weights(flan, flan_t5_small):
    student, out, answers = flan
    before, after = (load_file(path / "model.safetensors") for path in (flan_t5_small, out))
    assert all(np.array_equal(before[name], after[name]) for name in before | after)
    tokenizer, torch_model = theirs(out)
    for question, answer in zip(QUESTIONS, answers, strict=True):
        asked = tokenizer(inputs.prompt(question, "predict"), return_tensors="pt")
        assert asked["input_ids"][0].tolist() == student.encode([question]).rows[0]
        tokens = torch_model.generate(**asked, max_new_tokens=TOKENS)[0]
        assert tokenizer.decode(tokens, skip_special_tokens=True).strip() == answer


def test_ctranslate2_writes_the_same(flan, tmp_path):
    ctranslate2 = pytest.importorskip("ctranslate2")
    _, out, answers = flan
    converter = ctranslate2.converters.TransformersConverter(str(out))
    translator = ctranslate2.Translator(converter.convert(str(tmp_path / "ct2")), device="cpu")
    tokenizer = theirs(out)[0]
    for question, answer in zip(QUESTIONS, answers, strict=True):
        ids = tokenizer(inputs.prompt(question, "predict"))["input_ids"]
        (found,) = translator.translate_batch(
            [tokenizer.convert_ids_to_tokens(ids)], beam_size=1, max_decoding_length=TOKENS
        )
        tokens = tokenizer.convert_tokens_to_ids(found.hypotheses[0])
        assert tokenizer.decode(tokens, skip_special_tokens=True).strip() == answer
