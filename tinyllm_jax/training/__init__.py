"""Training a student on a corpus: one weighted objective, sharded steps, exact resumption.

    run.py          `Run`: every field of a run with its default and its limits
    recipes.py      what config files are made of, and how one becomes a `Run`
    questions.py    which questions a run learns from, and which it validates on
    tokens.py       a corpus split as tokens
    data.py         batch = f(seed, step)
    ahead.py        the next epoch's plan, made by a process of its own
    objective.py    the answer's and every teacher's term as one weighted cross-entropy
    optimizer.py    Optax: AdamW or Adafactor, schedules, clipping
    sharding.py     the mesh, and rules from a parameter's path to its PartitionSpec
    step.py         the train step
    initial.py      what a new run starts from: tokenizer, shape, first parameters
    setup.py        what a run is made of before its first step, for training or planning it
    validation.py   the accuracy, for choosing the best checkpoint, and every term's loss
    saving.py       when a state deserves a checkpoint, and the validation that finds the best one
    checkpoints.py  Orbax, with a sha256 manifest of every step
    workdir.py      what a run keeps on disk beside its checkpoints, and who may write there
    metrics.py      JSON lines of a run's numbers
    sinks.py        where their curves are shown: TensorBoard, Weights & Biases, Trackio
    window.py       the numbers between two log lines, and the steps that were skipped
    throughput.py   tokens and useful FLOPs a second, and their share of the devices' peak
    lost_time.py    the seconds in which a run does not train, and a profile of some steps
    stop_request.py SIGTERM and Ctrl-C, followed between two steps
    description.py  what a run says of itself before it begins
    loop.py         the training loop
    plan.py         the step compiled for devices that are not here; topologies.py: for which ones
    hlo.py          what the compiler says of a step: cycles, and what is sent
    memory.py       what is said where the devices' memory is full
    restore.py      a trained student, read back from a run's workdir

The step is the only clock: the batch, the dropout key and the learning rate are functions of (seed,
step). So nothing but the parameters and the optimizer's state is saved, and a run that is resumed
computes the same bits as one that was never stopped.
"""
