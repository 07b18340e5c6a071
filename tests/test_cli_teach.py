"""`tinyllm teach`: its config file, and its exit status."""

import pytest

from tinyllm_jax import cli


def test_teach_takes_a_config_file_and_its_fields(tmp_path, capsys):
    (tmp_path / "teachers.py").write_text(
        "import ml_collections\nfrom tinyllm_jax.teachers.config import teacher\n"
        "def get_config(arg=''):\n    return ml_collections.ConfigDict({'teachers': {"
        "'one-two': teacher(engine='scripted', model='shape', shots=0), "
        "'other': teacher(engine='scripted', model='material', shots=0)}})\n"
    )
    argv = [
        "teach",
        "--config",
        str(tmp_path / "teachers.py"),
        "--task",
        "things",
        "--source",
        "train=9,validation=1,test=1",
        "--out",
        str(tmp_path / "logs"),
    ]
    cli.main(
        [
            *argv,
            "--teachers",
            "one-two",
            '--config.teachers["one-two"].mode=unforced',
            "--questions",
            "4",
        ]
    )
    cli.main([*argv, "--shard", "1/2"])
    assert "one-two: 0 rows done before, 4 written now" in capsys.readouterr().out
    assert sorted(path.name.split("-")[0] for path in (tmp_path / "logs").iterdir()) == [
        "one",
        "one",
        "other",
    ]


def test_teach_exits_with_4_when_rows_are_left(tmp_path, capsys, monkeypatch):
    from tinyllm_jax.teachers import engine, scripted

    def generate(self, requests, stop):
        for index, request in enumerate(requests):
            text = "" if index == 0 else "It is a ring."
            yield engine.Result(request, text, "length" if index == 0 else "stop")

    argv = [
        "teach",
        "--task",
        "things",
        "--source",
        "train=3,validation=1,test=1",
        "--teachers",
        "shape",
    ]
    argv += ["--out", str(tmp_path)]
    with monkeypatch.context() as mocked, pytest.raises(SystemExit) as left:
        mocked.setattr(scripted.ScriptedEngine, "generate", generate)
        cli.main(argv)
    line = "rows left: 1 (1 × no text within max_tokens; raise max_tokens); the same command"
    assert left.value.code == 4 and line in capsys.readouterr().err
    cli.main(argv)
    assert "2 rows done before, 1 written now, 0 left" in capsys.readouterr().out
