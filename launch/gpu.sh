#!/usr/bin/env bash
# One GPU: a debug run that shows that the installation works, then the recipe. Takes minutes, then hours.
#   launch/gpu.sh CORPUS WORKDIR [TASK] [STUDENT]       (CUDA=cuda12 for older drivers, CUDA=cuda13,gcs for a bucket)
# CORPUS is made by `tinyllm corpus import` or `tinyllm corpus build`. No flag of XLA and no share of memory is set, as none
# has been measured.
set -euo pipefail
usage="usage: launch/gpu.sh CORPUS WORKDIR [TASK] [STUDENT]"
absolute() { case $1 in *://*) echo "$1" ;; *) realpath -m "$1" ;; esac }
corpus=$(absolute "${1:?$usage}") workdir=$(absolute "${2:?$usage}")
task=${3:-obqa} student=${4:-small}
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" "${CUDA:-cuda13}"

tinyllm train --config "configs/debug_gpu.py:task=$task,student=$student" --corpus "$corpus" --workdir "$workdir/debug"
tinyllm train --config "configs/tinyllm.py:task=$task,student=$student" --corpus "$corpus" --workdir "$workdir/multi-teacher"
tinyllm train --config "configs/tinyllm.py:task=$task,student=$student,teachers=none" --corpus "$corpus" --workdir "$workdir/answers-only"
tinyllm evaluate --report "$workdir/report.html" \
  --workdir "multi-teacher student=$workdir/multi-teacher" --workdir "answers-only student=$workdir/answers-only"
