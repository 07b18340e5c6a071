"""TinyLLM in JAX: teachers write rationales into a corpus; a small T5 student learns from it.

Everything else looks at one of those two. The packages, in the order of the data:

    tasks/       what a question is, and where each dataset's questions come from
    teachers/    prompts, engines and the append-only log of what each teacher wrote (never imports
                 jax)
    corpus/      questions joined with every teacher's rationale, as TFRecords on disk
    batching/    sequences of different lengths in rows and batches
    student/     Flax T5: modules, Hugging Face weights, LoRA, scoring and writing
    training/    the objective, batches, sharding, checkpoints, the loop
    evaluation/  accuracies with intervals, predictions, the report
    demo/        a page on which typed questions are put to students
    selection/   which rationales a student should learn from: weights, judged by readers
    studies/     methods × tasks × seeds, each cell trained once, and the statistics of the whole
    pages/       templates, style sheet and charts of the two HTML pages
    storage      paths that a user names, local or gs://, and files written whole
    publishing/  a run's student as a Hugging Face directory or a PEFT adapter, and its model card
    cards/       templates of the README.md of what is exported
    cli          `tinyllm COMMAND`, one thin function per command: cli is their table, cli_X holds
                 `tinyllm X`, and cli_flags, cli_students and cli_devices hold what they share
    shards       a share of work that several machines deal among themselves: --shard
    terminal     a terminal or pipe that is closed does not end a long command

Imports go one way: cli → studies → selection → publishing | training | teachers | evaluation |
demo → student | corpus → batching | tasks.
"""

__version__ = "0.1.0"
