"""The shape of a student: `StudentConfig`, the published sizes, and Hugging Face's `config.json`.

Two versions of transformers read `tie_word_embeddings` differently. In 4.x it says whether
`lm_head` is the embedding; 5.x always writes `true`, and says in `scale_decoder_outputs` what it
used to say: whether logits are scaled by `d_model**-0.5`. In every published T5 the two go together
(1.0: tied and scaled; 1.1 and FLAN: neither), so `scale_decoder_outputs` wins where it is written,
and we write both.
"""

import dataclasses
import json
import pathlib
import typing
from collections.abc import Mapping
from typing import Any

from tinyllm_jax.errors import UserError, unknown

PAD_ID, EOS_ID = 0, 1  # in every T5 and ByT5 vocabulary; the decoder starts with PAD_ID


@dataclasses.dataclass(frozen=True)
class StudentConfig:
    """The shape of a T5 student and how it is computed. Hashable: a static argument of `jax.jit`.

    Attributes:
      vocab_size: rows of the embedding (the T5 weights have 32,128, more than the tokenizer's
        32,100).
      d_model: width of the residual stream.
      d_kv: width of one head; `num_heads * d_kv` need not be `d_model`.
      d_ff: width inside the feed-forward block.
      num_layers: encoder layers.
      num_decoder_layers: decoder layers.
      num_heads: attention heads.
      feed_forward_proj: "relu" (T5 1.0) or "gated-gelu" (T5 1.1 and FLAN-T5).
      tie_word_embeddings: the embedding is also the output projection, and logits are scaled by
        `d_model**-0.5`.
      relative_attention_num_buckets: rows of each stack's relative-position table.
      relative_attention_max_distance: in tokens; all longer distances share a bucket.
      dropout_rate: the rate of every dropout; nothing is dropped where no key is given.
      layer_norm_epsilon: added to the mean square in every norm.
      dtype: "float32" or "bfloat16": the dtype of activations and matrix products. Parameters,
        norms, softmax and logits are always float32.
      remat: whether the backward pass computes each layer again (less memory, about a third more
        compute).
      lora_rank: rank of the low-rank updates; 0 for none.
      lora_alpha: the updates are scaled by `lora_alpha / lora_rank`.
      lora_targets: the projections that have an update: some of `projections`.
    """

    vocab_size: int
    d_model: int
    d_kv: int
    d_ff: int
    num_layers: int
    num_decoder_layers: int
    num_heads: int
    feed_forward_proj: str = "gated-gelu"
    tie_word_embeddings: bool = False
    relative_attention_num_buckets: int = 32
    relative_attention_max_distance: int = 128
    dropout_rate: float = 0.1
    layer_norm_epsilon: float = 1e-6
    dtype: str = "float32"
    remat: bool = False
    lora_rank: int = 0
    lora_alpha: float = 16.0
    lora_targets: tuple[str, ...] = ("q", "v")

    def __post_init__(self):
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        for name, kind in typing.get_type_hints(StudentConfig).items():
            value = getattr(self, name)
            least = 0 if name == "lora_rank" else 1
            if kind is int and (not isinstance(value, int) or value < least):
                raise UserError(
                    f"student config: {name} is {value!r}; it must be a positive whole number"
                )
        if self.feed_forward_proj not in ("relu", "gated-gelu"):
            raise unknown("feed_forward_proj", self.feed_forward_proj, ("relu", "gated-gelu"))
        if self.dtype not in ("float32", "bfloat16"):
            raise unknown("student dtype", self.dtype, ("float32", "bfloat16"))
        if not 0 <= self.dropout_rate < 1:
            raise UserError(
                f"student config: dropout_rate is {self.dropout_rate}; it must be in [0, 1)"
            )
        if self.lora_rank:
            for name in self.lora_targets:
                if name not in self.projections:
                    raise unknown("LoRA target", name, self.projections)

    @property
    def projections(self) -> tuple[str, ...]:
        """The names of a layer's linear projections: what LoRA can be put on."""
        inner = ("wi_0", "wi_1") if self.feed_forward_proj == "gated-gelu" else ("wi",)
        return ("q", "k", "v", "o", *inner, "wo")


def _t5(d_model: int, d_kv: int, d_ff: int, layers: int, heads: int) -> StudentConfig:
    """A T5 1.0."""
    return StudentConfig(
        32128, d_model, d_kv, d_ff, layers, layers, heads, "relu", tie_word_embeddings=True
    )


def _flan(d_model: int, d_ff: int, layers: int, heads: int) -> StudentConfig:
    """A FLAN-T5, which has the shape of T5 1.1."""
    return StudentConfig(32128, d_model, 64, d_ff, layers, layers, heads)


