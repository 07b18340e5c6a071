"""The student: T5 in Flax NNX, behind plain functions on plain dicts of arrays.

    config.py         `StudentConfig`, the published sizes, and Hugging Face's `config.json`
    dropout.py        dropout whose masks are the same on any mesh
    linear.py         the projection of every kernel, with LoRA
    attention.py      attention, and the buckets of relative positions
    layers.py         norms, the feed-forward block, and the encoder's and the decoder's layer
    depth.py          layers made as one module and scanned over the depth
    model.py          the whole T5, and the functions through which it is used
    cross_entropy.py  the loss over a large vocabulary, without holding all logits
    partition.py      the mesh's axes, and how activations and kernels lie on it
    lora.py           adds, recognises and merges low-rank updates
    hf.py             Hugging Face safetensors, in and out
    export.py         a whole Hugging Face directory, tokenizer included, or a PEFT adapter
    inputs.py         text to token ids: tokenizers, the prompt, truncation
    words.py          a tokenizer of whole words, for students that start from nothing
    decoding.py       greedy generation, and the likelihood of given targets
    student.py        `Student`: parameters, tokenizer and prefixes; what all that ask it hold
    scoring.py        how likely a student finds each choice, for validation and evaluation
    writing.py        what a student writes: answers, and rationales as its teachers would

What jit, Optax and Orbax see is a `StudentConfig` and a nested dict of arrays, and nothing else.
The core is in model.py: `init_params`; `hidden`, which training and scoring call on packed rows;
and `encode`, which generation starts from. Nothing here knows of teachers or corpora.
"""
