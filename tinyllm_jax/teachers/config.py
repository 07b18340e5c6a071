"""Every field of a teacher with its default, and the checks on them. `configs/teachers.py` holds examples."""

import re

import ml_collections

from tinyllm_jax.corpus.logrow import canonical
from tinyllm_jax.corpus.schema import TEACHER
from tinyllm_jax.errors import UserError, unknown

ENGINES = ("vllm", "transformers", "openai", "ray", "scripted")
MODES = ("forced", "unforced", "unforced-first")


def teacher(**changes) -> ml_collections.ConfigDict:
    """A teacher's fields with `changes`; raises `UserError` for a name that is no field."""
    c = ml_collections.ConfigDict()
    c.engine = "vllm"  # vllm | transformers | openai | ray | scripted
    c.model = (
        ""  # a hub name or a directory with *.safetensors; openai: the name that the server knows
    )
    c.revision = ""  # a branch, tag or commit of the hub; "": its newest

    # What it is asked.
    c.mode = "forced"  # forced (shown the gold answer) | unforced | unforced-first: forced where no sample reaches gold
    c.samples = 1  # unforced rationales a question
    c.shots = 2  # in-context examples
    c.examples = ""  # a file of them; "": the package's own for the task
    c.forced_template = ""  # a file; "": the package's own
    c.unforced_template = ""
    c.chat = False  # send the prompt as a user's message, through the model's chat template

    # How it writes.
    c.max_tokens = 256  # of one rationale
    c.temperature = 0.0  # 0: greedy
    c.top_p = 1.0
    c.stop = ("\n\n", "Question:")  # it ends before one of these

    # How it is run: none of these is part of a row's identity.
    c.window = (
        0  # tokens that prompt and rationale may take; 0: what the model's configuration says
    )
    c.dtype = "auto"  # auto | float32 | bfloat16 | float16
    c.tensor_parallel = 1  # vllm, ray: GPUs that share the model
    c.engine_args = ml_collections.ConfigDict()  # vllm, ray: further engine arguments of vLLM's
    c.replicas = 1  # ray: copies of the model over the cluster
    c.batch_tokens = 16384  # transformers: padded tokens of a batch, read and written
    c.base_url = ""  # openai: e.g. http://127.0.0.1:8000/v1
    c.key_variable = "OPENAI_API_KEY"  # openai: the environment variable that holds the key
    c.concurrency = 16  # openai: requests in flight
    c.timeout = 300.0  # openai: seconds for one reply
    c.retries = 8  # openai: further attempts, with growing pauses
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
    """Raises `UserError` for a value that no teacher can have; `name` is the teacher's."""
    for field, allowed in (
        ("engine", ENGINES),
        ("mode", MODES),
        ("dtype", ("auto", "float32", "bfloat16", "float16")),
    ):
        if c[field] not in allowed:
            raise unknown(f"{field} of teacher '{name}'", c[field], allowed)
    wrong = ""
    for field, least in (
        ("samples", 1),
        ("shots", 0),
        ("max_tokens", 1),
        ("temperature", 0),
        ("window", 0),
        ("retries", 0),
        ("tensor_parallel", 1),
        ("replicas", 1),
        ("batch_tokens", 1),
        ("concurrency", 1),
    ):
        if c[field] < least:
            wrong = f"{field} is {c[field]}; it must be at least {least}"
    if not TEACHER.fullmatch(name):
        wrong = (
            "use lower-case letters, digits and . _ - in its name, and begin with a letter or digit"
        )
    elif not 0 < c.top_p <= 1:
        wrong = f"top_p is {c.top_p}; it must be above 0 and at most 1"
    elif c.timeout <= 0:
        wrong = f"timeout is {c.timeout}; it must be above 0"
    elif not all(c.stop):
        wrong = "an empty stop string would end every rationale before it begins"
    elif not c.model:
        wrong = "it has no model"
    elif c.mode == "forced" and c.samples != 1:
        wrong = f"samples is {c.samples} in mode forced, which writes one; choose mode unforced or unforced-first"
    elif c.samples > 1 and c.temperature == 0:
        wrong = f"{c.samples} samples at temperature 0 would all be the same; raise the temperature"
    elif {"trust_remote_code", "load_format", "model", "revision"} & set(c.engine_args):
        wrong = "engine_args may name neither model nor revision (fields of their own), and only safetensors without code are loaded"
    elif c.engine == "openai" and not re.fullmatch(r"https?://[^/@?#\s]+[^@?#\s]*", c.base_url):
        wrong = (
            "its base_url must be like http://HOST:PORT/v1, with no name, password or query in it"
        )
    if wrong:
        raise UserError(f"teacher '{name}': {wrong}")


def sampling(c: ml_collections.ConfigDict) -> str:
    """The parameters that decide what a model writes after a prompt, as canonical JSON."""
    return canonical(
        {
            "chat": c.chat,
            "max_tokens": c.max_tokens,
            "stop": list(c.stop),
            "temperature": float(c.temperature),
            "top_p": float(c.top_p),
        }
    )
