"""Weights in and out: byte for byte, both transformers' configs, and all that can be wrong."""

import json
import shutil

import numpy as np
import pytest
from flax import traverse_util
from oracle import BOTH, T5_10, T5_11, random_params
from safetensors.numpy import load_file, save_file

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import hf
from tinyllm_jax.student.config import StudentConfig, from_hf_config, student_config, to_hf_config


@pytest.fixture(params=list(BOTH))
def saved(request, tmp_path):
    """(config, params, directory) of a student on disk."""
    config = BOTH[request.param]
    params = random_params(config)
    hf.save_hf(tmp_path / "model", config, params)
    return config, params, tmp_path / "model"


def _edit(directory, change):
    """Rewrites the weights of a directory, after `change` to the dict of tensors."""
    tensors = load_file(directory / "model.safetensors")
    change(tensors)
    save_file(tensors, directory / "model.safetensors")


def test_round_trip_is_byte_exact(saved, tmp_path):
    config, params, directory = saved
    again, loaded = hf.load_hf(directory)
    assert again == config
    want, have = (traverse_util.flatten_dict(tree, sep="/") for tree in (params, loaded))
    assert want.keys() == have.keys()
    assert all(np.asarray(want[path]).tobytes() == have[path].tobytes() for path in want)
    hf.save_hf(tmp_path / "again", again, loaded)
    for name in ("config.json", "model.safetensors"):
        assert (tmp_path / "again" / name).read_bytes() == (directory / name).read_bytes()
    modes = {path.stat().st_mode for path in directory.iterdir()}
    assert len(modes) == 1  # whoever may read one file may read all


def test_real_weights_round_trip(flan_t5_small, tmp_path):
    config, params = hf.load_hf(flan_t5_small)
    assert config == student_config("flan-t5-small")
    hf.save_hf(tmp_path / "out", config, params)
    before, after = (
        load_file(flan_t5_small / "model.safetensors"),
        load_file(tmp_path / "out/model.safetensors"),
    )
    assert before.keys() == after.keys() and all(
        before[k].tobytes() == after[k].tobytes() for k in before
    )


def test_what_transformers_saves_is_read_equal(twins, tmp_path):
    """The weights come back untied, though transformers 5 always writes `tie_word_embeddings`."""
    config, params, oracle = twins
    oracle.save_pretrained(tmp_path)
    again, loaded = hf.load_hf(tmp_path)
    assert again == config
    want, have = (traverse_util.flatten_dict(tree, sep="/") for tree in (params, loaded))
    assert all(np.array_equal(want[path], have[path]) for path in want)


def test_tied_but_unscaled_is_read_as_untied_from_a_copy(tmp_path):
    hf.save_hf(tmp_path / "m", T5_10, random_params(T5_10))
    fields = {
        **json.loads((tmp_path / "m/config.json").read_text()),
        "scale_decoder_outputs": False,
    }
    (tmp_path / "m/config.json").write_text(json.dumps(fields))
    config, params = hf.load_hf(tmp_path / "m")
    assert not config.tie_word_embeddings
    np.testing.assert_array_equal(params["lm_head"]["kernel"], params["embedding"].T)


def test_shards_and_low_precision_are_read(saved, tmp_path):
    import ml_dtypes

    _, params, directory = saved
    tensors = {
        k: v.astype(ml_dtypes.bfloat16)
        for k, v in load_file(directory / "model.safetensors").items()
    }
    (directory / "model.safetensors").unlink()
    shards = {"a.safetensors": sorted(tensors)[::2], "b.safetensors": sorted(tensors)[1::2]}
    for shard, names in shards.items():
        save_file({name: tensors[name] for name in names}, directory / shard)
    index = {"weight_map": {name: shard for shard, names in shards.items() for name in names}}
    (directory / "model.safetensors.index.json").write_text(json.dumps(index))
    _, loaded = hf.load_hf(directory)
    assert loaded["embedding"].dtype == np.float32
    np.testing.assert_allclose(loaded["embedding"], params["embedding"], rtol=1e-2)
    (directory / "b.safetensors").unlink()
    with pytest.raises(UserError, match="b.safetensors"):
        hf.load_hf(directory)


def test_all_problems_are_listed_at_once(saved):
    _, _, directory = saved

    def spoil(tensors):
        del tensors["encoder.block.1.layer.0.SelfAttention.q.weight"]
        tensors["decoder.block.7.layer.0.SelfAttention.q.weight"] = np.zeros((2, 2), np.float32)
        tensors["encoder.final_layer_norm.weight"] = np.zeros(5, np.float32)

    _edit(directory, spoil)
    with pytest.raises(UserError) as error:
        hf.load_hf(directory)
    message = str(error.value)
    assert "\n" not in message
    for part in (
        "missing encoder.block.1.layer.0.SelfAttention.q.weight",
        "unused decoder.block.7.layer.0.SelfAttention.q.weight",
        "encoder.final_layer_norm.weight is [5], not [24]",
    ):
        assert part in message


