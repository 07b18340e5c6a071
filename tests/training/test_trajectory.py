"""Ten steps beside the reference's way in PyTorch: three forward passes, and a weighted sum.

The losses are summed with the paper's γ, α and β.
Real FLAN-T5-small-architecture weights, the real tokenizer, the released OBQA corpus; dropout off.
Both sides compute in float64: with these weights float32 does not determine the encoder's gradients
beyond the fourth digit, and after five steps PyTorch's own float32 is 2e-4 from its float64.
"""

import functools
import string

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from transformers.models.t5 import modeling_t5

from tinyllm_jax.corpus.store import Corpus
from tinyllm_jax.student import hf
from tinyllm_jax.training import data, initial, optimizer
from tinyllm_jax.training.run import Objective, Run
from tinyllm_jax.training.step import init_state, make_step
from tinyllm_jax.training.tokens import tokenize

STEPS, BATCH = 10, 4
WEIGHTS = {"answer": 1.0, "flan-t5-xl": 0.5, "llama-2-7b-chat": 2.0}  # γ, α, β
PREFIX = {"answer": "predict: ", "flan-t5-xl": "explain: ", "llama-2-7b-chat": "rationale: "}


@pytest.fixture
def float64(monkeypatch):
    """Lets both sides compute in float64, also where each of them says float32."""

    def norm(self, x):
        variance = x.pow(2).mean(-1, keepdim=True)
        return self.weight * x * torch.rsqrt(variance + self.variance_epsilon)

    monkeypatch.setattr(modeling_t5.T5LayerNorm, "forward", norm)
    monkeypatch.setattr(jnp, "float32", jnp.float64)
    with jax.enable_x64(True):
        yield


def reference_losses(directory, tokenizer, rows_by_step) -> list[float]:
    """What the reference's `compute_loss` and AdamW do, on texts that transformers tokenises."""
    model = transformers.T5ForConditionalGeneration.from_pretrained(directory, dtype=torch.float64)
    model.eval()  # no dropout
    tuned = torch.optim.AdamW(model.parameters(), lr=5e-5, weight_decay=0.0)
    decay = torch.optim.lr_scheduler.LambdaLR(tuned, lambda step: 1 - step / STEPS)
    losses = []
    for rows in rows_by_step:
        loss = torch.zeros((), dtype=torch.float64)
        for term, weight in WEIGHTS.items():
            texts = []
            for row in rows:
                choices = "".join(
                    f"\n({letter}) {choice}"
                    for letter, choice in zip(
                        string.ascii_lowercase, row.question.choices, strict=False
                    )
                )
                texts.append(f"{PREFIX[term]}{row.question.question}\nAnswer Choices:{choices}")
            targets = [
                row.question.answer if term == "answer" else row.rationales[term].text
                for row in rows
            ]
            encoded = tokenizer(texts, padding=True, return_tensors="pt")
            labels = tokenizer(
                targets, padding=True, truncation=True, max_length=256, return_tensors="pt"
            ).input_ids
            labels[labels == 0] = -100
            loss = loss + weight * model(**encoded, labels=labels).loss
        tuned.zero_grad()
        loss.backward()
        tuned.step()
        decay.step()
        losses.append(loss.item())
    return losses


def test_ten_steps_follow_the_reference(released_corpus, flan_t5_small, float64):
    corpus = released_corpus("obqa")
    # An empty rationale trains the reference's end of sequence, and nothing here; the shortest
    # rows, to be quick.
    rows = [
        r
        for r in Corpus(corpus).rows("train")
        if len([x for x in r.rationales.values() if x.text]) == 2
    ]
    rows = sorted(
        rows,
        key=lambda r: len(r.question.question) + max(len(x.text) for x in r.rationales.values()),
    )
    rows = rows[: STEPS * BATCH]
    tokenizer = transformers.AutoTokenizer.from_pretrained(flan_t5_small)
    run = Run(objective=Objective(teachers={"flan-t5-xl": 0.5, "llama-2-7b-chat": 2.0}))
    run = run.resolve(("flan-t5-xl", "llama-2-7b-chat"))
    assert run.objective.terms == WEIGHTS
    student, params = hf.load_hf(flan_t5_small, dropout_rate=0.0)
    asked = initial.student_of(run, student, params, tokenizer)
    tokens = tokenize(rows, asked, list(WEIGHTS), run.lengths.target)
    assert tokens.report["terms"]["llama-2-7b-chat"]["targets_cut"] == 0
    batches = data.Batches(tokens, list(WEIGHTS.values()), BATCH, seed=0)

    object.__setattr__(student, "dtype", "float64")  # which a user cannot choose
    params = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), params)
    tx = optimizer.make_optimizer(run.optimizer, STEPS)
    state = jax.jit(functools.partial(init_state, optimizer=tx, lora_only=False))(params)
    step = jax.jit(make_step(student, tx, seed=0), donate_argnums=0)
    ours, rows_by_step = [], []
    for i in range(STEPS):
        batch = batches(i)
        batch.pop("tokens")
        state, out = step(state, batch)
        ours.append(float(out["loss"]))
        rows_by_step.append([rows[q] for q in batches.planned(i).index])
    np.testing.assert_allclose(
        ours, reference_losses(flan_t5_small, tokenizer, rows_by_step), rtol=1e-6
    )
