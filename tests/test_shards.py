"""What names a shard."""

import pytest

from tinyllm_jax import shards
from tinyllm_jax.errors import UserError


def test_a_shard_is_named_by_its_number_and_theirs():
    assert shards.parse("0/1") == (0, 1)
    assert shards.parse("3/16") == (3, 16)


@pytest.mark.parametrize(
    "text, words",
    [
        ("1", "--shard is '1'; write i/n"),
        ("-1/2", "write i/n"),
        ("2/2", "there is no shard 2/2; 2 shards are 0/2 to 1/2"),
        ("0/0", "there is no shard 0/0"),
    ],
)
def test_another_text_is_refused(text, words):
    with pytest.raises(UserError, match=words):
        shards.parse(text)


def test_a_shard_of_a_program_is_checked_too():
    shards.check((1, 2))
    with pytest.raises(UserError, match="there is no shard -1/2"):
        shards.check((-1, 2))
