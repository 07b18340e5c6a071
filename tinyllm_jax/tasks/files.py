"""What the readers of question files share: the file of each split, and absent fields."""

from collections.abc import Collection, Sequence

from etils import epath

from tinyllm_jax import storage
from tinyllm_jax.errors import UserError
from tinyllm_jax.tasks.question import SPLITS


def split_files(path: str, suffix: str) -> dict[str, epath.Path]:
    """The files of questions by split.

    Args:
      path: a directory, which is searched for one file per split, e.g. `train.jsonl`; or a file,
        which need not exist and is returned as the file of the split train.
      suffix: how the files of a directory end, e.g. ".jsonl".

    Raises:
      UserError: a directory has none of the files.
    """
    root = storage.path(path).expanduser()
    if not root.is_dir():
        return {"train": root}
    files = {split: root / f"{split}{suffix}" for split in SPLITS}
    existing = {split: file for split, file in files.items() if file.exists()}
    if not existing:
        raise UserError(f"{root} has none of {', '.join(file.name for file in files.values())}")
    return existing


def absent_fields(row: Collection[str], needed: Sequence[str]) -> str:
    """A message such as "no field choices, answer" about a row's fields; "" when none is absent."""
    absent = [field for field in needed if field not in row]
    return f"no field {', '.join(absent)}" if absent else ""
