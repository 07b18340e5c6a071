"""The question itself: its gold answer and its letters."""

from tinyllm_jax.tasks import Question


def test_choices_have_letters():
    question = Question("1", "obqa", "train", "", "What?", ("one", "two"), "two")
    assert question.lettered == ("(a) one", "(b) two")
    assert question.letter(question.gold) == "b"
