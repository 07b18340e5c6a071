"""Which weights a teacher's model has: a directory or a model of the hub, and its revision."""

import hashlib
import os
from pathlib import Path

import ml_collections

from tinyllm_jax.errors import UserError

# A file up to this size (16 MiB) is hashed whole, a larger one by its size and by so many parts of
# so many bytes, spread over the file.
WHOLE_SIZE = 16 << 20
PARTS, PART_SIZE = 64, 1 << 16

HASHED = (".json", ".safetensors", ".model", ".txt", ".jinja")  # what a model directory consists of


def resolve_revision(name: str, spec: ml_collections.ConfigDict) -> str:
    """The revision that a teacher's log rows carry and its weights are loaded by.

    Args:
      name: the teacher's name, for errors.
      spec: the teacher's fields.

    Returns:
      The commit of a hub model. A hash of a directory's files, so that a directory that was moved
      is the same teacher and one whose weights were changed is not. What the config says about the
      model of a server, whose weights cannot be seen from here.

    Raises:
      UserError: there is no such directory or hub model, or it has no safetensors.
    """
    if spec.engine in ("openai", "scripted"):
        return spec.revision
    directory = Path(spec.model).expanduser()
    if directory.is_dir():
        _check_directory(name, directory)
        return fingerprint(directory)
    if spec.model.startswith(("/", ".", "~")):
        raise UserError(
            f"teacher '{name}': there is no directory {spec.model}; give the directory of a model, "
            f"or its hub name"
        )
    import huggingface_hub

    try:
        config = huggingface_hub.hf_hub_download(
            spec.model, "config.json", revision=spec.revision or None
        )
    except (OSError, ValueError) as error:  # the hub's errors, and that of a malformed name
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"teacher '{name}': model '{spec.model}' is no directory here, and the hub does not "
            f"give it: {reason}"
        ) from None
    return Path(config).parent.name  # the hub's cache has a directory per commit


def _check_directory(name: str, directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise UserError(
            f"teacher '{name}': {directory} holds no config.json; give the directory of a Hugging "
            f"Face model"
        )
    if not any(directory.glob("*.safetensors")):
        raise UserError(
            f"teacher '{name}': {directory} holds no *.safetensors, and no other weights are "
            f"loaded; convert the model with save_pretrained"
        )


def fingerprint(directory: Path) -> str:
    """A hash of a model directory's files: small ones whole, large ones by size and by parts."""
    digest = hashlib.sha256()
    for path in sorted(path for path in directory.iterdir() if path.suffix in HASHED):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size <= WHOLE_SIZE:
                digest.update(file.read())
                continue
            for part in range(PARTS):
                file.seek((size - PART_SIZE) * part // (PARTS - 1))
                digest.update(file.read(PART_SIZE))
    return "dir-" + digest.hexdigest()[:40]


def loading_arguments(spec: ml_collections.ConfigDict, revision: str) -> tuple[str, dict[str, str]]:
    """What to load a teacher's model by.

    Args:
      spec: the teacher's fields.
      revision: from `resolve_revision`.

    Returns:
      (the directory or hub name, the keyword arguments that pin the revision).
    """
    if revision.startswith("dir-"):
        return str(Path(spec.model).expanduser()), {}
    return spec.model, {"revision": revision}


def window_of(config) -> int | None:
    """The tokens that a model takes by its transformers configuration; None where it says none."""
    text_config = config.get_text_config(decoder=True)
    return getattr(text_config, "max_position_embeddings", None) or getattr(
        text_config, "n_positions", None
    )


def silence_libraries() -> None:
    """Silences what transformers and vLLM print while they load; the user's own settings stay."""
    for variable, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("VLLM_LOGGING_LEVEL", "ERROR"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("TQDM_DISABLE", "1"),
    ):
        os.environ.setdefault(variable, value)
