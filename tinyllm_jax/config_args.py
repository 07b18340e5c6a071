"""The argument of a config file: what stands behind it on the command line, `CONFIG.py:ARG`."""

import ml_collections

from tinyllm_jax.errors import UserError, unknown


def parse_arg(arg: str | None, **defaults: str) -> ml_collections.ConfigDict:
    """Reads an argument such as "task=obqa,student=small".

    The defaults are the specification (after big_vision's `parse_arg`): an argument may name no
    other keys. All values are strings.

    Args:
      arg: the argument; None or "" where there is none.
      **defaults: the keys that an argument may have, with the values of those that it leaves out.

    Returns:
      The value of every key.

    Raises:
      UserError: a key that is not among the defaults, or one without a value.
    """
    values = dict(defaults)
    for part in filter(None, (arg or "").split(",")):
        key, equals, value = part.partition("=")
        if key not in values:
            raise unknown("config argument", key, values)
        if not equals:
            raise UserError(f"config argument '{part}' has no value; write {key}=VALUE")
        values[key] = value
    return ml_collections.ConfigDict(values)
