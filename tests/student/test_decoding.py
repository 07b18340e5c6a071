"""Greedy generation against transformers and against decoding without a cache; choices against one by one."""

import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from oracle import BOTH, T5_11, apply, batch, close, random_params

from tinyllm_jax.student import decoding, hf, inputs, model

TOKENS = 24


def test_greedy_equals_transformers(twins):
    torch = pytest.importorskip("torch")
    config, params, oracle = twins
    asked = batch(7, rows=12)
    theirs = oracle.generate(torch.tensor(asked, dtype=torch.long), attention_mask=torch.tensor(asked != 0).long(),
                             max_new_tokens=TOKENS, do_sample=False, num_beams=1).numpy()[:, 1:]
    ours = np.asarray(decoding.greedy(config, params, asked, TOKENS))
    assert ours.shape == (12, TOKENS) and ours.dtype == np.int32
    np.testing.assert_array_equal(ours[:, :theirs.shape[1]], theirs)
    assert not ours[:, theirs.shape[1]:].any()
    assert len(np.unique(theirs)) > 3


@pytest.mark.parametrize("version", BOTH)
def test_cached_equals_uncached_and_stops_at_the_end(version):
    config, params, asked = BOTH[version], random_params(BOTH[version], 3), batch(8, rows=12)
    if version == "1.1":  # so that some rows end early
        params["lm_head"]["kernel"] = params["lm_head"]["kernel"].at[:, 1].multiply(2.5)
    cached = np.asarray(decoding.greedy(config, params, asked, TOKENS))
    told = np.zeros((12, TOKENS), np.int32)
    ended = np.zeros(12, bool)
    for i in range(TOKENS):
        logits = apply(config, params, asked, np.asarray(model.shift_right(told)))
        told[:, i] = np.where(ended, 0, np.argmax(logits[:, i], axis=-1))
        ended |= told[:, i] == 1
    np.testing.assert_array_equal(cached, told)
    if version == "1.1":
        assert 0 < ended.sum() < 12, "the test needs rows that end and rows that do not"


def test_padding_rows_write_nothing():
    asked = np.concatenate([batch(rows=3), np.zeros((2, 24), np.int32)])
    tokens = np.asarray(decoding.greedy(T5_11, random_params(T5_11), asked, 8))
    assert not tokens[3:].any() and tokens[:3].any(axis=1).all()


def _always(token):
    """A student that always writes `token`: the decoder's stream is 1 everywhere, and only `token` reads it."""
    params = random_params(T5_11)
    params["embedding"] = jnp.ones((40, 24))
    params["decoder"]["layers"] = jax.tree.map(jnp.zeros_like, params["decoder"]["layers"])
    params["decoder"]["final_norm"]["scale"] = jnp.ones(24)
    params["lm_head"]["kernel"] = jnp.zeros((24, 40)).at[:, token].set(1)
    return params


def test_leaves_early_when_all_rows_have_ended():
    seconds = {}
    for token in (1, 5):  # the end of sequence, and another
        params = _always(token)
        tokens = decoding.greedy(T5_11, params, batch(), 400)
        assert int((tokens == token).sum()) == int((tokens != 0).sum()) == (4 if token == 1 else 1600)
        began = time.perf_counter()
        jax.block_until_ready(decoding.greedy(T5_11, params, batch(), 400))
        seconds[token] = time.perf_counter() - began
    assert seconds[1] < seconds[5] / 4


@pytest.mark.parametrize("version", BOTH)
def test_scores_equal_each_choice_alone(version):
    config, params, asked = BOTH[version], random_params(BOTH[version], 2), batch(9, rows=3)
    choices = batch(10, rows=12, length=6).reshape(3, 4, 6)
    choices[1, 3] = 0  # a question with three choices
    total, tokens = decoding.score_choices(config, params, asked, choices)
    assert total.shape == tokens.shape == (3, 4) and total.dtype == jnp.float32
    np.testing.assert_array_equal(tokens, (choices != 0).sum(-1))
    want = np.zeros((3, 4), np.float32)
    for c in range(4):
        logits = apply(config, params, asked, np.asarray(model.shift_right(choices[:, c])))
        logs = np.take_along_axis(np.asarray(jax.nn.log_softmax(logits)), choices[:, c, :, None], -1)[..., 0]
        want[:, c] = (logs * (choices[:, c] != 0)).sum(-1)
    close(total, want, 1e-4)
    assert total[1, 3] == 0


def test_compiles_once_per_shape():
    params = random_params(T5_11)
    before = decoding.greedy._cache_size(), decoding.score_choices._cache_size()
    for seed in range(3):
        decoding.greedy(T5_11, params, batch(seed, rows=5), 7)
        decoding.score_choices(T5_11, params, batch(seed, rows=5), batch(seed, rows=10, length=5).reshape(5, 2, 5))
    assert (decoding.greedy._cache_size(), decoding.score_choices._cache_size()) == (before[0] + 1, before[1] + 1)


def test_real_weights(flan_t5_small):
    """Logits and greedy text of real weights, against transformers."""
    torch = pytest.importorskip("torch")
    import oracle

    config, params = hf.load_hf(flan_t5_small)
    theirs, tokenizer = oracle.torch_t5(flan_t5_small), inputs.load_tokenizer(flan_t5_small)
    texts = ["Write a title: a quick brown fox jumps over a lazy dog while the cat watches.",
             "Question: which gas do plants take in?\nAnswer Choices:\n(a) oxygen\n(b) carbon dioxide"]
    ids, _ = inputs.encode_targets(tokenizer, texts, 64)
    asked = np.zeros((2, 32), np.int32)
    for row, some in zip(asked, ids):
        row[:len(some)] = some
    mask = torch.tensor(asked != 0).long()
    generated = theirs.generate(torch.tensor(asked).long(), attention_mask=mask, max_new_tokens=16, do_sample=False,
                                num_beams=1).numpy()
    tokens = np.asarray(decoding.greedy(config, params, asked, 16))
    np.testing.assert_array_equal(tokens[:, :generated.shape[1] - 1], generated[:, 1:])
    assert "fox" in tokenizer.decode(tokens[0], skip_special_tokens=True)
    with torch.no_grad():
        logits = theirs(input_ids=torch.tensor(asked).long(), attention_mask=mask,
                        decoder_input_ids=torch.tensor(generated).long()).logits
    close(apply(config, params, asked, generated.astype(np.int32)), logits, 1e-4)
