"""How a local engine reads a prompt: the model's chat template, its tokens, and a context cut to fit the window."""

from tinyllm_jax.teachers.prompts import Prompt


def tokens(tokenizer, text: str, chat: bool) -> list[int]:
    """The ids that the model reads: the raw text's, or those of the text as a user's message."""
    if not chat:
        return tokenizer(text)["input_ids"]
    message = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)[
        "input_ids"
    ]


def read(tokenizer, prompt: Prompt, chat: bool, limit: int) -> tuple[list[int], int]:
    """A prompt's ids with as much of its context as fits.

    Args:
      tokenizer: a Hugging Face tokenizer.
      prompt: the prompt; nothing but its context is cut.
      chat: as in `tokens`.
      limit: the most ids that may come back.

    Returns:
      (ids, words cut off the context).

    Raises:
      ValueError: it does not fit even without its context.
    """
    ids = tokens(tokenizer, prompt.text, chat)
    if len(ids) <= limit:
        return ids, 0
    words = prompt.context_words
    ids = tokens(tokenizer, prompt.cut(0).text, chat)
    if len(ids) > limit:
        without = " even without its context" if words else ""
        raise ValueError(
            f"the prompt has {len(ids):,} tokens{without}, and only {limit:,} fit the model's window beside "
            f"max_tokens; lower shots or max_tokens, or raise window"
        )
    low, high = 0, words  # `low` words fit, `high` do not
    while high - low > 1:
        middle = (low + high) // 2
        tried = tokens(tokenizer, prompt.cut(middle).text, chat)
        if len(tried) <= limit:
            low, ids = middle, tried
        else:
            high = middle
    return ids, words - low
