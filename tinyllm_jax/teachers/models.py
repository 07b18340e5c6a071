"""Which weights a teacher is: a directory or a model of the hub, and the revision that names its very bytes."""

import hashlib
import os
from pathlib import Path

import ml_collections

from tinyllm_jax.errors import UserError

SMALL = 16 << 20  # bytes; a larger file is named by its size and by parts of it
PARTS, PART = 64, 1 << 16


def resolve(name: str, spec: ml_collections.ConfigDict) -> str:
    """The revision that a teacher's rows carry and its weights are loaded by.

    Args:
      name: the teacher's, for errors.
      spec: the teacher's fields.

    Returns:
      A hub model's commit; a hash of a directory's files, so that a directory that was moved is the
      same teacher and one whose weights were changed is not; what the config says for a server's
      model, whose weights nobody here sees.

    Raises:
      UserError: there is no such directory or hub model, or it has no safetensors.
    """
    if spec.engine in ("openai", "scripted"):
        return spec.revision
    directory = Path(spec.model).expanduser()
    if directory.is_dir():
        _check(name, directory)
        return fingerprint(directory)
    if spec.model.startswith(("/", ".", "~")):
        raise UserError(
            f"teacher '{name}': there is no directory {spec.model}; give the directory of a model, or its hub name"
        )
    import huggingface_hub

    try:
        config = huggingface_hub.hf_hub_download(
            spec.model, "config.json", revision=spec.revision or None
        )
    except (
        OSError,
        ValueError,
    ) as error:  # the hub's errors and a malformed name are of these two kinds
        reason = str(error).strip().split("\n")[0]
        raise UserError(
            f"teacher '{name}': model '{spec.model}' is no directory here, and the hub does not give it: "
            f"{reason}"
        ) from None
    return Path(config).parent.name


def where(spec: ml_collections.ConfigDict, revision: str) -> tuple[str, dict[str, str]]:
    """(the directory or hub name to load, the keyword arguments that pin its revision)."""
    directory = revision.startswith("dir-")
    return (
        (str(Path(spec.model).expanduser()), {})
        if directory
        else (spec.model, {"revision": revision})
    )


def window(config) -> int | None:
    """The tokens that a model's transformers configuration says it takes; None where it says nothing."""
    text = config.get_text_config(decoder=True)
    return getattr(text, "max_position_embeddings", None) or getattr(text, "n_positions", None)


def fingerprint(directory: Path) -> str:
    """A hash of a model directory's files: all of the small ones, sizes and 64 spread parts of the large ones."""
    digest = hashlib.sha256()
    for path in sorted(
        path
        for path in directory.iterdir()
        if path.suffix in (".json", ".safetensors", ".model", ".txt", ".jinja")
    ):
        size = path.stat().st_size
        digest.update(f"{path.name} {size}\n".encode())
        with path.open("rb") as file:
            if size <= SMALL:
                digest.update(file.read())
                continue
            for part in range(PARTS):
                file.seek((size - PART) * part // (PARTS - 1))
                digest.update(file.read(PART))
    return "dir-" + digest.hexdigest()[:40]


def _check(name: str, directory: Path) -> None:
    if not (directory / "config.json").is_file():
        raise UserError(
            f"teacher '{name}': {directory} holds no config.json; give the directory of a Hugging Face model"
        )
    if not any(directory.glob("*.safetensors")):
        raise UserError(
            f"teacher '{name}': {directory} holds no *.safetensors, and no other weights are loaded; convert the "
            f"model with save_pretrained"
        )


def quiet() -> None:
    """Silences what transformers and vLLM print while they load; a setting of the user's stays."""
    for variable, value in (
        ("TRANSFORMERS_VERBOSITY", "error"),
        ("HF_HUB_DISABLE_PROGRESS_BARS", "1"),
        ("TOKENIZERS_PARALLELISM", "false"),
        ("VLLM_LOGGING_LEVEL", "ERROR"),
        ("VLLM_NO_USAGE_STATS", "1"),
        ("TQDM_DISABLE", "1"),
    ):
        os.environ.setdefault(variable, value)
