"""Every field of a training run with its default, and the checks on them."""

import ml_collections

from tinyllm_jax.config_args import parse_arg as parse_arg
from tinyllm_jax.errors import UserError, unknown
from tinyllm_jax.student import words
from tinyllm_jax.student.student import ANSWER

# The prefixes of the paper's released code; any other teacher T gets "explain T".
PREFIXES = {ANSWER: "predict", "flan-t5-xl": "explain", "llama-2-7b-chat": "rationale"}


def default_config() -> ml_collections.ConfigDict:
    """All fields of a run. The recipes in `configs/` start from this and change what they must."""
    c = ml_collections.ConfigDict()
    c.task = "obqa"
    c.seed = 0
    c.batch_size = 16  # questions a step; each brings its answer and every teacher's rationale
    c.accumulate = 1  # microbatches a step; the gradient is the whole batch's
    c.steps = 0  # 0: as many as `epochs` needs
    c.epochs = 1.0
    c.log_every = 20  # steps

    c.student = ml_collections.ConfigDict()
    c.student.name = "flan-t5-small"  # a preset, a Hugging Face directory, or a config.json
    c.student.weights = ""  # a hub name or directory to start from; "": random weights
    # A hub name, a directory, "byte", or "words" (made from the corpus); "": the one of `weights`.
    c.student.tokenizer = ""
    # Compute: float32 | bfloat16; parameters are always float32. On TPU and GPU, float32 products
    # are as exact as JAX_DEFAULT_MATMUL_PRECISION says: for full float32 set it to "highest".
    c.student.dtype = "float32"
    c.student.dropout_rate = 0.1
    c.student.remat = False
    c.student.lora_rank = 0  # 0: train everything
    c.student.lora_alpha = 16.0
    c.student.lora_targets = ("q", "v")

    c.lengths = ml_collections.ConfigDict()
    c.lengths.input = (
        0  # tokens; 0: the task's own. Only contexts are cut to it; a longer question raises it
    )
    c.lengths.target = 256  # tokens
    c.lengths.packing = True  # several questions a row; False: one (question, target) a row
    c.lengths.buckets = 4  # the most static shapes a run compiles
    c.lengths.multiple = 8  # row lengths are multiples of this; 128 suits TPUs

    c.objective = ml_collections.ConfigDict()
    c.objective.answer = 1.0
    c.objective.rationale = 1.0  # the weight of every teacher that `teachers` does not name
    c.objective.teachers = ml_collections.ConfigDict()  # teacher → weight; empty: all of the corpus
    # Which side is told the target: "encoder" as in the paper, or "decoder", which encodes a
    # question once for all targets.
    c.objective.prefix = "encoder"
    c.objective.prefixes = ml_collections.ConfigDict()  # target → prefix; empty: see PREFIXES

    c.optimizer = ml_collections.ConfigDict()
    c.optimizer.name = "adamw"  # adamw | adafactor
    c.optimizer.learning_rate = 5e-5
    c.optimizer.schedule = "linear"  # constant | linear | cosine, after the warm-up
    c.optimizer.warmup_steps = 0
    c.optimizer.weight_decay = 0.0
    c.optimizer.clip_norm = 0.0  # 0: none
    c.optimizer.b1 = 0.9
    c.optimizer.b2 = 0.999
    c.optimizer.eps = 1e-8

    c.mesh = ml_collections.ConfigDict()
    c.mesh.data = -1  # -1: the devices that the other axes leave
    c.mesh.fsdp = 1
    c.mesh.tensor = 1

    c.checkpoint = ml_collections.ConfigDict()
    c.checkpoint.every = 500  # steps; each checkpoint is validated
    c.checkpoint.keep = 2  # the last k, and the best on validation
    c.validation = ml_collections.ConfigDict()
    c.validation.questions = 0  # the first n of the validation split; 0: all
    c.validation.batch_size = 32
    return c


def teacher_weights(arg: str, default: float = 1.0) -> ml_collections.ConfigDict:
    """The teachers of a config argument, with their weights.

    Args:
      arg: "a:0.5+b" for {"a": 0.5, "b": default}; "all" or "" for {}: every teacher of the corpus.
      default: the weight of a teacher that is named without one.

    Raises:
      UserError: a weight is not a number.
    """
    weights = ml_collections.ConfigDict()
    for part in filter(None, ("" if arg == "all" else arg).split("+")):
        name, _, weight = part.partition(":")
        try:
            weights[name] = float(weight or default)
        except ValueError:
            raise UserError(
                f"teachers={arg}: the weight '{weight}' of '{name}' is not a number"
            ) from None
    return weights