PRESETS: dict[str, StudentConfig] = {
    "t5-small": _t5(512, 64, 2048, 6, 8),
    "t5-base": _t5(768, 64, 3072, 12, 12),
    "t5-large": _t5(1024, 64, 4096, 24, 16),
    "t5-3b": _t5(1024, 128, 16384, 24, 32),
    "t5-11b": _t5(1024, 128, 65536, 24, 128),
    "flan-t5-small": _flan(512, 1024, 8, 6),
    "flan-t5-base": _flan(768, 2048, 12, 12),
    "flan-t5-large": _flan(1024, 2816, 24, 16),
    "flan-t5-xl": _flan(2048, 5120, 24, 32),
    "flan-t5-xxl": _flan(4096, 10240, 24, 64),
    # Ours: untrained, and small enough to be trained on a CPU in minutes. The first is for the
    # tokenizer of a corpus's words ("words"; its vocabulary grows with a corpus of more than 1,024
    # words), the second for the tokenizer of bytes ("byte").
    "word-tiny": StudentConfig(1024, 128, 32, 256, 2, 2, 4),
    "byte-tiny": StudentConfig(384, 64, 32, 128, 2, 2, 2),
}


def student_config(name_or_path: str, **overrides: Any) -> StudentConfig:
    """The config of a preset, of a Hugging Face directory, or of a `config.json`.

    Args:
      name_or_path: one of `PRESETS`, a directory with a `config.json`, or the file itself.
      **overrides: fields of `StudentConfig` to replace.

    Raises:
      UserError: the name is neither a preset nor a path, the file is not a T5's, or an override is
        unknown.
    """
    path = pathlib.Path(name_or_path)
    if name_or_path in PRESETS:
        config = PRESETS[name_or_path]
    elif path.exists():
        config = read_config(path)
    else:
        error = unknown("student", name_or_path, PRESETS)
        raise UserError(f"{error}; nor is it a directory or config.json")
    return override(config, overrides)


def override(config: StudentConfig, overrides: Mapping[str, Any]) -> StudentConfig:
    """`config` with some fields replaced.

    Raises:
      UserError: there is no such field (the message names the nearest one), or a value is not
        allowed.
    """
    known = [field.name for field in dataclasses.fields(StudentConfig)]
    for name in overrides:
        if name not in known:
            raise unknown("student setting", name, known)
    return dataclasses.replace(config, **overrides)


def read_config(path: pathlib.Path) -> StudentConfig:
    """Reads a `config.json`, or the one in a directory.

    Raises:
      UserError: it is absent, broken, or not a T5's.
    """
    path = path / "config.json" if path.is_dir() else path
    try:
        fields = json.loads(path.read_text())
    except (OSError, ValueError) as e:
        raise UserError(f"cannot read the model config {path}: {e}") from e
    if not isinstance(fields, dict):
        raise UserError(f"{path} is not a model config: it must hold one JSON object")
    return from_hf_config(fields, str(path))


_REQUIRED = ("vocab_size", "d_model", "d_kv", "d_ff", "num_layers", "num_heads")
_OPTIONAL = (
    "num_decoder_layers",
    "relative_attention_num_buckets",
    "relative_attention_max_distance",
    "dropout_rate",
    "layer_norm_epsilon",
)


def from_hf_config(fields: Mapping[str, Any], source: str = "config.json") -> StudentConfig:
    """A `StudentConfig` from a Hugging Face `config.json` that transformers 4 or 5 wrote.

    Args:
      fields: the file's content.
      source: where it came from, for error messages.

    Raises:
      UserError: it is not a T5's, it is not whole, or it is of a T5 that is not supported.
    """
    kind = fields.get("model_type")
    if kind != "t5":
        raise UserError(
            f"{source} is of a '{kind}' model; the student must be a T5 (model_type 't5')"
        )
    missing = [name for name in _REQUIRED if name not in fields]
    if missing:
        raise UserError(f"{source} lacks {', '.join(missing)}: it is not a whole T5 config")
    for name, want in (
        ("pad_token_id", PAD_ID),
        ("eos_token_id", EOS_ID),
        ("decoder_start_token_id", PAD_ID),
    ):
        if fields.get(name, want) not in (want, [want]):
            raise UserError(
                f"{source} has {name} {fields[name]}; only {want}, as in every published T5, is "
                "supported"
            )
    tied = fields.get("scale_decoder_outputs", fields.get("tie_word_embeddings", True))
    chosen = {
        name: fields[name] for name in (*_REQUIRED, *_OPTIONAL) if fields.get(name) is not None
    }
    chosen.setdefault("num_decoder_layers", fields["num_layers"])
    return StudentConfig(
        **chosen,
        feed_forward_proj=fields.get("feed_forward_proj", "relu"),
        tie_word_embeddings=tied,
    )


def to_hf_config(config: StudentConfig) -> dict[str, Any]:
    """The fields of a `config.json` that transformers 4 and 5 both read as this model."""
    return {
        "architectures": ["T5ForConditionalGeneration"],
        "model_type": "t5",
        **{name: getattr(config, name) for name in (*_REQUIRED, *_OPTIONAL)},
        "feed_forward_proj": config.feed_forward_proj,
        "tie_word_embeddings": config.tie_word_embeddings,
        "scale_decoder_outputs": config.tie_word_embeddings,
        "is_encoder_decoder": True,
        "use_cache": True,
        "pad_token_id": PAD_ID,
        "eos_token_id": EOS_ID,
        "decoder_start_token_id": PAD_ID,
    }
