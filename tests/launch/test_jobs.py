"""What other schedulers read: SkyPilot, Docker, Kubernetes and Slurm."""

import pathlib
import re
import shlex
import tomllib

import pytest
import yaml

REPO = pathlib.Path(__file__).resolve().parents[2]
LAUNCH = REPO / "launch"
# SkyPilot 0.14's fields of a task, and of its resources, that are of use here.
SKY_FIELDS = {"name", "workdir", "num_nodes", "resources", "envs", "file_mounts", "setup", "run"}
SKY_RESOURCES = {"infra", "accelerators", "use_spot", "disk_size", "job_recovery"}


def extras() -> set[str]:
    text = (REPO / "pyproject.toml").read_text()
    return set(tomllib.loads(text)["project"]["optional-dependencies"])


def commands(file: str) -> list[str]:
    """The commands that a file's first lines quote, each in one line."""
    found: list[str] = []
    for line in (LAUNCH / file).read_text().splitlines():
        if not line.startswith("#"):
            continue
        text = line.removeprefix("#").strip()
        if re.match(r"(sky|kubectl|xpk|docker) [a-z]", text):
            found.append(re.split(r"\s{4,}", text)[0])
        elif text.startswith("--command"):
            found[-1] += f" {text}"
    return found


@pytest.mark.parametrize("name", ["sky_train", "sky_teachers"])
def test_sky_tasks_have_known_fields_and_go_on_after_preemption(name):
    task = yaml.safe_load((LAUNCH / f"{name}.yaml").read_text())
    assert set(task) <= SKY_FIELDS and set(task["resources"]) <= SKY_RESOURCES
    assert task["resources"]["use_spot"] is True
    # 3 is how our commands end when they were stopped and the same command goes on.
    codes = task["resources"]["job_recovery"]["recover_on_exit_codes"]
    assert 3 in (codes if isinstance(codes, list) else [codes])
    assert set(task["envs"].get("EXTRAS", "tpu").split(",")) <= extras()


def test_sky_train_runs_what_it_is_given(fake):
    task = yaml.safe_load((LAUNCH / "sky_train.yaml").read_text())
    given = {"CORPUS": "gs://b/c d", "WORKDIR": "gs://b/r", "FLAGS": "--config.seed=1 --profile=p"}
    for extra, nodes in (
        ("tpu,gcs", {}),
        ("cuda13,gcs", {"SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2"}),
    ):
        env = task["envs"] | given | {"EXTRAS": extra} | nodes
        env |= {"SKYPILOT_NUM_NODES": "2", "SKYPILOT_NODE_RANK": "1"}
        show = "echo $JAX_COORDINATOR_ADDRESS $JAX_NUM_PROCESSES $JAX_PROCESS_ID"
        for script in (task["setup"], "set -u -o pipefail; set +u\n" + task["run"] + show):
            done = fake.run("bash", "-c", script, **env)
            assert done.returncode == 0, done.stderr
        found = done.stdout.splitlines()[-1]
        assert found == ("10.0.0.1:8476 2 1" if extra.startswith("cuda") else "")
    assert fake.lines("tinyllm")[: len(fake.lines("tinyllm")) // 2] == [
        *("train", "--distributed", "--config", "configs/tinyllm.py:task=obqa,student=base"),
        *("--corpus", "gs://b/c d", "--workdir", "gs://b/r", "--config.seed=1", "--profile=p"),
    ]


def test_sky_teachers_keep_their_logs_in_the_bucket(fake):
    """The machine is new, the bucket holds an earlier machine's log, and `teach` ends with 4."""
    task = yaml.safe_load((LAUNCH / "sky_teachers.yaml").read_text())
    bucket = fake.root / "bucket"
    (bucket / "teach" / "obqa" / "logs").mkdir(parents=True)
    (bucket / "teach" / "obqa" / "logs" / "a").write_text("one ")
    (fake.checkout / "launch" / "teachers.sh").write_text(
        '#!/bin/bash\necho "$@" > "$FAKE/given"\nprintf two >> "$3/logs/a"\nexit 4\n'
    )
    run = task["run"].replace("/bucket/", f"{bucket}/")
    env = task["envs"] | {"BUCKET": "gs://b", "FLAGS": "--teachers qwen"}
    done = fake.run("bash", "-c", run, **env)
    assert done.returncode == 4, done.stderr
    assert (bucket / "teach" / "obqa" / "logs" / "a").read_text() == "one two"
    assert fake.lines("given") == ["obqa hf runs/teach/obqa configs/teachers.py --teachers qwen"]


