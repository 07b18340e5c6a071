"""OpenBookQA with three strong teachers: does a FLAN-T5 learn more from them than from answers?

    tinyllm corpus build --task obqa --source hf --rationales gpt-4o=FILE
    --rationales gemini-1.5-flash=FILE --rationales llama-3-70b=FILE --out corpora/obqa-strong
    tinyllm study --config configs/studies/obqa.py:corpus=corpora/obqa-strong,student=small
    --out runs/studies/obqa

The rationales are those of arXiv 2502.18001 (its repository holds a file for each teacher), or any
others in `{instruction, output}` or `{id, rationale}` form. Arguments: `corpus`, `student`, `steps`
(0: as many as ten epochs need), `seeds` ("0+1+2"), `machine` ("accelerator", or "cpu").

Methods: the student's weights as they are; answers only; LoRA; the teachers' answers in place of
gold (Standard-KD); each teacher alone; all three; all three but for the rationales that mislead a
reader; and the best rationale behind the answer. A single teacher beside answers is Distilling
step-by-step (arXiv 2305.02301). A hundredth of it, to see that it runs: `steps=10,seeds=0`. Not yet
run at full size.

    tinyllm study --config configs/studies/obqa.py:machine=cpu,steps=100,seeds=0
    --out runs/studies/obqa-cpu

is a part of it for two CPU cores: a fifth of the labels, batches of 16, float32, four validations
on 200 questions, and of the methods those that the question hangs on, with the teacher that says
most for a single one. tests/benchmarks/RESULTS.md has what it showed.
"""

import ml_collections

from tinyllm_jax.config_args import parse_arg
from tinyllm_jax.errors import unknown
from tinyllm_jax.training.recipes import neighbour

MACHINES = ("accelerator", "cpu")
TEACHERS = ("gpt-4o", "gemini-1.5-flash", "llama-3-70b")


def get_config(arg=None):
    """The study's config for an argument string like "student=base,seeds=0+1+2"."""
    arg = parse_arg(
        arg,
        corpus="corpora/obqa-strong",
        student="small",
        steps="0",
        seeds="0+1+2",
        machine="accelerator",
    )
    study = ml_collections.ConfigDict()
    study.base = neighbour(__file__, "../tinyllm.py", f"task=obqa,student={arg.student}")
    study.base.steps = int(arg.steps)
    study.corpora = {"obqa": arg.corpus}
    study.seeds = tuple(int(seed) for seed in arg.seeds.split("+"))
    study.baseline = "answers only"
    study.methods = (
        {"name": "zero-shot", "policy": "zero-shot"},
        {"name": "answers only"},
        {"name": "LoRA", "overrides": {"student.lora_rank": 8}},
        {"name": "Standard-KD", "teachers": "all", "policy": "standard-kd"},
        *({"name": teacher, "teachers": teacher} for teacher in TEACHERS),
        {"name": "all three", "teachers": "all"},
        {"name": "helpful", "teachers": "all", "policy": "helpful"},
        {
            "name": "selected after",
            "teachers": "all",
            "policy": "selected",
            "overrides": {"objective.after": 0.5},
        },
    )
    if arg.machine not in MACHINES:
        raise unknown("machine", arg.machine, MACHINES)
    if arg.machine == "cpu":
        kept = ("zero-shot", "answers only", "gpt-4o", "all three", "helpful")
        study.methods = tuple(method for method in study.methods if method["name"] in kept)
        study.base.student.dtype, study.base.batch_size = "float32", 16
        study.fractions, study.readers = (0.2,), {"steps": 50}
        # Ten validations on all 500 questions take as long here as the steps between them.
        study.base.checkpoint.every = max(1, int(arg.steps) // 4)
        study.base.validation.questions = 200
    return study
