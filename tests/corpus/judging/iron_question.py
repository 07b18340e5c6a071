"""The question that the hand-made rationales of these tests are about."""

from tinyllm_jax.tasks.question import Question

IRON = Question(
    "1",
    "t",
    "train",
    "",
    "What do magnets attract?",
    ("iron nails", "a metal cup", "-3", "3 cats"),
    "iron nails",
)
