"""Hugging Face weights in and out: safetensors only, no torch, byte for byte.

One table says what each of our parameters is called there. A checkpoint is read tensor by tensor
into host memory, so a model needs its own size in memory once; leaves are NumPy arrays, for
`jax.device_put` to place or shard. One error lists everything that does not fit.
"""

import json
import os
import pathlib
import re
from typing import Any

import numpy as np
from flax import traverse_util

from tinyllm_jax.errors import UserError
from tinyllm_jax.student.config import StudentConfig, override, read_config, to_hf_config
from tinyllm_jax.student.lora import is_lora
from tinyllm_jax.student.model import param_shapes

# Our path -> their name. Kernels are transposed; under `layers`, `{}` is the layer.
_TABLE = (
    (r"embedding", r"shared.weight"),
    (r"lm_head/kernel", r"lm_head.weight"),
    (
        r"(encoder|decoder)/relative_bias",
        r"\1.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
    ),
    (r"(encoder|decoder)/final_norm/scale", r"\1.final_layer_norm.weight"),
    (
        r"(encoder|decoder)/layers/self_attention/(\w+)/kernel",
        r"\1.block.{}.layer.0.SelfAttention.\2.weight",
    ),
    (
        r"(encoder|decoder)/layers/self_attention_norm/scale",
        r"\1.block.{}.layer.0.layer_norm.weight",
    ),
    (
        r"decoder/layers/cross_attention/(\w+)/kernel",
        r"decoder.block.{}.layer.1.EncDecAttention.\1.weight",
    ),
    (r"decoder/layers/cross_attention_norm/scale", r"decoder.block.{}.layer.1.layer_norm.weight"),
    (
        r"encoder/layers/feed_forward/(\w+)/kernel",
        r"encoder.block.{}.layer.1.DenseReluDense.\1.weight",
    ),
    (r"encoder/layers/feed_forward_norm/scale", r"encoder.block.{}.layer.1.layer_norm.weight"),
    (
        r"decoder/layers/feed_forward/(\w+)/kernel",
        r"decoder.block.{}.layer.2.DenseReluDense.\1.weight",
    ),
    (r"decoder/layers/feed_forward_norm/scale", r"decoder.block.{}.layer.2.layer_norm.weight"),
)
# Copies of the embedding that some checkpoints hold, and a table that those of T5 1.0 hold although
# no T5 uses it.
_COPIES = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
_UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def load_config(name_or_dir: str | os.PathLike, **config_overrides: Any) -> StudentConfig:
    """The config that `load_hf` would give, without reading the weights."""
    return override(read_config(_directory(name_or_dir)), config_overrides)


def load_hf(name_or_dir: str | os.PathLike, **config_overrides: Any) -> tuple[StudentConfig, dict]:
    """Reads a T5 from a local Hugging Face directory or from the hub.

    Args:
      name_or_dir: a directory with `config.json` and `*.safetensors` (with an index where sharded),
        or a hub name.
      **config_overrides: fields of `StudentConfig`. With `lora_rank` the config has LoRA and the
        parameters are still the base's: `lora.add_lora` gives them theirs.

    Returns:
      The config, and the parameters as float32 NumPy arrays.

    Raises:
      UserError: nothing there, only pickled weights, another architecture, or tensors that are
        missing, unused or of a wrong shape (all are listed).
    """
    directory = _directory(name_or_dir)
    config = read_config(directory)
    files = _files(directory)
    config = override(_with_tying(config, directory, files), config_overrides)
    shapes = traverse_util.flatten_dict(param_shapes(override(config, {"lora_rank": 0})), sep="/")
    names = tensor_names(shapes)
    _check(directory, shapes, names, files)

    # Each tensor goes to its place in a parameter: kernels are stored (out, in) there, and a tensor
    # of a layer is one slice here. Where `lm_head` has no tensor it is a copy of the embedding.
    params = {path: np.empty(shape.shape, np.float32) for path, shape in shapes.items()}
    for name, (path, layer) in names.items():
        source = name if name in files else "shared.weight"
        tensor = _read(files[source], source)
        into = params[path] if layer is None else params[path][layer]
        into[...] = tensor.T if path.endswith("/kernel") else tensor
    return config, traverse_util.unflatten_dict(params, sep="/")


def save_hf(directory: str | os.PathLike, config: StudentConfig, params: dict) -> None:
    """Writes `config.json` and `model.safetensors` (float32).

    transformers 4 and 5 both load them as this model.

    Args:
      directory: where to write; it is made where it does not exist.
      config: the student's.
      params: its parameters, as `init_params` or `load_hf` makes them.

    Raises:
      UserError: `params` still has LoRA updates, or the directory already holds weights.
    """
    flat = traverse_util.flatten_dict(params, sep="/")
    if any(map(is_lora, flat)):
        raise UserError(
            "Hugging Face's T5 has no LoRA: merge the updates (merge_lora) before exporting"
        )
    directory = pathlib.Path(directory)
    if (directory / "model.safetensors").exists():
        raise UserError(
            f"{directory} already holds model.safetensors: choose another directory or remove it"
        )
    directory.mkdir(parents=True, exist_ok=True)

    # Each slice of a parameter becomes a tensor of its own, and kernels (in, out) become (out, in).
    tensors = {}
    for name, (path, layer) in tensor_names(flat).items():
        leaf = np.asarray(flat[path] if layer is None else flat[path][layer], np.float32)
        tensors[name] = np.ascontiguousarray(leaf.T if path.endswith("/kernel") else leaf)

    (directory / "config.json").write_text(json.dumps(to_hf_config(config), indent=2) + "\n")
    write_tensors(directory / "model.safetensors", tensors)


