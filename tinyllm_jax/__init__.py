"""TinyLLM in JAX: teachers write rationales into a corpus; a small T5 student learns from the corpus.

Everything else looks at one of those two. The packages, in the order of the data:

    tasks/       what a question is, and where each dataset's questions come from
    teachers/    prompts, engines and the append-only log of what each teacher wrote (never imports
                 jax)
    corpus/      questions joined with every teacher's rationale, as TFRecords on disk
    student/     Flax T5: modules, Hugging Face weights, LoRA, decoding and scoring
    training/    the objective, batches, sharding, checkpoints, the loop
    evaluation/  accuracies with intervals, predictions, the report
    pages/       templates, style sheet and charts of the two HTML pages
    cli          `tinyllm COMMAND`, one thin function per command (opened.py: a student for it to
                 look at)

Imports go one way: cli → training | teachers | evaluation → student | corpus → tasks.
"""

__version__ = "0.1.0"
