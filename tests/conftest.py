"""Where the tests find real input: the released corpora, the T5 tokenizer and real weights.

They lie outside the checkout (`$TINYLLM_SHARED`, else a folder `shared` beside the checkout;
weights in `$TINYLLM_MODELS`), and a test that needs one is skipped, with the reason, where it is
absent.
"""

import fcntl
import os
import pathlib

# Eight devices for every test, and no accelerator: set before jax is first imported. XLA ends a
# process in which one device has waited 40 s for the others, and eight on two cores that other
# tests share may have to.
os.environ["JAX_PLATFORMS"] = "cpu"
os.environ.setdefault(
    "XLA_FLAGS",
    "--xla_force_host_platform_device_count=8 "
    "--xla_cpu_collective_call_terminate_timeout_seconds=300",
)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Most of the tests' time is compilation, of the same few programs in many processes: one cache for
# all of them.
CACHE = pathlib.Path(__file__).resolve().parent.parent / ".pytest_cache" / "jax"
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(CACHE))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.1")

import pytest  # noqa: E402 (the environment comes first)
from memory_bucket import bucket  # noqa: E402, F401 (a fixture)

REPO = pathlib.Path(__file__).resolve().parent.parent
SHARED = pathlib.Path(os.environ.get("TINYLLM_SHARED", REPO.parent / "shared"))
MODELS = pathlib.Path(
    os.environ.get("TINYLLM_MODELS", pathlib.Path.home() / ".cache" / "tinyllm-models")
)


def _need(path: pathlib.Path, what: str) -> pathlib.Path:
    if not path.exists():
        pytest.skip(f"{what} not found at {path}")
    return path


@pytest.fixture(scope="module")
def quick_compilation():
    """For tests that compile much and compute little: XLA leaves most optimisations out."""
    import jax

    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@pytest.fixture(scope="module")
def one_device():
    """For runs in this process that need no mesh: they find one device, and not eight.

    That compiles in less time, and a checkpoint is not saved in parts by each device.
    """
    import jax

    first = jax.devices()[:1]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jax, "devices", lambda: first)
        patch.setattr(jax, "device_count", lambda: 1)
        yield


@pytest.fixture(scope="session")
def released() -> pathlib.Path:
    """The directory of the corpora that the TinyLLM authors released."""
    return _need(SHARED / "data" / "tinyllm-release", "the released corpora (set TINYLLM_SHARED)")


@pytest.fixture(scope="session")
def released_corpus(released, tmp_path_factory):
    """released_corpus(task) is a released corpus's directory, imported once for all processes."""
    from tinyllm_jax.corpus.importing.released import import_released

    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent  # each process has a directory of its own in the session's

    def directory(task: str) -> pathlib.Path:
        out = root / f"released-{task}"
        with open(root / f"released-{task}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not out.exists():
                import_released(released, task, out)
        return out

    return directory


@pytest.fixture(scope="session")
def obqa_strong() -> pathlib.Path:
    """Rationales of three strong teachers on OBQA's training questions."""
    return _need(SHARED / "data" / "obqa-strong", "strong teachers' files (set TINYLLM_SHARED)")


@pytest.fixture(scope="session")
def t5_tokenizer_dir() -> pathlib.Path:
    """The real T5 tokenizer."""
    return _need(SHARED / "t5-tokenizer", "the T5 tokenizer (set TINYLLM_SHARED)")


@pytest.fixture(scope="session")
def flan_t5_small() -> pathlib.Path:
    """Real FLAN-T5-small-architecture weights in a Hugging Face directory."""
    return _need(MODELS / "flan-t5-small", "FLAN-T5-small weights (set TINYLLM_MODELS)")


@pytest.fixture(scope="session")
def things_corpus(tmp_path_factory) -> pathlib.Path:
    """A small corpus of made-up things, by the two scripted teachers that are right."""
    from tinyllm_jax import tasks
    from tinyllm_jax.corpus.joining import build
    from tinyllm_jax.teachers import config, job

    root = tmp_path_factory.mktemp("things")
    source = "train=96,validation=24,test=24"
    teachers = {name: config.scripted()[name] for name in ("material", "shape")}
    job.teach("things", source, teachers, root / "logs", ("train", "validation"))
    build.build(
        "things",
        tasks.load("things", source),
        sorted((root / "logs").glob("*.tfrecord")),
        root / "corpus",
    )
    return root / "corpus"
