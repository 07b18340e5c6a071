"""Uploads a directory to the Hugging Face hub.

The token is the one that huggingface_hub finds (HF_TOKEN, or `hf auth login`); it is never written
or printed here.
"""

import os
import re

from tinyllm_jax.errors import UserError


def check(name: str) -> None:
    """Checks what can be known before anything is written.

    Args:
      name: USER/NAME on the hub.

    Raises:
      UserError: it is not such a name, or there is no token.
    """
    import huggingface_hub

    if not re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        raise UserError(f"--push is '{name}'; give USER/NAME, the model's name on the hub")
    if not huggingface_hub.get_token():
        raise UserError("--push needs a token of the hub: set HF_TOKEN, or run `hf auth login`")


def push(directory: str | os.PathLike, name: str) -> str:
    """Uploads a directory as a model; the model is made where it does not exist.

    Args:
      directory: what to upload.
      name: USER/NAME on the hub.

    Returns:
      Its address.

    Raises:
      UserError: the hub did not take it. The directory stays as it is.
    """
    import huggingface_hub

    api = huggingface_hub.HfApi()
    try:
        address = api.create_repo(name, repo_type="model", exist_ok=True)
        api.upload_folder(repo_id=name, repo_type="model", folder_path=str(directory))
    except Exception as e:  # its errors share no base class, and come from three libraries
        reason = " ".join(str(e).split())
        token = huggingface_hub.get_token()
        if token:
            reason = reason.replace(token, "…")
        raise UserError(
            f"{directory} is written, but the hub did not take it as {name}: {reason[:200]}; "
            f"upload it again with `hf upload {name} {directory}`"
        ) from None
    return str(address)
