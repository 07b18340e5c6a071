"""How a local engine turns a prompt into tokens, with the context cut to fit the model's window."""

from tinyllm_jax.errors import UserError
from tinyllm_jax.teachers.engine import one_line
from tinyllm_jax.teachers.prompts import Prompt


def token_ids(tokenizer, text: str, chat: bool) -> list[int]:
    """The ids of a text for a model to read.

    Args:
      tokenizer: a Hugging Face tokenizer.
      text: the text.
      chat: whether the text is a user's message, to be put into the model's chat template.

    Raises:
      UserError: the model has no chat template, or one that cannot be used.
    """
    if not chat:
        return tokenizer(text)["input_ids"]
    messages = [{"role": "user", "content": text}]
    try:
        ids = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
        return ids["input_ids"]
    except Exception as error:  # whatever the template raises, and the library at a broken one
        raise UserError(
            f"the model's chat template cannot be used: {one_line(error)}; mend it, or set "
            f"chat=False"
        ) from None


def fit_to_window(tokenizer, prompt: Prompt, chat: bool, limit: int) -> tuple[list[int], int]:
    """The ids of a prompt with as many words of its context as fit.

    Args:
      tokenizer: a Hugging Face tokenizer.
      prompt: the prompt; nothing but the end of its context is cut.
      chat: as in `token_ids`.
      limit: the most ids that may be returned.

    Returns:
      (ids, words cut off the context).

    Raises:
      ValueError: the prompt does not fit even without its context.
    """
    ids = token_ids(tokenizer, prompt.text, chat)
    if len(ids) <= limit:
        return ids, 0
    words = prompt.context_words
    ids = token_ids(tokenizer, prompt.cut(0).text, chat)
    if len(ids) > limit:
        without = " even without its context" if words else ""
        raise ValueError(
            f"the prompt has {len(ids):,} tokens{without}, and only {limit:,} fit the model's "
            f"window beside max_tokens; lower shots or max_tokens, or raise window"
        )
    # The most words that fit are found by bisection: `low` words fit, and `high` words do not.
    low, high = 0, words
    while high - low > 1:
        middle = (low + high) // 2
        tried = token_ids(tokenizer, prompt.cut(middle).text, chat)
        if len(tried) <= limit:
            low, ids = middle, tried
        else:
            high = middle
    return ids, words - low
