"""The students that flags name, and the questions that they are asked."""

from etils import epath

from tinyllm_jax import cli_students
from tinyllm_jax.corpus.store import Corpus


def test_a_path_may_hold_an_equals_sign_and_a_tilde(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/someone")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1").mkdir()
    named = {
        "runs/lr=3": ("", "runs/lr=3"),
        "mine=runs/lr=3": ("mine", "runs/lr=3"),
        "lr=1": ("", "lr=1"),
        "mine=~/run": ("mine", "/home/someone/run"),
    }
    for text, (name, path) in named.items():
        assert cli_students._named(text) == (name, epath.Path(path))


def test_what_a_run_held_out_is_its_validation(things_corpus):
    corpus = Corpus(things_corpus)
    given = cli_students.Given("it", None, corpus, held_out=0.25)
    whole = cli_students.Given("it", None, corpus)
    train, held_out = given.questions("train"), given.questions("validation")
    assert held_out and not {*train} & {*held_out}
    assert {*train, *held_out} == {*whole.questions("train")}
    assert given.questions("test") == whole.questions("test")
    assert given.questions("validation", 2) == held_out[:2]
