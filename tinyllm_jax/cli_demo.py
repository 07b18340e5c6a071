"""The command `tinyllm demo`."""

from absl import flags

from tinyllm_jax import cli_devices, cli_students


def define_demo(values, argv):
    """The flags of `demo`."""
    cli_students.define_students(values)
    flags.DEFINE_integer(
        "port", 7860, "where it listens, on 127.0.0.1", 1, 65535, flag_values=values
    )


def demo(values) -> None:
    """Shows a page on this machine, on which typed questions are put to students."""
    cli_devices.prepare()
    from tinyllm_jax.demo import page

    page.load_gradio()  # before the students, which take a while
    page.serve(cli_students.students(values), values.port)
