"""Small teachers that run on two CPU cores: to try the whole path, not to learn from.

    tinyllm teach --config configs/teachers_cpu.py:models=DIR --task obqa --source released:RELEASED
    --questions 100 --out logs/obqa

DIR holds Hugging Face directories `smollm2-135m` (SmolLM2-135M-Instruct), `qwen2.5-coder-0.5b`
(Qwen2.5-Coder-0.5B-Instruct) and `flan-t5-small`. `server` asks the first of them through `vllm
serve` at 127.0.0.1:8000. On two shared cores 100 questions took 1.5 to 3 minutes with SmolLM2, 4 to
11 with Qwen and half a minute with FLAN-T5-small, and as long again to load each; the README has
what came out.
"""

import ml_collections

from tinyllm_jax.config_args import parse_arg
from tinyllm_jax.teachers.config import teacher


def get_config(arg: str = "") -> ml_collections.ConfigDict:
    """`teachers`, by name.

    Args:
      arg: `models=DIR` is where their directories are, `mode=` how they are asked, and `server=`
        the address of `vllm serve`.
    """
    options = parse_arg(arg, models="models", mode="forced", server="http://127.0.0.1:8000/v1")
    common = dict(mode=options.mode, max_tokens=128)
    cpu = dict(
        window=1024,
        engine_args=dict(enforce_eager=True, max_num_seqs=32, gpu_memory_utilization=0.4),
    )
    return ml_collections.ConfigDict(
        {
            "teachers": {
                "smollm2": teacher(model=f"{options.models}/smollm2-135m", **common, **cpu),
                "qwen": teacher(model=f"{options.models}/qwen2.5-coder-0.5b", **common, **cpu),
                "flan-t5-small": teacher(
                    engine="transformers", model=f"{options.models}/flan-t5-small", **common
                ),
                "server": teacher(
                    engine="openai", model="smollm2", base_url=options.server, **common
                ),
            }
        }
    )
