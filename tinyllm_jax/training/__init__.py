"""Training a student on a corpus: one weighted objective, sharded steps, and a run that survives anything.

    config.py       every field of a run with its default, and the checks on them
    data.py         a corpus split as tokens; batch = f(seed, step)
    objective.py    the answer's and every teacher's term as one weighted cross-entropy
    optimizer.py    Optax: AdamW or Adafactor, schedules, clipping
    sharding.py     the mesh, and rules from a parameter's path to its PartitionSpec
    step.py         the compiled train step
    validation.py   accuracy by choice likelihood, for choosing the best checkpoint
    checkpoints.py  Orbax, with a sha256 manifest of every step
    workdir.py      what a run keeps on disk beside its checkpoints, and who may write there
    metrics.py      JSON lines and TensorBoard files
    loop.py         the training loop

The step is the only clock: the batch, the dropout key and the learning rate are functions of (seed,
step), so nothing but the parameters and the optimizer's state is saved, and a resumed run repeats
the same bits.
"""
