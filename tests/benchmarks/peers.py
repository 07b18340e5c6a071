"""The peers in PyTorch: the reference's way, and the best plain one. Both compute our objective.

The reference (its `tiny.py` and `model_utils.py`): batches of 8 questions, inputs padded to a fixed
length, three forward passes (answer and two teachers), labels padded to the batch's longest, and
the three losses summed. Where it takes each pass's own mean, tokens here are divided by the count
in the whole batch, so that accumulated microbatches give the same loss as ours.
"""

import torch
import transformers

from tinyllm_jax.student import inputs
from tinyllm_jax.student.student import ANSWER

MICROBATCH = 8


def pad(rows, device, length=0) -> torch.Tensor:
    """Token ids as one table, padded to the longest row, or to `length` where that is longer."""
    table = torch.zeros((len(rows), max(length, *map(len, rows))), dtype=torch.long)
    for row, ids in zip(table, rows, strict=True):
        row[: len(ids)] = torch.tensor(ids)
    return table.to(device)


def encode(run, tokenizer, rows) -> dict[str, tuple[list, list]]:
    """Per term, the rows' input ids and target ids."""
    found = {}
    for term in run.objective.terms:
        asked, _ = inputs.encode_questions(
            tokenizer, [r.question for r in rows], run.objective.prefixes[term], 1024
        )
        texts = [r.question.answer if term == ANSWER else r.rationales[term].text for r in rows]
        found[term] = asked, inputs.encode_targets(tokenizer, texts, 256)[0]
    return found


class Torch:
    """A T5 in transformers with fused AdamW; its steps take what `encode` gives."""

    def __init__(self, directory, run, device="cpu", dtype=torch.float32):
        # A T5's softmax makes denormals, which a CPU computes ten times slower.
        torch.set_flush_denormal(True)
        self.model = transformers.T5ForConditionalGeneration.from_pretrained(
            directory, dtype=torch.float32
        ).to(device)
        self.model.eval()  # no dropout
        self.tuned = torch.optim.AdamW(
            self.model.parameters(), lr=5e-5, weight_decay=0.0, fused=True
        )
        self.run, self.device, self.dtype = run, device, dtype

    def _loss(self, asked, targets, weights, length=0) -> torch.Tensor:
        asked, labels = pad(asked, self.device, length), pad(targets, self.device)
        with torch.autocast(self.device, dtype=self.dtype, enabled=self.dtype != torch.float32):
            logits = self.model(
                input_ids=asked,
                attention_mask=(asked != 0).long(),
                decoder_input_ids=torch.nn.functional.pad(labels, (1, 0))[:, :-1],
                use_cache=False,
            ).logits
        each = torch.nn.functional.cross_entropy(
            logits.float().flatten(0, 1), labels.flatten(), reduction="none", ignore_index=0
        )
        return (each.view(labels.shape) * torch.tensor(weights, device=self.device)[:, None]).sum()

    def reference(self, found: dict, length: int) -> float:
        """One step of the reference's way; the loss."""
        total = 0.0
        self.tuned.zero_grad()
        count = len(next(iter(found.values()))[0])
        for start in range(0, count, MICROBATCH):
            part, loss = slice(start, start + MICROBATCH), torch.zeros((), device=self.device)
            for term, weight in self.run.objective.terms.items():
                asked, targets = found[term]
                loss = loss + self._loss(
                    asked[part],
                    targets[part],
                    [weight / sum(map(len, targets))] * len(asked[part]),
                    length,
                )
            loss.backward()
            total += loss.item()
        self.tuned.step()
        return total

    def plain(self, found: dict) -> float:
        """One step as well as plain PyTorch does it; the loss.

        Every term is in one forward pass, padded to the longest row.
        """
        terms = self.run.objective.terms
        asked = [ids for term in terms for ids in found[term][0]]
        targets = [ids for term in terms for ids in found[term][1]]
        weights = [w / sum(map(len, found[t][1])) for t, w in terms.items() for _ in found[t][1]]
        self.tuned.zero_grad()
        loss = self._loss(asked, targets, weights)
        loss.backward()
        self.tuned.step()
        return loss.item()
