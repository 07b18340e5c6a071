"""Teachers of six billion parameters and more on one GPU of 40 GB; more GPUs by tensor_parallel.

    tinyllm teach --config configs/teachers.py --task obqa --source hf --out logs/obqa
    tinyllm teach --config configs/teachers.py --teachers qwen
    --config.teachers.qwen.tensor_parallel=4 --task obqa --source hf --out logs/obqa

A name with a dash is written '--config.teachers["flan-t5-xl"].max_tokens=200'. The first is the
paper's encoder-decoder teacher (arXiv 2402.04616), the second its decoder-only one (a licence on
the hub must be accepted first), the third a newer one that is asked for its own answers first,
eight times each, and is shown the gold one only where it never reaches it. Time and result: not
measured, for want of such a GPU.
"""

import ml_collections

from tinyllm_jax.teachers.config import teacher


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`teachers`, by name; see `tinyllm_jax/teachers/config.py` for the fields."""
    return ml_collections.ConfigDict(
        {
            "teachers": {
                # T5 counts positions relative to each other and reads beyond the 512 tokens that it
                # was trained on.
                "flan-t5-xl": teacher(
                    engine="transformers",
                    model="google/flan-t5-xl",
                    dtype="bfloat16",
                    window=2048,
                    batch_tokens=65536,
                ),
                "llama-2-7b-chat": teacher(model="meta-llama/Llama-2-7b-chat-hf"),
                "qwen": teacher(
                    model="Qwen/Qwen2.5-7B-Instruct",
                    mode="unforced-first",
                    samples=8,
                    temperature=0.7,
                    top_p=0.95,
                ),
            }
        }
    )
