"""`launch/tpu_vm.sh` against a gcloud that plays a TPU: what it asks for, survives and refuses."""

import pytest

TRAIN = (
    "launch/tpu_vm.sh",
    "train",
    "my-tpu",
    "us-east5-b",
    "v6e-16",
    "gs://b/corpus",
    "gs://b/run",
)


@pytest.fixture
def tpu(fake):
    """A TPU that is ready as soon as it is asked for."""
    fake.commit()
    fake.says("states", "-", "ACTIVE READY")
    fake.says("ends", "0")
    return fake


def test_everything_in_order(tpu):
    tpu.says(
        "states", "-", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE CREATING", "ACTIVE READY"
    )
    done = tpu.run(*TRAIN)
    assert done.returncode == 0, done.stderr
    for state in ("ABSENT", "WAITING_FOR_RESOURCES", "PROVISIONING", "CREATING", "READY"):
        assert f"the TPU my-tpu is {state}" in done.stderr
    assert "launch/tpu_vm.sh down my-tpu us-east5-b" in done.stderr  # it is still paid for
    (create,) = tpu.calls("queued-resources create")
    assert create == (
        "compute tpus queued-resources create my-tpu --node-id=my-tpu --accelerator-type=v6e-16 "
        "--runtime-version=v2-alpha-tpuv6e --zone=us-east5-b --quiet"
    )
    assert tpu.calls("pip:", ".[tpu,gcs]")
    assert tpu.lines("tinyllm") == [
        *("train", "--distributed", "--config=configs/tinyllm.py:task=obqa,student=base"),
        *("--corpus=gs://b/corpus", "--workdir=gs://b/run"),
        *("evaluate", "--distributed", "--workdir=gs://b/run"),
    ]


def test_overrides_arrive_as_they_were_given(tpu):
    odd = """--config.teachers["a b"].stop='$HOME `id` \\n & * ü;"""
    done = tpu.run(*TRAIN, "configs/quickstart.py:teachers=a+b", "--config.seed=1", odd)
    assert done.returncode == 0, done.stderr
    given = tpu.lines("tinyllm")
    assert given[2] == "--config=configs/quickstart.py:teachers=a+b"
    assert given[5:7] == ["--config.seed=1", odd]


def test_preemption_is_survived(tpu):
    tpu.says(
        "states",
        *("-", "ACTIVE READY", "ACTIVE READY", "ACTIVE PREEMPTED", "-", "ACTIVE READY"),
        *("SUSPENDING", "SUSPENDED", "-", "ACTIVE READY"),
    )
    tpu.says("ends", "never", "never", "0")
    done = tpu.run(*TRAIN, SPOT="1")
    assert done.returncode == 0, done.stderr
    assert len(tpu.calls("queued-resources create", "--spot")) == 3
    assert len(tpu.calls("queued-resources delete my-tpu --force")) == 2
    assert tpu.lines("tinyllm").count("train") == 3
    assert tpu.lines("tinyllm").count("evaluate") == 1


def test_a_failing_connection_is_tried_again(tpu):
    tpu.says("failures", "queued-resources list", "create", "scp", "setup.sh", "start", "state")
    done = tpu.run(*TRAIN)
    assert done.returncode == 0, done.stderr
    assert not tpu.lines("failures")


def test_a_tpu_that_cannot_be_reached_is_given_up(tpu):
    tpu.says("failures", *["tpu-vm ssh"] * 11)
    done = tpu.run(*TRAIN)
    assert done.returncode == 1 and "no ssh to the TPU my-tpu" in done.stderr.splitlines()[-1]


def test_a_request_that_cannot_be_made_is_given_up(tpu):
    tpu.says("failures", *["create"] * 5)
    done = tpu.run(*TRAIN)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "tpu_vm: cannot ask for the TPU my-tpu; gcloud says why"
    )


def test_requests_that_keep_failing_are_given_up(tpu):
    tpu.says("states", "FAILED")
    done = tpu.run(*TRAIN)
    assert done.returncode == 1 and "FAILED ten times" in done.stderr.splitlines()[-1]


def test_a_stopped_or_crashed_run_is_started_again(tpu):
    tpu.says("ends", "3", "134", "0")
    assert tpu.run(*TRAIN).returncode == 0
    assert tpu.lines("tinyllm").count("train") == 3


def test_workers_run_the_same_until_all_are_done(tpu):
    tpu.says("ends-worker1", "134", "0")
    tpu.says("ends-worker0", "0", "0")
    done = tpu.run(*TRAIN, WORKERS="2")
    assert done.returncode == 0 and "the run is 134" in done.stderr
    assert tpu.lines("tinyllm").count("train") == 4
    assert tpu.lines("tinyllm").count("evaluate") == 2  # together, as they have trained


def test_a_tpu_that_goes_while_it_is_installed_on_is_asked_for_again(tpu):
    tpu.says("states", "-", "ACTIVE READY", "SUSPENDED", "-", "ACTIVE READY")
    tpu.says("failures", *["setup.sh"] * 5)
    done = tpu.run(*TRAIN)
    assert done.returncode == 0, done.stderr
    assert len(tpu.calls("queued-resources create")) == 2


def test_a_run_that_keeps_crashing_is_given_up_with_its_last_lines(tpu):
    tpu.says("ends", *"1111")
    done = tpu.run(*TRAIN)
    assert done.returncode == 1
    assert "failed four times" in done.stderr and "tinyllm was here" in done.stderr


