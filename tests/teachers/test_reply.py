"""What is read out of a model's reply: its own text, or why there is none."""

import pytest
from openai_runs import ask

from tinyllm_jax.teachers import config, reply
from tinyllm_jax.teachers.engine import Result

IRON = "Iron is ferromagnetic, so a magnet pulls the nails."


def read(text: str, finish_reason: str, stop=()) -> Result:
    """What `reply.read` makes of a text; reading it once more changes nothing."""
    result = reply.read(Result(ask("q"), text, finish_reason), stop)
    assert reply.read(result, stop) == result
    return result


@pytest.mark.parametrize(
    "said",
    [
        IRON,
        f"\n\n{IRON}\n",
        f"<think>\nOkay, magnets.\n\nSo, nails.\n</think>\n\n{IRON}",
        f"<think>Okay.</think>{IRON}",
        f"<think>\n\n</think>\n\n{IRON}",
        f"Okay, magnets.\n</think>\n\n{IRON}",  # the chat template has opened it
        f"<Thinking>a</Thinking> <thinking>b</thinking> {IRON}",
        f"<reasoning>Hm.</reasoning>\n<answer>{IRON}</answer>",
        f"[THINK]Hm.[/THINK]{IRON}",
        f"<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>{IRON}",
        f"{IRON}<|im_end|>",
        f"Sure! {IRON}",
        f"Sure! Here is the explanation:\n\n{IRON}",
        f"Certainly, here's a short rationale:\n{IRON}",
        f"Of course! I’d be happy to help. Here are the steps of my reasoning: {IRON}",
        f"Okay.\n\n{IRON}",
        f"Great question! {IRON}",
        f"Here is why:\n\n{IRON}",
        f"Let me explain. \n{IRON}",
        f"**Rationale:** {IRON}",
        f"### Explanation\n\n{IRON}",
        f"Sure!\n\nRationale: {IRON}",
        "Iron is \x1b[31mferromagnetic\x1b[0m, so a magnet\x00 pulls the \ufeffnails.\x1b",
        "Iron is ferromagnetic, so a magnet pulls the\x1b]0;title\x07 nails.",
    ],
)
def test_the_own_text(said):
    assert reply.own_text(said)[0] == IRON
    result = read(said, "stop")
    assert (result.text, result.error) == (IRON, "")


@pytest.mark.parametrize(
    "text",
    [
        "Sure enough, iron rusts.",
        "Of course, iron is a metal.",
        "Okay, so iron is a metal.",
        "Here is iron, which a magnet pulls.",
        "Certainly iron is a metal: it rusts.",
        "A < b and b > c, so <iron> it is.",
        "Explanations differ: iron rusts.",
        "I am sorry for the fish, but a magnet pulls iron.",
        "Wood cannot help a magnet.",
        "1. Iron rusts.\n\n2. Nails are iron.",
        "Är £5 → 5 × 3 = 15 · 中文",
    ],
)
def test_what_only_resembles_a_greeting_a_tag_or_a_refusal_stays(text):
    result = read(text, "stop")
    assert (result.text, result.error) == (text, "")


@pytest.mark.parametrize(
    "text, reason, error",
    [
        ("", "stop", "the text is empty"),
        ("Sure! Here is the explanation:", "stop", "the text is empty"),
        ("", "length", "raise max_tokens"),
        ("<think>Okay, the", "length", "raise max_tokens"),
        ("<think>Okay, the", "stop", "nothing but the model's thoughts"),
        ("<think>Okay.</think>", "eos", "nothing but the model's thoughts"),
        ("Iron", "content_filter", "content filter"),
        ("I'm sorry, I can't help with that.", "stop", "the model refused"),
        ("I cannot assist with this request.", "stop", "the model refused"),
        ("I apologize, but as an AI language model, I am unable to answer.", "stop", "refused"),
        ("Sorry, but I won’t provide that.", "stop", "the model refused"),
    ],
)
def test_why_there_is_no_text(text, reason, error):
    result = read(text, reason)
    assert error in result.error and result.text == ""


def test_stop_strings_are_those_of_the_contract():
    """The default ones end raw completions alone; those that are given end chats too."""
    raw, chat = config.teacher(model="m"), config.teacher(model="m", chat=True)
    given = config.teacher(model="m", chat=True, stop=("END",))
    assert config.stop_strings(raw) == ("\n\n", "Question:") and config.stop_strings(chat) == ()
    assert config.stop_strings(given) == ("END",)
    assert config.sampling(chat) != config.sampling(raw)
    two = "One.\n\nTwo."
    assert read(two, "stop", config.stop_strings(raw)).text == "One."
    assert read(two, "stop", config.stop_strings(chat)).text == two
    thought = "<think>a\n\nEND</think>\n\nOne. END"
    assert read(thought, "length", config.stop_strings(given)).text == "One."
