"""A study in shards on Ray: its commands, its exit codes, and the real thing where Ray is."""

import importlib.util
import sys

import pytest

from tinyllm_jax import cli
from tinyllm_jax.studies import cluster


@pytest.fixture
def config(things_corpus, tmp_path):
    path = tmp_path / "study.py"
    path.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(__file__.rsplit('/', 1)[0])!r})\n"
        "from test_study_runner import small\n"
        "def get_config():\n"
        f"    return small({str(things_corpus)!r}, ({{'name': 'answers only'}},), seeds=(0, 1))\n"
    )
    return path


def test_without_ray_it_is_one_line(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SystemExit) as error:
        cli.main(["study", "--config", str(config), "--out", str(tmp_path / "out"), "--ray=2"])
    assert error.value.code == 2 and "pip install 'tinyllm_jax[ray]'" in capsys.readouterr().err


def test_ray_runs_all_shards(config, tmp_path, capsys):
    flags = ["--config", str(config), "--out", str(tmp_path / "out"), "--ray=2", "--shard=0/2"]
    with pytest.raises(SystemExit):
        cli.main(["study", *flags])
    assert "leave --shard and --only_report out" in capsys.readouterr().err


def test_a_report_of_nothing_is_one_line(config, tmp_path, capsys):
    flags = ["--config", str(config), "--out", str(tmp_path / "out"), "--only_report"]
    with pytest.raises(SystemExit) as error:
        cli.main(["study", *flags])
    assert error.value.code == 2 and "holds no tested cell" in capsys.readouterr().err


@pytest.mark.parametrize(
    "codes, words, status", [((0, 0), "", 0), ((0, 3), "", 3), ((0, -9), "shard 1 of 2 ended", 2)]
)
def test_shards_keep_the_flags(codes, words, status, config, tmp_path, monkeypatch, capsys):
    asked = []

    def run(arguments, shards):
        asked.append((list(arguments), shards))
        return list(codes)

    monkeypatch.setattr(cluster, "run", run)
    flags = ["--config", str(config), "--config.base.steps=1", "--out", str(tmp_path), "--ray=2"]
    if status:
        with pytest.raises(SystemExit) as error:
            cli.main(["study", *flags])
        assert error.value.code == status and words in capsys.readouterr().err
    else:
        cli.main(["study", *flags])
    assert asked == [([f"--config={config}", "--config.base.steps=1", f"--out={tmp_path}"], 2)]


@pytest.mark.skipif(not importlib.util.find_spec("ray"), reason="Ray is not installed")
def test_real_ray_trains_every_cell_once(config, tmp_path, capsys):
    cli.main(["study", "--config", str(config), "--out", str(tmp_path / "out"), "--ray=2"])
    assert "| answers only |" in capsys.readouterr().out
    assert len(list(tmp_path.glob("out/cells/*/test/results.json"))) == 2
