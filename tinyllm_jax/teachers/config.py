"""Every field of a teacher with its default, and the checks on them.

`configs/teachers.py` holds examples.
"""

import re

import ml_collections

from tinyllm_jax.corpus.logrow import canonical
from tinyllm_jax.corpus.schema import TEACHER
from tinyllm_jax.errors import UserError, unknown

ENGINES = ("vllm", "transformers", "openai", "ray", "scripted")
MODES = ("forced", "unforced", "unforced-first")
STOP = ("\n\n", "Question:")  # where a raw completion goes on with something else
DTYPES = ("auto", "float32", "bfloat16", "float16")

# The least that a number may be.
LEAST = {
    "concurrency": 1,
    "batch_tokens": 1,
    "replicas": 1,
    "tensor_parallel": 1,
    "retries": 0,
    "window": 0,
    "temperature": 0,
    "max_tokens": 1,
    "shots": 0,
    "samples": 1,
}
# Arguments of vLLM that would load other weights than the fields say, or run a model's own code.
REFUSED_ENGINE_ARGS = {"trust_remote_code", "load_format", "model", "revision"}


def teacher(**changes) -> ml_collections.ConfigDict:
    """A teacher's fields: the defaults below with `changes`.

    Raises:
      UserError: a name that is no field.
    """
    c = ml_collections.ConfigDict()

    # Which model it is.
    c.engine = "vllm"  # vllm | transformers | openai | ray | scripted
    # A hub name or a directory with *.safetensors; openai: the name that the server knows.
    c.model = ""
    c.revision = ""  # a branch, tag or commit of the hub; "": its newest

    # What it is asked. Forced: it is shown the gold answer. Unforced-first: it is shown the gold
    # answer only of the questions for which none of its unforced samples states it.
    c.mode = "forced"  # forced | unforced | unforced-first
    c.samples = 1  # unforced rationales a question
    c.shots = 2  # in-context examples
    c.examples = ""  # a file of them; "": the package's own for the task
    c.forced_template = ""  # a file; "": the package's own
    c.unforced_template = ""  # likewise
    c.chat = False  # send the prompt as a user's message, through the model's chat template

    # How it writes.
    c.max_tokens = 256  # of one rationale
    c.temperature = 0.0  # 0: greedy
    c.top_p = 1.0
    # A rationale ends before one of these; with chat=True the default ones are not used, for a
    # chat model ends its reply itself.
    c.stop = STOP

    # How it is run: none of the fields from here on is part of a log row's identity.
    # Tokens that prompt and rationale may take; 0: what the model's configuration says.
    c.window = 0
    c.dtype = "auto"  # auto | float32 | bfloat16 | float16

    # How the engines vllm and ray run it.
    c.tensor_parallel = 1  # GPUs that share the model
    c.engine_args = ml_collections.ConfigDict()  # further engine arguments of vLLM's
    c.replicas = 1  # ray alone: copies of the model over the cluster

    # How the engine transformers runs it.
    c.batch_tokens = 16384  # padded tokens of a batch, read and written

    # How the engine openai asks its server.
    c.base_url = ""  # e.g. http://127.0.0.1:8000/v1
    c.key_variable = "OPENAI_API_KEY"  # the environment variable that holds the key
    c.concurrency = 16  # requests in flight
    c.timeout = 300.0  # seconds for one reply
    c.retries = 8  # further attempts, with growing pauses

    for name, value in changes.items():
        if name not in c:
            raise unknown("teacher field", name, c)
        c[name] = ml_collections.ConfigDict(value) if name == "engine_args" else value
    return c


def scripted() -> dict[str, ml_collections.ConfigDict]:
    """The scripted teachers of the made-up things, which read no examples."""
    return {
        name: teacher(engine="scripted", model=name, shots=0)
        for name in ("material", "shape", "careless")
    }


def check(name: str, c: ml_collections.ConfigDict) -> None:
    """Checks a teacher's fields.

    Args:
      name: the teacher's name.
      c: its fields.

    Raises:
      UserError: a value that no teacher can have.
    """
    for field, allowed in (("engine", ENGINES), ("mode", MODES), ("dtype", DTYPES)):
        if c[field] not in allowed:
            raise unknown(f"{field} of teacher '{name}'", c[field], allowed)
    if not TEACHER.fullmatch(name):
        wrong = (
            "use lower-case letters, digits and . _ - in its name, and begin with a letter or digit"
        )
    else:
        wrong = _wrong_value(c) or _wrong_source(c) or _wrong_number(c)
    if wrong:
        raise UserError(f"teacher '{name}': {wrong}")


def _wrong_value(c: ml_collections.ConfigDict) -> str:
    """Which value makes no sense, by itself or with another; "" when all do."""
    if not 0 < c.top_p <= 1:
        return f"top_p is {c.top_p}; it must be above 0 and at most 1"
    if c.timeout <= 0:
        return f"timeout is {c.timeout}; it must be above 0"
    if not all(c.stop):
        return "an empty stop string would end every rationale before it begins"
    if not c.model:
        return "it has no model"
    if c.mode == "forced" and c.samples != 1:
        return (
            f"samples is {c.samples} in mode forced, which writes one; choose mode unforced or "
            f"unforced-first"
        )
    if c.samples > 1 and c.temperature == 0:
        return f"{c.samples} samples at temperature 0 would all be the same; raise the temperature"
    return ""


def _wrong_source(c: ml_collections.ConfigDict) -> str:
    """What is wrong with where the model comes from; "" when nothing is."""
    if REFUSED_ENGINE_ARGS & set(c.engine_args):
        return (
            "engine_args may name neither model nor revision (fields of their own), and only "
            "safetensors without code are loaded"
        )
    if c.engine == "openai" and not re.fullmatch(r"https?://[^/@?#\s]+[^@?#\s]*", c.base_url):
        return (
            "its base_url must be like http://HOST:PORT/v1, with no name, password or query in it"
        )
    return ""


def _wrong_number(c: ml_collections.ConfigDict) -> str:
    """Which number is too small; "" when none is."""
    for field, least in LEAST.items():
        if c[field] < least:
            return f"{field} is {c[field]}; it must be at least {least}"
    return ""


def stop_strings(c: ml_collections.ConfigDict) -> tuple[str, ...]:
    """The strings before which a teacher's texts end."""
    stop = tuple(c.stop)
    return () if c.chat and stop == STOP else stop


def sampling(c: ml_collections.ConfigDict) -> str:
    """The parameters that decide what a model writes after a prompt, as canonical JSON."""
    return canonical(
        {
            "chat": c.chat,
            "max_tokens": c.max_tokens,
            "stop": list(stop_strings(c)),
            "temperature": float(c.temperature),
            "top_p": float(c.top_p),
        }
    )
