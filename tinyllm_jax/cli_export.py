"""The command `tinyllm export`."""

from absl import flags

from tinyllm_jax import cli_devices, storage


def define_export(values, argv):
    """The flags of `export`."""
    flags.DEFINE_string("workdir", "", "the workdir of a run", values)
    flags.DEFINE_string(
        "step", "best", "the checkpoint: best (on validation), last, or a step", values
    )
    flags.DEFINE_string("out", "", "the directory to write, new or empty", values)
    flags.DEFINE_bool("adapter", False, "write the LoRA updates alone, for PEFT", values)
    flags.DEFINE_string(
        "push",
        "",
        "USER/NAME: upload it to the Hugging Face hub too, where a new model is public",
        values,
    )
    return "workdir", "out"


def export(values) -> None:
    """Writes a student as Hugging Face's libraries load it, with a card; --push uploads it."""
    cli_devices.prepare()
    from tinyllm_jax.publishing import export, hub

    if values.push:
        hub.check(values.push)
    step = export.export(
        storage.path(values.workdir), values.out, values.step, values.adapter, values.push
    )
    print(f"wrote {values.out}  step {step:,}")
    if values.push:
        print(f"uploaded to {hub.push(values.out, values.push)}")