def test_bad_input_is_not_tried_again(tpu):
    tpu.says("ends", "2")
    done = tpu.run(*TRAIN)
    assert done.returncode == 2 and "tinyllm was here" in done.stderr
    assert tpu.lines("tinyllm").count("train") == 1


def test_a_run_under_way_is_looked_after_and_not_disturbed(tpu):
    tpu.says("ends", "never")
    for step in ("up", "install", "start", "start"):
        assert tpu.run("launch/tpu_vm.sh", step, *TRAIN[2:]).returncode == 0
    assert "the run is running" in tpu.run("launch/tpu_vm.sh", "status", *TRAIN[2:4]).stderr
    assert tpu.lines("tinyllm").count("train") == 1
    for step in ("train", "start"):
        other = tpu.run("launch/tpu_vm.sh", step, *TRAIN[2:], "--config.seed=2")
        assert other.returncode == 2 and "a run with other flags is under way" in other.stderr
    assert len(tpu.calls("tpu-vm scp")) == 1

    assert tpu.run("launch/tpu_vm.sh", "down", *TRAIN[2:4]).returncode == 0
    assert not (tpu.root / "worker0").exists()


def test_another_run_on_the_same_tpu_is_not_taken_for_done(tpu):
    assert tpu.run(*TRAIN).returncode == 0
    tpu.says("ends", "0", "0")
    assert tpu.run(*TRAIN).returncode == 0  # this one is
    assert tpu.run(*TRAIN, "--config.seed=2").returncode == 0
    assert tpu.lines("tinyllm").count("train") == 2


def test_secrets_travel_in_a_file_of_mode_600(tpu):
    secrets = tpu.root / "my.env"
    secrets.write_text("HF_TOKEN=hf_secret\n")
    refused = tpu.run(*TRAIN, ENV_FILE=str(secrets))
    assert refused.returncode == 2 and "chmod 600" in refused.stderr and not tpu.lines("calls")

    secrets.chmod(0o600)
    assert tpu.run(*TRAIN, ENV_FILE=str(secrets)).returncode == 0
    assert tpu.lines("token")[0] == "hf_secret"
    assert (tpu.root / "worker0" / "tinyllm.env").stat().st_mode & 0o777 == 0o600
    assert "hf_secret" not in "".join(tpu.lines("calls"))


def test_a_dry_run_prints_the_commands_and_runs_none(tpu):
    done = tpu.run(*TRAIN, DRY_RUN="1", SPOT="1")
    assert done.returncode == 0 and not tpu.lines("calls")
    commands = done.stdout.splitlines()
    assert [" ".join(line.split()[3:5]) for line in commands] == [
        *("queued-resources list", "queued-resources create", "tpu-vm scp"),
        *["tpu-vm ssh"] * 4,
    ]
    assert "--spot" in commands[1]
    # They can be pasted: here, to the fake.
    tpu.run("bash", "-c", commands[1])
    assert tpu.calls("queued-resources create", "--spot")


@pytest.mark.parametrize(
    ("kind", "image"),
    [
        ("v2-8", "tpu-ubuntu2204-base"),
        ("v4-32", "tpu-ubuntu2204-base"),
        ("v5litepod-16", "v2-alpha-tpuv5-lite"),
        ("v5p-8", "v2-alpha-tpuv5"),
        ("v6e-1", "v2-alpha-tpuv6e"),
    ],
)
def test_the_image_follows_from_the_type(fake, kind, image):
    fake.commit()
    done = fake.run("launch/tpu_vm.sh", "up", "t", "z", kind, *TRAIN[5:], DRY_RUN="1")
    assert f"--runtime-version={image} " in done.stdout


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "usage: launch/tpu_vm.sh"),
        (("my-tpu", "z", "v4-8", "gs://b/c", "gs://b/r", "x"), "usage: launch/tpu_vm.sh"),
        (TRAIN[1:6], "usage: launch/tpu_vm.sh"),
        (("down", "my-tpu"), "usage: launch/tpu_vm.sh"),
        (("up", "My TPU", *TRAIN[3:]), "NAME is made of"),
        (("up", "t", "z", "tpu7x-8", *TRAIN[5:]), "launch/gke_jobset.yaml"),
        (("up", "t", "z", "a100", *TRAIN[5:]), "no image is known for the type a100"),
        (("up", "t", "z", "v4-8", "/mnt/c", "gs://b/r"), "lie at gs://BUCKET/…"),
        (("up", "t", "z", "v4-8", "gs://b/c", "gs://b"), "lie at gs://BUCKET/…"),
    ],
)
def test_bad_input_is_one_line_before_anything_is_done(fake, words, says):
    done = fake.run("launch/tpu_vm.sh", *words)
    assert done.returncode == 2 and not fake.lines("calls")
    (line,) = done.stderr.splitlines()
    assert says in line


def test_what_is_missing_here_is_one_line(fake):
    no_commit = fake.run(*TRAIN)
    assert no_commit.returncode == 2 and "is no git checkout" in no_commit.stderr
    (fake.bin / "gcloud").unlink()
    no_gcloud = fake.run(*TRAIN, PATH=fake.path_of("bash", "env"))
    assert no_gcloud.returncode == 2 and "there is no gcloud here" in no_gcloud.stderr
