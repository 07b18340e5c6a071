"""Greedy generation against transformers and against decoding without a cache; scoring.

The likelihoods of packed targets are compared with those of each target alone.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import BOTH, T5_11, apply, batch, close, random_params

from tinyllm_jax.batching.arrays import pack
from tinyllm_jax.student import decoding, hf, inputs, model, partition
from tinyllm_jax.training import sharding
from tinyllm_jax.training.run import MeshShape

TOKENS = 24


def alone(ids, length):
    """Token ids in a row of their own, padded to `length`: all such rows are compiled once."""
    return np.array([ids + [0] * (length - len(ids))], np.int32)


def test_greedy_equals_transformers(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    asked = batch(7, rows=12)
    theirs = oracle.generate(
        torch.tensor(asked, dtype=torch.long),
        attention_mask=torch.tensor(asked != 0).long(),
        max_new_tokens=TOKENS,
        do_sample=False,
        num_beams=1,
    ).numpy()[:, 1:]
    ours = np.asarray(decoding.greedy(config, params, asked, TOKENS))
    assert ours.shape == (12, TOKENS) and ours.dtype == np.int32
    np.testing.assert_array_equal(ours[:, : theirs.shape[1]], theirs)
    assert not ours[:, theirs.shape[1] :].any()
    assert len(np.unique(theirs)) > 3


@pytest.mark.parametrize("version", BOTH)
def test_cached_equals_uncached_and_stops_at_the_end(version):
    config, params, asked = BOTH[version], random_params(BOTH[version], 3), batch(8, rows=12)
    if version == "1.1":  # so that some rows end early
        params["lm_head"]["kernel"] = params["lm_head"]["kernel"].at[:, 1].multiply(2.5)
    cached = np.asarray(decoding.greedy(config, params, asked, TOKENS))
    written = np.zeros((12, TOKENS), np.int32)
    ended = np.zeros(12, bool)
    for i in range(TOKENS):
        logits = apply(config, params, asked, np.asarray(model.shift_right(written)))
        written[:, i] = np.where(ended, 0, np.argmax(logits[:, i], axis=-1))
        ended |= written[:, i] == 1
    np.testing.assert_array_equal(cached, written)
    if version == "1.1":
        assert 0 < ended.sum() < 12, "the test needs rows that end and rows that do not"


def test_what_is_not_asked_writes_nothing():
    asked = np.concatenate([batch(rows=3), np.zeros((2, 24), np.int32)])
    tokens = decoding.greedy(T5_11, random_params(T5_11), asked, 8)
    assert not tokens[3:].any() and tokens[:3].any(axis=1).all()


@pytest.fixture
def small_steps(monkeypatch):
    """Sizes at which rows are often dropped and the cache often grows; (rows, length) of each."""
    calls, advance = [], decoding._advance
    monkeypatch.setattr(
        decoding, "_advance", lambda *a: calls.append(a[4]["tokens"].shape) or advance(*a)
    )
    monkeypatch.setattr(decoding, "CACHE", 3)
    monkeypatch.setattr(decoding, "FACTOR", 2)
    monkeypatch.setattr(decoding, "FEWEST", 1)
    return calls


@pytest.fixture(scope="module")
def some_end():
    """Parameters, 40 questions, and their texts, of which some end."""
    params, asked = random_params(T5_11, 3), batch(8, rows=40)
    params["lm_head"]["kernel"] = params["lm_head"]["kernel"].at[:, 1].multiply(3.0)
    plain = decoding.greedy(T5_11, params, asked, TOKENS)
    ended = (plain == 1).any(1)
    assert 0 < ended.sum() < 40, "the test needs rows that end and rows that do not"
    return params, asked, plain


def test_rows_that_end_are_dropped_and_the_cache_grows(some_end, small_steps):
    """Every size of the batch and of the cache is passed through, and the texts stay the same."""
    params, asked, plain = some_end
    np.testing.assert_array_equal(decoding.greedy(T5_11, params, asked, TOKENS), plain)
    assert len({length for _, length in small_steps}) > 2
    assert len({rows for rows, _ in small_steps}) > 1


@pytest.mark.parametrize("fsdp", [1, 4])
def test_devices_that_share_the_rows_write_the_same(some_end, small_steps, fsdp):
    params, asked, plain = some_end
    mesh = sharding.make_mesh(MeshShape(fsdp=fsdp))
    there = jax.device_put(params, sharding.state_shardings(params, mesh))
    with partition.mesh_of(there):
        np.testing.assert_array_equal(decoding.greedy(T5_11, there, asked, TOKENS), plain)
    assert {rows for rows, _ in small_steps} == {40, 16}
    assert {length for _, length in small_steps} == {3, 6, 12, 24}


def test_packed_rows_write_what_each_question_alone_does():
    params = random_params(T5_11, 3)
    rows = zip(batch(8, rows=12), range(3, 15), strict=True)
    asked = [row[row != 0][:n].tolist() for row, n in rows]
    found, shared = np.zeros((12, TOKENS), np.int32), 0
    for packed in pack(asked, [[[0]]] * 12, 5):
        slots = packed["target_inputs"]
        shared += np.count_nonzero(np.count_nonzero(slots, axis=1) > 1)
        tokens = decoding.greedy(
            T5_11, params, packed["inputs"], TOKENS, packed["input_segments"], slots
        )
        at = np.flatnonzero(slots.reshape(-1))
        found[slots.reshape(-1)[at] - 1] = tokens[at]
    assert shared > 2
    for ids, tokens in zip(asked, found, strict=True):
        np.testing.assert_array_equal(
            decoding.greedy(T5_11, params, alone(ids, 24), TOKENS)[0], tokens
        )


def test_prefix_tokens_come_first_and_are_not_returned():
    params, asked, prefix = random_params(T5_11), batch(rows=3), [7, 9]
    tokens = decoding.greedy(T5_11, params, asked, 6, prefix_tokens=prefix)
    assert tokens.shape == (3, 6)
    start = np.zeros((3, 1), int)
    so_far = np.concatenate([start, np.tile(prefix, (3, 1)), tokens[:, :-1]], axis=1)
    logits = np.asarray(apply(T5_11, params, asked, so_far))[:, 2:]
    running = np.cumsum(tokens == 1, axis=1) - (tokens == 1) == 0
    np.testing.assert_array_equal(logits.argmax(-1)[running], tokens[running])


def _always(token):
    """A student that always writes `token`.

    The decoder's stream is 1 everywhere, and only the logit of `token` reads it.
    """
    params = random_params(T5_11)
    params["embedding"] = jnp.ones((40, 24))
    params["decoder"]["layers"] = jax.tree.map(jnp.zeros_like, params["decoder"]["layers"])
    params["decoder"]["final_norm"]["scale"] = jnp.ones(24)
    params["lm_head"]["kernel"] = jnp.zeros((24, 40)).at[:, token].set(1)
    return params


def test_leaves_early_when_all_rows_have_ended(monkeypatch):
    calls, advance = [], decoding._advance
    monkeypatch.setattr(decoding, "_advance", lambda *a: calls.append(1) or advance(*a))
    for token in (1, 5):  # the end of sequence, and another
        calls.clear()
        tokens = decoding.greedy(T5_11, _always(token), batch(), 400)
        assert (
            int((tokens == token).sum()) == int((tokens != 0).sum()) == (4 if token == 1 else 1600)
        )
        assert len(calls) == (1 if token == 1 else 3)  # caches of 32, 128 and 400 tokens


@pytest.mark.parametrize("version", BOTH)
def test_scores_equal_each_target_alone(version):
    config, params = BOTH[version], random_params(BOTH[version], 2)
    asked = [row[row != 0].tolist() for row in batch(9, rows=5)]
    choices = [
        [row[row != 0].tolist() for row in batch(10 + q, rows=4 - q % 2, length=6)]
        for q in range(5)
    ]
    sums, tokens = np.zeros(20), np.zeros(20, int)
    for packed in pack(asked, choices, 2):
        logs = np.asarray(decoding.score(config, params, packed))
        segments = packed["target_segments"]
        np.add.at(sums, segments[segments > 0] - 1, logs[segments > 0])
        np.add.at(tokens, segments[segments > 0] - 1, 1)
    flat = [(ids, choice) for ids, some in zip(asked, choices, strict=True) for choice in some]
    # The arrays have room for 20 targets; 18 are given.
    for (ids, choice), found, count in zip(flat, sums, tokens, strict=False):
        before = np.asarray(model.shift_right(alone(choice, 6)))
        logits = apply(config, params, alone(ids, 24), before)
        logs = np.asarray(jax.nn.log_softmax(logits))[0]
        np.testing.assert_allclose(
            found, sum(logs[i, t] for i, t in enumerate(choice)), rtol=1e-4, atol=1e-4
        )
        assert count == len(choice)


def test_compiles_once_per_shape():
    params = random_params(T5_11)
    before = (
        decoding._read._cache_size(),
        decoding._advance._cache_size(),
        decoding.score._cache_size(),
    )
    for seed in range(3):
        decoding.greedy(T5_11, params, batch(seed, rows=9), 7)
        decoding.score(T5_11, params, pack([[5, 6, 1]] * 5, [[[3, seed + 4, 1]]] * 5, 5)[0])
    after = (
        decoding._read._cache_size(),
        decoding._advance._cache_size(),
        decoding.score._cache_size(),
    )
    assert [b - a for a, b in zip(before, after, strict=True)] == [1, 1, 1]


def test_real_weights(flan_t5_small, full_compilation):
    """Logits and greedy text of real weights, against transformers."""
    torch = pytest.importorskip("torch")
    import oracle

    config, params = hf.load_hf(flan_t5_small)
    theirs, tokenizer = oracle.torch_t5(flan_t5_small), inputs.load_tokenizer(flan_t5_small)
    texts = [
        "Write a title: a quick brown fox jumps over a lazy dog while the cat watches.",
        "Question: which gas do plants take in?\nAnswer Choices:\n(a) oxygen\n(b) carbon dioxide",
    ]
    ids, _ = inputs.encode_targets(tokenizer, texts, 64)
    asked = np.zeros((2, 32), np.int32)
    for row, some in zip(asked, ids, strict=True):
        row[: len(some)] = some
    mask = torch.tensor(asked != 0).long()
    generated = theirs.generate(
        torch.tensor(asked).long(),
        attention_mask=mask,
        max_new_tokens=16,
        do_sample=False,
        num_beams=1,
    ).numpy()
    tokens = np.asarray(decoding.greedy(config, params, asked, 16))
    np.testing.assert_array_equal(tokens[:, : generated.shape[1] - 1], generated[:, 1:])
    assert "fox" in tokenizer.decode(tokens[0], skip_special_tokens=True)
    # In float32 its own rounding is as large as ours, and logits are as large as 80.
    theirs.double()
    with torch.no_grad():
        logits = theirs(
            input_ids=torch.tensor(asked).long(),
            attention_mask=mask,
            decoder_input_ids=torch.tensor(generated).long(),
        ).logits
    close(apply(config, params, asked, generated.astype(np.int32)), logits, 1e-4)
