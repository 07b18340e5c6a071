"""A student as the files that Hugging Face's libraries load: a whole model, or a PEFT adapter."""

import copy
import json
import pathlib
from typing import Any

import numpy as np
from flax import traverse_util

from tinyllm_jax.errors import UserError
from tinyllm_jax.student import hf, inputs, lora
from tinyllm_jax.student.config import EOS_ID, PAD_ID, StudentConfig
from tinyllm_jax.student.student import Student


def write_model(directory: pathlib.Path, student: Student, max_new_tokens: int) -> None:
    """Writes a student as `transformers.AutoModelForSeq2SeqLM` and `AutoTokenizer` load it.

    Args:
      directory: an empty one.
      student: its LoRA updates are merged.
      max_new_tokens: where `model.generate` stops when its caller does not say.
    """
    hf.save_hf(directory, student.config, student.params)
    write_tokenizer(directory, student.tokenizer)
    generation = {
        "decoder_start_token_id": PAD_ID,
        "eos_token_id": EOS_ID,
        "pad_token_id": PAD_ID,
        "max_new_tokens": max_new_tokens,
    }
    _write_json(directory / "generation_config.json", generation)


def write_adapter(directory: pathlib.Path, student: Student, base: str) -> None:
    """Writes a student's low-rank updates alone, as `peft.PeftModel.from_pretrained` loads them.

    Args:
      directory: an empty one.
      student: its LoRA updates are not merged.
      base: the hub name or directory of the model that they were trained on.

    Raises:
      UserError: the student has no LoRA updates.
    """
    config = student.config
    if not config.lora_rank:
        raise UserError("this student has no LoRA updates: export the whole model")
    hf.write_tensors(directory / "adapter_model.safetensors", _adapter_tensors(student.params))
    write_tokenizer(directory, student.tokenizer)
    _write_json(directory / "adapter_config.json", _adapter_config(config, base))


def _adapter_tensors(params: dict) -> dict[str, np.ndarray]:
    """The low-rank updates under PEFT's names, as PEFT has them: (rank, in) and (out, rank)."""
    flat = traverse_util.flatten_dict(params, sep="/")
    tensors = {}
    for path in filter(lora.is_lora, flat):
        projection, _, ours = path.rpartition("/")
        theirs = {"lora_a": "lora_A", "lora_b": "lora_B"}[ours]
        names = hf.tensor_names({f"{projection}/kernel": flat[path]})
        for name, (_, layer) in names.items():
            module = name.removesuffix(".weight")
            update = np.asarray(flat[path][layer], np.float32)
            tensors[f"base_model.model.{module}.{theirs}.weight"] = np.ascontiguousarray(update.T)
    return tensors


def _adapter_config(config: StudentConfig, base: str) -> dict[str, Any]:
    """The content of PEFT's adapter_config.json."""
    return {
        "peft_type": "LORA",
        "task_type": "SEQ_2_SEQ_LM",
        "base_model_name_or_path": base,
        "r": config.lora_rank,
        "lora_alpha": config.lora_alpha,
        "lora_dropout": 0.0,
        "bias": "none",
        "target_modules": list(config.lora_targets),
        "inference_mode": True,
    }


def write_tokenizer(directory: pathlib.Path, tokenizer) -> None:
    """Writes a tokenizer that reads and writes as the student does where it is called on a text.

    T5's own tokenizers end a text in the end of sequence. One of whole words (`words.py`) does not,
    and is made to. None drops spaces from what is written (see `inputs.decode`).
    """
    import tokenizers

    tokenizer = copy.deepcopy(tokenizer)  # the student's own stays as it is
    tokenizer.clean_up_tokenization_spaces = False
    if tokenizer("a")["input_ids"][-1:] != [EOS_ID]:
        end = tokenizer.eos_token
        tokenizer.backend_tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
            single=f"$A {end}", pair=f"$A {end} $B {end}", special_tokens=[(end, EOS_ID)]
        )
    inputs.save_tokenizer(tokenizer, directory)


def _write_json(path: pathlib.Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")
