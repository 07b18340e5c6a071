"""Tiny teachers with random weights and real tokenizers, and questions for them.

Also run as a process by the tests, for a job of the teacher `tiny`, DELAY seconds slower a row:

    python tiny.py OUT MODEL SOURCE DELAY

MODEL is a directory, or "shape" for the scripted teacher.
"""

import json
import pathlib
import sys
import time
import unittest.mock

TEXT = [
    "Question: Options: Answer: Rationale: Let's think step by step. "
    "So the answer is (a) (b). Context:",
    "Why is thing number 0 1 2 3 4 5 6 7 8 9 red? "
    "Because it is made of iron, and iron rusts in the rain.",
]


def questions(directory: pathlib.Path, count: int = 24) -> str:
    """Writes questions of different lengths, and examples, to `directory`; returns their source."""
    directory.mkdir(parents=True, exist_ok=True)
    rows = [
        {
            "id": f"q{i}",
            "question": f"Why is thing number {i} red?" + " Say why." * (i % 7),
            "context": "It stood in the rain. " * (i % 3),
            "choices": ["rust", f"paint {i}"],
            "answer": "rust",
        }
        for i in range(count)
    ]
    (directory / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    examples = [
        {"question": rows[i]["question"], "rationale": f"Iron number {i} rusts in the rain."}
        for i in range(3)
    ]
    (directory / "examples.jsonl").write_text("".join(json.dumps(row) + "\n" for row in examples))
    return f"jsonl:{directory}"


def _tokenizer(directory: pathlib.Path, eos: bool):
    import tokenizers
    import transformers

    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    special = ["<pad>", "</s>"]
    tokenizer.train_from_iterator(
        TEXT,
        tokenizers.trainers.BpeTrainer(
            vocab_size=330,
            special_tokens=special,
            initial_alphabet=tokenizers.pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    if eos:
        tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single="$A </s>", special_tokens=[("</s>", 1)]
        )
    made = transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>"
    )
    made.chat_template = (
        "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
    )
    made.save_pretrained(directory)
    return made


def make(directory: pathlib.Path, kind: str) -> pathlib.Path:
    """A tiny model, "causal" (Llama) or "t5", as a Hugging Face directory."""
    import torch
    import transformers

    tokenizer = _tokenizer(directory, eos=kind == "t5")
    torch.manual_seed(0)
    model: transformers.PreTrainedModel
    if kind == "t5":
        model = transformers.T5ForConditionalGeneration(
            transformers.T5Config(
                vocab_size=len(tokenizer),
                d_model=32,
                d_kv=8,
                d_ff=64,
                num_layers=2,
                num_heads=4,
                feed_forward_proj="gated-gelu",
                decoder_start_token_id=0,  # type: ignore[call-arg]  # every config takes it
            )
        )
        # So that the layers outweigh the tied embedding, which would only repeat the last token.
        with torch.no_grad():
            for name, weight in model.named_parameters():
                weight.mul_(20 if name.endswith(("wo.weight", "o.weight")) else 1)
    else:
        model = transformers.LlamaForCausalLM(
            transformers.LlamaConfig(
                vocab_size=len(tokenizer),
                hidden_size=64,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=2,
                max_position_embeddings=512,
                eos_token_id=1,
                pad_token_id=0,
                initializer_range=0.3,
            )
        )
    model.save_pretrained(directory)
    return directory


def spec(model: pathlib.Path, source: str, **changes):
    """The fields of a tiny teacher."""
    from tinyllm_jax.teachers import config

    fields = dict(
        engine="transformers",
        model=str(model),
        max_tokens=12,
        batch_tokens=1500,
        examples=str(pathlib.Path(source.removeprefix("jsonl:")) / "examples.jsonl"),
    )
    return config.teacher(**{**fields, **changes})


def main(out: str, model: str, source: str, delay: str) -> int:
    """Runs the job; the exit status of `tinyllm teach`."""
    from tinyllm_jax.teachers import config, job

    class SlowLog(job.Log):
        def append(self, row):
            time.sleep(float(delay))
            super().append(row)

    if model == "shape":
        task, teacher = "things", config.scripted()["shape"]
    else:
        task, teacher = "custom", spec(pathlib.Path(model), source)
    with unittest.mock.patch.object(job, "Log", SlowLog):
        return 3 if job.teach(task, source, {"tiny": teacher}, out)["tiny"].stopped else 0


if __name__ == "__main__":
    from tinyllm_jax.errors import UserError

    try:
        sys.exit(main(*sys.argv[1:5]))
    except UserError as error:
        sys.exit(f"tinyllm: {error}")