def test_known_copies_are_accepted_and_differing_ones_refused(saved):
    config, params, directory = saved

    def copies(tensors):
        tensors["encoder.embed_tokens.weight"] = tensors["shared.weight"].copy()
        tensors["decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"] = np.ones(
            (8, 3), np.float32
        )

    _edit(directory, copies)
    np.testing.assert_array_equal(hf.load_hf(directory)[1]["embedding"], params["embedding"])
    name = "lm_head.weight" if config.tie_word_embeddings else "encoder.embed_tokens.weight"
    _edit(directory, lambda tensors: tensors.update({name: tensors["shared.weight"] + 1}))
    with pytest.raises(UserError, match=f"{name} is tied"):
        hf.load_hf(directory)


def test_untied_without_lm_head_is_missing_it(tmp_path):
    hf.save_hf(tmp_path / "m", T5_11, random_params(T5_11))
    _edit(tmp_path / "m", lambda tensors: tensors.pop("lm_head.weight"))
    fields = json.loads((tmp_path / "m/config.json").read_text())
    del fields["scale_decoder_outputs"]  # as transformers 4 writes it
    (tmp_path / "m/config.json").write_text(json.dumps(fields))
    with pytest.raises(UserError, match="lm_head.weight"):
        hf.load_hf(tmp_path / "m")


def test_one_line_for_each_bad_directory(saved, tmp_path):
    _, params, directory = saved
    cut = tmp_path / "cut"
    shutil.copytree(directory, cut)
    (cut / "model.safetensors").write_bytes((cut / "model.safetensors").read_bytes()[:-100])
    pickled = tmp_path / "pickled"
    pickled.mkdir()
    shutil.copy(directory / "config.json", pickled)
    (pickled / "pytorch_model.bin").write_bytes(b"\x80")
    other = tmp_path / "other"
    shutil.copytree(directory, other)
    (other / "config.json").write_text('{"model_type": "bert"}')
    broken = tmp_path / "broken"
    shutil.copytree(directory, broken)
    (broken / "config.json").write_text("{")
    for bad, says in (
        (cut, "cannot read the weights"),
        (pickled, "save_pretrained"),
        (other, "'bert' model"),
        (broken, "cannot read the model config"),
        (tmp_path / "none", "not a directory"),
    ):
        with pytest.raises(UserError, match=says) as error:
            hf.load_hf(bad)
        assert "\n" not in str(error.value)
    with pytest.raises(UserError, match="already holds"):
        hf.save_hf(directory, T5_11, params)


def test_both_versions_configs_are_read_alike():
    assert (
        from_hf_config(to_hf_config(T5_10)) == T5_10
        and from_hf_config(to_hf_config(T5_11)) == T5_11
    )
    fields = to_hf_config(T5_11)
    old = {k: v for k, v in fields.items() if k != "scale_decoder_outputs"}
    new = {**fields, "tie_word_embeddings": True}
    assert from_hf_config(old) == from_hf_config(new) == T5_11


def test_bad_configs():
    for change, says in (
        ({"pad_token_id": 3}, "pad_token_id 3"),
        ({"feed_forward_proj": "gated-silu"}, "gated-gelu"),
        ({"d_model": -1}, "d_model is -1"),
        ({"dropout_rate": 1.5}, "dropout_rate"),
    ):
        with pytest.raises(UserError, match=says):
            from_hf_config({**to_hf_config(T5_11), **change})
    with pytest.raises(UserError, match="lacks d_ff"):
        from_hf_config({k: v for k, v in to_hf_config(T5_11).items() if k != "d_ff"})
    with pytest.raises(UserError, match="did you mean 'flan-t5-base'"):
        student_config("flan-t5-bas")
    with pytest.raises(UserError, match="did you mean 'dropout_rate'"):
        student_config("byte-tiny", dropuot_rate=0.1)
    with pytest.raises(UserError, match="LoRA target 'wi'"):
        student_config("byte-tiny", lora_rank=4, lora_targets=["q", "wi"])
    assert isinstance(hash(student_config("byte-tiny", lora_rank=4, lora_targets=["q"])), int)
    assert isinstance(student_config("flan-t5-xl"), StudentConfig)