def check(config: ml_collections.ConfigDict) -> None:
    """Raises a `UserError` for a value that no run can have."""
    for path, allowed in (
        ("optimizer.name", ("adamw", "adafactor")),
        ("optimizer.schedule", ("constant", "linear", "cosine")),
        ("student.dtype", ("float32", "bfloat16")),
        ("objective.prefix", ("encoder", "decoder")),
    ):
        value = _get(config, path)
        if value not in allowed:
            raise unknown(path, value, allowed)
    for path in (
        "batch_size",
        "accumulate",
        "log_every",
        "checkpoint.every",
        "checkpoint.keep",
        "lengths.target",
        "lengths.buckets",
        "lengths.multiple",
        "validation.batch_size",
    ):
        if _get(config, path) < 1:
            raise UserError(f"config.{path} is {_get(config, path)}; it must be at least 1")
    if config.steps < 0 or (config.steps == 0 and config.epochs <= 0):
        raise UserError(
            f"config.steps is {config.steps} and config.epochs {config.epochs}: "
            "give one of them above 0"
        )


def resolve(
    config: ml_collections.ConfigDict, teachers: tuple[str, ...]
) -> ml_collections.ConfigDict:
    """A copy of `config` in which the objective names every weight and every prefix.

    A teacher of weight 0 is left out: its term would cost time and change nothing.

    Args:
      config: the run's config.
      teachers: the corpus's teachers.

    Raises:
      UserError: the config names a teacher that the corpus does not have, or nothing has a weight.
    """
    config = config.copy_and_resolve_references()
    named = config.objective.teachers.to_dict()
    for name in named:
        if name not in teachers:
            raise unknown("teacher", name, teachers or ("none in this corpus",))
    weights = named or dict.fromkeys(teachers, config.objective.rationale)
    config.objective.teachers = ml_collections.ConfigDict(
        {t: float(w) for t, w in sorted(weights.items()) if w}
    )
    targets = ((ANSWER,) if config.objective.answer else ()) + tuple(config.objective.teachers)
    if not targets:
        raise UserError(
            "config.objective gives every term the weight 0; give the answer or a teacher a weight"
        )
    # The answer's prefix is kept even when it is not trained: evaluation asks with it.
    config.objective.prefixes = ml_collections.ConfigDict(
        {t: prefix(config, t) for t in dict.fromkeys((ANSWER, *targets))}
    )
    return config


def prefix(config: ml_collections.ConfigDict, target: str) -> str:
    """The words by which a target is asked for: the config's own, or those of `PREFIXES`."""
    return config.objective.prefixes.get(target) or PREFIXES.get(target, f"explain {target}")


def terms(config: ml_collections.ConfigDict) -> dict[str, float]:
    """The terms of a resolved config: target → weight, the answer first."""
    answer = {ANSWER: float(config.objective.answer)} if config.objective.answer else {}
    return answer | {t: float(w) for t, w in sorted(config.objective.teachers.items())}


def asked_as(prefix: str, target: str) -> str:
    """The target whose prefix the encoder reads when it is asked for `target`.

    With prefix "decoder" that is the answer for all targets: the decoder reads the other's prefix.

    Args:
      prefix: `objective.prefix`, "encoder" or "decoder".
      target: the answer, or a teacher.
    """
    return ANSWER if prefix == "decoder" else target


def _get(config, path: str):
    for part in path.split("."):
        config = config[part]
    return config


def set_student(config: ml_collections.ConfigDict, name: str) -> None:
    """Fills `config.student` from a config argument.

    Args:
      config: changed in place.
      name: "small", "base", "large", "xl" or "xxl" (FLAN-T5 from the hub); "word-tiny" or
        "byte-tiny" (ours: random weights, words of the corpus or bytes); or a hub name or directory
        of a T5.
    """
    if name in ("small", "base", "large", "xl", "xxl"):
        name = f"google/flan-t5-{name}"
    made_here = {"word-tiny": words.NAME, "byte-tiny": "byte"}
    config.student.name = name
    config.student.weights = "" if name in made_here else name
    config.student.tokenizer = made_here.get(name, name)
