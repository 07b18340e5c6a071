"""A share of work that several machines deal among themselves: shard i of n, counted from 0."""

import re

from tinyllm_jax.errors import UserError


def parse(text: str) -> tuple[int, int]:
    """The shard (i, n) that a --shard names as "i/n".

    Raises:
      UserError: it is not of that form, or there is no such shard.
    """
    found = re.fullmatch(r"(\d+)/(\d+)", text)
    if not found:
        raise UserError(f"--shard is '{text}'; write i/n, e.g. 0/4")
    shard = int(found[1]), int(found[2])
    check(shard)
    return shard


def check(shard: tuple[int, int]) -> None:
    """Checks that there is such a shard.

    Raises:
      UserError: i is not from 0 to n - 1.
    """
    index, count = shard
    if not 0 <= index < count:
        raise UserError(
            f"there is no shard {index}/{count}; {count} shards are 0/{count} to "
            f"{count - 1}/{count}"
        )
