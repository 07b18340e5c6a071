r"""Answers per second: choice scoring and greedy generation, against transformers.

Rows and weights are real and the same. The peer pads each batch of questions, in their order, to
its longest. Scoring: one forward pass over (question, choice) rows. Greedy: `generate`, once for
answers, and once with the prompt that these weights were trained on ("write a title"), whose texts
are longer and differ in length. Outputs must be equal: every text, and every likelihood to 1e-3
nats (float32).

    python tests/benchmarks/bench_decode.py --tasks obqa,arc --questions 256 --batch 32,128 \
        --rounds 3
"""

import argparse

import common
import jax
import numpy as np
import torch
import transformers
from peers import pad

from tinyllm_jax.evaluation import score
from tinyllm_jax.student import inputs
from tinyllm_jax.student.student import Student
from tinyllm_jax.student.writing import generate


def main() -> None:
    """One table a task."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", default="obqa,arc")
    parser.add_argument("--questions", type=int, default=256)
    parser.add_argument("--batch", default="32,128", help="questions at once")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--most", type=int, default=64, help="tokens a text")
    arguments = parser.parse_args()
    common.need()
    torch.set_flush_denormal(True)
    student, params = common.students()["small"]
    params, device = jax.device_put(params), "cuda" if common.on_gpu() else "cpu"
    peer = transformers.T5ForConditionalGeneration.from_pretrained(
        common.WEIGHTS, dtype=getattr(torch, student.dtype)
    )
    peer.to(device)  # type: ignore[arg-type]  # transformers' decorator hides that it is a method
    peer.eval()
    for task in arguments.tasks.split(","):
        questions = [r.question for r in common.corpus_rows(task, "test")][: arguments.questions]
        lines = []
        for batch in map(int, arguments.batch.split(",")):
            for name, ours, theirs, same in ways(
                student, params, peer, device, questions, batch, arguments.most
            ):
                seconds = common.paired({"ours": ours, "transformers": theirs}, arguments.rounds)
                rates = [
                    len(questions) / common.median(seconds[k]) for k in ("ours", "transformers")
                ]
                lines.append(
                    (
                        name,
                        batch,
                        f"{rates[0]:.1f}",
                        f"{rates[1]:.1f}",
                        common.ratio(seconds["transformers"], seconds["ours"]),
                        same(ours(), theirs()),
                    )
                )
        common.table(
            f"**{task}, {len(questions)} test questions, small, {student.dtype}, "
            f"{jax.devices()[0].device_kind}**",
            ("what", "batch", "ours, questions/s", "transformers", "ratio", "outputs"),
            lines,
        )


def ways(student, params, peer, device, questions, batch, most):
    """(name, ours, theirs, comparison) of scoring and of greedy generation behind two prompts."""
    tokenizer = common.tokenizer()
    asked = Student(student, params, tokenizer, {"answer": "predict"}, 1024)
    encoded, _ = inputs.encode_questions(tokenizer, questions, "predict", 1024)
    yield (
        "score choices",
        lambda: score.likelihoods(asked, questions, encoded, batch),
        lambda: torch_likelihoods(peer, device, tokenizer, questions, encoded, batch),
        compare_likelihoods,
    )
    for name, prefix in (("greedy answers", "predict"), ("greedy titles", "write a title")):
        ids, _ = inputs.encode_questions(tokenizer, questions, prefix, 1024)
        yield (
            name,
            lambda ids=ids: generate(asked, ids, most, batch),
            lambda ids=ids: torch_generate(peer, device, tokenizer, ids, most, batch),
            compare_texts,
        )


def torch_likelihoods(model, device, tokenizer, questions, encoded, batch) -> list[np.ndarray]:
    """The log-likelihood of each choice, in batches of `batch` questions' choices."""
    choices = [inputs.encode_targets(tokenizer, q.choices, 1024)[0] for q in questions]
    found = []
    with torch.inference_mode():
        for i in range(0, len(questions), batch):
            part = choices[i : i + batch]
            rows = []
            for ids, some in zip(encoded[i : i + batch], part, strict=True):
                rows += [ids] * len(some)
            asked = pad(rows, device)
            labels = pad([ids for some in part for ids in some], device)
            logits = model(
                input_ids=asked,
                attention_mask=(asked != 0).long(),
                use_cache=False,
                decoder_input_ids=torch.nn.functional.pad(labels, (1, 0))[:, :-1],
            ).logits
            each = -torch.nn.functional.cross_entropy(
                logits.float().flatten(0, 1), labels.flatten(), reduction="none", ignore_index=0
            )
            sums = each.view(labels.shape).sum(1).cpu().numpy()
            found += np.split(sums, np.cumsum([len(some) for some in part])[:-1])
    return found


def torch_generate(model, device, tokenizer, encoded, most, batch) -> list[str]:
    """Greedy texts."""
    texts = []
    with torch.inference_mode():
        for i in range(0, len(encoded), batch):
            asked = pad(encoded[i : i + batch], device)
            out = model.generate(
                input_ids=asked,
                attention_mask=(asked != 0).long(),
                max_new_tokens=most,
                do_sample=False,
                num_beams=1,
            )
            texts += tokenizer.batch_decode(out, skip_special_tokens=True)
    return [text.strip() for text in texts]


def compare_likelihoods(ours, theirs) -> str:
    """The largest difference, in nats."""
    worst = max(float(np.abs(a - b).max()) for (a, _), b in zip(ours, theirs, strict=True))
    return f"{'equal' if worst < 1e-3 else 'DIFFERENT'} to {worst:.0e} nats"


def compare_texts(ours, theirs) -> str:
    """How many texts are equal, and their mean length."""
    same = sum(a == b for (a, _), b in zip(ours, theirs, strict=True))
    words = np.mean([len(common.tokenizer()(text)["input_ids"]) for text, _ in ours])
    return f"{same} of {len(theirs)} equal, {words:.1f} tokens a text"


if __name__ == "__main__":
    main()