def write_tensors(path: pathlib.Path, tensors: dict[str, np.ndarray]) -> None:
    """Writes a safetensors file, which appears under its name when it is whole.

    Raises:
      UserError: it cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    partial = path.with_name(path.name + ".partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        save_file(tensors, partial, metadata={"format": "pt"})
        partial.chmod(mode)  # safetensors lets the owner alone read it
    except (OSError, SafetensorError) as e:
        raise UserError(f"cannot write {path}: {e}; choose another directory or make room") from e
    partial.replace(path)


def tensor_names(leaves: dict[str, Any]) -> dict[str, tuple[str, int | None]]:
    """What each tensor is called there, and which of our parameters it is.

    Args:
      leaves: arrays or shapes, by path.

    Returns:
      Their name → (our path, the layer, or None where the parameter belongs to no layer).
    """
    names = {}
    for path, leaf in leaves.items():
        theirs = next(
            re.sub(ours, theirs, path) for ours, theirs in _TABLE if re.fullmatch(ours, path)
        )
        layers = range(leaf.shape[0]) if "/layers/" in path else (None,)
        names.update({theirs.format(layer): (path, layer) for layer in layers})
    return names


def _directory(name_or_dir: str | os.PathLike) -> pathlib.Path:
    """The local directory of a model, from the hub where it is not a path."""
    path = pathlib.Path(name_or_dir)
    if path.is_dir():
        return path
    import huggingface_hub

    name = str(name_or_dir)
    if path.exists() or name.startswith(("/", "./", "../", "~")):
        raise UserError(f"'{name}' is not a directory with a Hugging Face model")
    try:
        wanted = ["*.json", "*.safetensors", "spiece.model"]
        return pathlib.Path(huggingface_hub.snapshot_download(name, allow_patterns=wanted))
    except Exception as e:  # its errors share no base class, and come from three libraries
        reason = " ".join(str(e).split())[:200]
        raise UserError(
            f"'{name}' is neither a directory nor a model that the hub gives: {reason}"
        ) from e


def _files(directory: pathlib.Path) -> dict[str, pathlib.Path]:
    """The file of each tensor in a directory's safetensors.

    Raises:
      UserError: there are none, a shard that the index names is absent, or a file is broken.
    """
    from safetensors import SafetensorError, safe_open

    index, whole = directory / "model.safetensors.index.json", directory / "model.safetensors"
    if whole.exists():
        shards = [whole]
    elif index.exists():
        try:
            shards = sorted(
                {directory / name for name in json.loads(index.read_text())["weight_map"].values()}
            )
        except (ValueError, KeyError, AttributeError) as e:
            raise UserError(f"cannot read the weights' index {index}: {e}") from e
    else:
        hint = (
            " (pickled *.bin weights are never loaded; convert them once with transformers: "
            "T5ForConditionalGeneration.from_pretrained(SOURCE).save_pretrained(TARGET))"
        )
        raise UserError(f"{directory} holds no model.safetensors{hint}")
    files = {}
    for shard in shards:
        try:
            with safe_open(shard, framework="numpy") as f:
                files.update(dict.fromkeys(f.keys(), shard))
        except (OSError, SafetensorError) as e:
            raise UserError(f"cannot read the weights {shard}: {e}") from e
    return files


def _read(file: pathlib.Path, name: str) -> np.ndarray:
    """One tensor as float32."""
    from safetensors import safe_open

    with safe_open(file, framework="numpy") as f:
        return f.get_tensor(name).astype(np.float32, copy=False)


def _with_tying(config: StudentConfig, directory: pathlib.Path, files: dict) -> StudentConfig:
    """Checks that the weights tie the output projection to the embedding where the config says so.

    transformers 5 can make a T5 that is tied and yet does not scale its logits. It is read as an
    untied one whose `lm_head` starts as a copy of the embedding, which computes the same.

    Returns:
      The config.

    Raises:
      UserError: the weights and the config do not agree.
    """
    fields = json.loads((directory / "config.json").read_text())
    if "shared.weight" not in files:
        return config
    shared = _read(files["shared.weight"], "shared.weight")
    tied = (*_COPIES, "lm_head.weight") if config.tie_word_embeddings else _COPIES
    for name in tied:
        if name in files and not np.array_equal(_read(files[name], name), shared):
            raise UserError(
                f"{directory}: config.json says that {name} is tied to shared.weight, but they "
                "differ"
            )
    if (
        not config.tie_word_embeddings
        and "lm_head.weight" not in files
        and "scale_decoder_outputs" not in fields
    ):
        raise UserError(
            f"{directory}: config.json says that lm_head.weight is not tied, but the weights have "
            "none"
        )
    return config


def _check(directory: pathlib.Path, shapes: dict, names: dict, files: dict) -> None:
    """Checks that the weights are those that the config describes.

    Raises:
      UserError: it lists every tensor that is missing, unused, or of another shape.
    """
    from safetensors import safe_open

    # What `_with_tying` has checked is neither missing nor unused.
    known = {*names, *_COPIES, _UNUSED, "lm_head.weight"}
    missing = names.keys() - files.keys() - {"lm_head.weight"}
    problems = [f"missing {name}" for name in names if name in missing]
    problems += [f"unused {name}" for name in files if name not in known]

    # The shapes are read from the files' headers, without their content.
    for name in sorted(names.keys() & files.keys()):
        path, layer = names[name]
        want = list(shapes[path].shape if layer is None else shapes[path].shape[1:])
        if path.endswith("/kernel"):
            want.reverse()
        with safe_open(files[name], framework="numpy") as f:
            have = f.get_slice(name).get_shape()
        if have != want:
            problems.append(f"{name} is {have}, not {want}")
    if problems:
        raise UserError(
            f"the weights in {directory} do not fit its config.json: {'; '.join(problems)}"
        )
