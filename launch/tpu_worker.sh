#!/usr/bin/env bash
# What launch/tpu_vm.sh runs on each worker of a TPU.
#   launch/tpu_worker.sh start FLAGS…    `tinyllm train FLAGS…`, in a session of its own that outlives the ssh connection
#   launch/tpu_worker.sh state [FLAGS…]  prints "run: WORD": running; busy, with a run of other flags; absent; or the run's
#                                        exit status. Without FLAGS, of any run
# ~/tinyllm-run holds the log, the flags of the last run, its exit status, and a lock that is held while it runs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
run=$HOME/tinyllm-run
mkdir -p "$run"

same_flags() {
  [ $# = 0 ] || [ "$(cat "$run/flags" 2> /dev/null)" = "$(printf '%q ' "$@")" ]
}

state() {
  local word=absent
  if ! flock --nonblock "$run/lock" true; then
    word=running
    same_flags "$@" || word=busy
  elif same_flags "$@" && [ -f "$run/status" ]; then
    word=$(cat "$run/status")
  fi
  echo "run: $word"
}

start() {
  # The run inherits this file's lock, so that it is held until its last process has ended, however that comes about.
  exec 9> "$run/lock"
  if ! flock --nonblock 9; then
    echo "tpu_worker: a run is under way already" >&2
    same_flags "$@"
    return
  fi
  rm -f "$run/status"
  printf '%q ' "$@" > "$run/flags"
  setsid nohup launch/tpu_worker.sh train "$@" >> "$run/log" 2>&1 < /dev/null &
}

train() { # what `start` leaves running
  local status=0
  if [ -f ~/tinyllm.env ]; then
    set -a # what the file sets is exported
    # shellcheck source=/dev/null
    source ~/tinyllm.env
    set +a
  fi
  .venv/bin/tinyllm train --distributed "$@" || status=$?
  echo "$status" > "$run/status"
}

case ${1:-} in
  start | state | train) "$@" ;;
  *) echo "usage: launch/tpu_worker.sh start|state FLAGS…" >&2; exit 2 ;;
esac
