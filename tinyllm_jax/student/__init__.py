"""The student: T5 in Flax NNX, behind plain functions on plain dicts of arrays.

A `StudentConfig` (config.py) and a nested dict of arrays are the whole of a student. `layers.py`
holds the NNX modules, one layer scanned over the depth; `model.py` the functional core
(`init_params`, `encode`, `decode`, `apply`) that jit, optax and Orbax see; `hf.py` reads and writes
Hugging Face safetensors; `lora.py` adds and merges low-rank updates; `decoding.py` generates
greedily and scores given choices; `inputs.py` turns text into token ids, and `words.py` makes a
tokenizer for students that start from nothing. Nothing here knows of teachers or corpora.
"""