def test_the_jobset_is_one_process_a_host_and_stops_at_bad_input():
    jobset = yaml.safe_load((LAUNCH / "gke_jobset.yaml").read_text())
    assert (jobset["apiVersion"], jobset["kind"]) == ("jobset.x-k8s.io/v1alpha2", "JobSet")
    (slices,) = jobset["spec"]["replicatedJobs"]
    job = slices["template"]["spec"]
    pod = job["template"]["spec"]
    (container,) = pod["containers"]
    hosts = job["parallelism"]
    assert job["completions"] == hosts and job["backoffLimit"] == 0
    chips = 1
    for side in pod["nodeSelector"]["cloud.google.com/gke-tpu-topology"].split("x"):
        chips *= int(side)
    assert chips == hosts * container["resources"]["limits"]["google.com/tpu"]
    assert {"cloud.google.com/gke-tpu-accelerator"} <= set(pod["nodeSelector"])
    (rule,) = job["podFailurePolicy"]["rules"]
    assert rule["action"] == "FailJob" and rule["onExitCodes"]["values"] == [2]
    assert rule["onExitCodes"]["containerName"] == container["name"]
    assert pod["restartPolicy"] == "Never"  # a podFailurePolicy needs it
    (rule,) = jobset["spec"]["failurePolicy"]["rules"]
    assert rule.keys() == {"name", "action", "onJobFailureReasons"}
    assert (rule["action"], rule["onJobFailureReasons"]) == ("FailJobSet", ["PodFailurePolicy"])
    assert container["args"][:2] == ["train", "--distributed"]
    assert any("--workdir=gs://" in word for word in container["args"])


def test_the_image_is_pinned_constrained_and_not_of_root():
    text = (LAUNCH / "Dockerfile").read_text()
    assert re.search(r"^FROM python:3\.12\.\d+-slim", text, re.MULTILINE)
    assert "-c launch/constraints-3.12.txt" in text
    assert text.index("USER tinyllm") > text.index("RUN pip")
    for value in re.findall(r"EXTRAS=([\w,]+)", text):
        assert set(value.split(",")) <= extras()
    for path in re.findall(r"^COPY (.+) \S+$", text, re.MULTILINE):
        assert all((REPO / word).exists() for word in path.split())


@pytest.mark.parametrize(
    "file", ["sky_train.yaml", "sky_teachers.yaml", "gke_jobset.yaml", "Dockerfile"]
)
def test_the_quoted_commands_are_whole(fake, file):
    quoted = commands(file)
    assert quoted
    for command in quoted:
        before = len(fake.calls())
        assert fake.run("bash", "-c", command).returncode == 0, command
        assert len(fake.calls()) == before + 1
        for word in shlex.split(command):
            if word.startswith("launch/"):
                assert (REPO / word).exists()


def slurm(fake, ends: str, state: str = "RUNNING"):
    """Runs the batch script where srun ends with a status and Slurm says a state of the job."""
    (fake.bin / "srun").write_text(
        f'#!/bin/bash\nprintf "%s\\n" "$@" > "$FAKE/srun"\nexit {ends}\n'
    )
    (fake.bin / "squeue").write_text(f"#!/bin/bash\necho {state}\n")
    (fake.bin / "squeue").chmod(0o755)
    words = ("launch/slurm.sbatch", "/c d", "/run", "configs/quickstart.py", "--config.seed=1")
    return fake.run(*words, SLURM_JOB_ID="17")


def test_slurm_runs_a_task_for_each_gpu(fake):
    assert slurm(fake, "0").returncode == 0
    assert fake.lines("srun") == [
        *("--kill-on-bad-exit=0", "tinyllm", "train", "--distributed"),
        *("--config", "configs/quickstart.py", "--corpus", "/c d", "--workdir", "/run"),
        "--config.seed=1",
    ]
    assert not fake.calls("scontrol")
    text = (LAUNCH / "slurm.sbatch").read_text()
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(\S+)", text, re.MULTILINE))
    assert options["ntasks-per-node"] == options["gpus-per-node"]
    assert options["signal"] == "TERM@120" and "#SBATCH --requeue" in text


@pytest.mark.parametrize(
    ("ends", "state", "again"),
    [("3", "RUNNING", True), ("3", "CANCELLED", False), ("1", "RUNNING", False)],
)
def test_slurm_puts_a_stopped_job_back_into_the_queue(fake, ends, state, again):
    assert slurm(fake, ends, state).returncode == int(ends)
    assert fake.calls("scontrol") == (["scontrol requeue 17"] if again else [])
