#!/usr/bin/env bash
# Cloud TPU VMs: makes one, installs, trains. From your own machine, with gcloud set up:
#   launch/tpu_vm.sh NAME ZONE TYPE CORPUS WORKDIR [CONFIG]       e.g. my-tpu us-central2-b v4-32 /mnt/share/obqa /mnt/share/run
# CORPUS and WORKDIR are paths on a disk that every worker mounts (Filestore, or a bucket through gcsfuse). With several
# workers the same command runs on each; they find one another, and worker 0 writes. A preempted run goes on when this is
# run again. The machine is not deleted: gcloud compute tpus tpu-vm delete NAME --zone ZONE
set -euo pipefail
usage="usage: launch/tpu_vm.sh NAME ZONE TYPE CORPUS WORKDIR [CONFIG]"
name=${1:?$usage} zone=${2:?$usage} type=${3:?$usage} corpus=${4:?$usage} workdir=${5:?$usage}
config=${6:-configs/tinyllm.py:task=obqa,student=base}
image=${IMAGE:-tpu-ubuntu2204-base}
tpu=(gcloud compute tpus tpu-vm)
on_all() { "${tpu[@]}" ssh "$name" --zone "$zone" --worker=all --command "$1"; }

"${tpu[@]}" describe "$name" --zone "$zone" > /dev/null 2>&1 ||
  "${tpu[@]}" create "$name" --zone "$zone" --accelerator-type "$type" --version "$image"
git -C "$(dirname "${BASH_SOURCE[0]}")/.." archive --prefix=tinyllm_jax/ -o /tmp/tinyllm_jax.tar.gz HEAD
"${tpu[@]}" scp /tmp/tinyllm_jax.tar.gz "$name:" --zone "$zone" --worker=all
on_all "tar xzf tinyllm_jax.tar.gz && PYTHON=\${PYTHON:-python3.11} bash -c 'source tinyllm_jax/launch/setup.sh tpu'"
on_all "cd tinyllm_jax && .venv/bin/tinyllm train --distributed --config '$config' --corpus '$corpus' --workdir '$workdir'"
# One worker of a pod cannot use its TPU alone, so the evaluation runs on worker 0's CPU.
"${tpu[@]}" ssh "$name" --zone "$zone" --worker=0 --command \
  "cd tinyllm_jax && JAX_PLATFORMS=cpu .venv/bin/tinyllm evaluate --workdir '$workdir'"
