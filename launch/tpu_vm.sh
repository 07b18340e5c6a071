#!/usr/bin/env bash
# Trains on a Cloud TPU VM, from your own machine with gcloud set up, through preemptions, until the run is done.
#
#   launch/tpu_vm.sh COMMAND NAME ZONE TYPE CORPUS WORKDIR [CONFIG] [FLAGS of tinyllm train…]
#   e.g.  SPOT=1 launch/tpu_vm.sh train my-tpu us-east5-b v6e-16 gs://my-bucket/obqa gs://my-bucket/run \
#           configs/tinyllm.py:task=obqa,student=base --config.mesh.fsdp=16
#
# COMMAND is train, which does everything and may be stopped and run again, or one of its steps:
#   up        asks for the TPU and waits until it is ready; one that was preempted or failed is deleted and asked for anew
#   install   sends the checkout's last commit to every worker and installs it there
#   start     starts the run on every worker, in a session of its own, which outlives this script and its connections
#   evaluate  the run's student, on the TPU, whose workers share the questions
# or one that needs no more than NAME and ZONE:
#   status    the state of the TPU and of the run: running, absent, or the run's exit status
#   logs      follows the log of worker 0 (WORKER=1: another's)
#   down      deletes the TPU; until then it is paid for
#
# CORPUS and WORKDIR lie at gs://, which all workers share and which outlives the TPU. With several workers, gcloud wants
# your key in the agent: `ssh-add ~/.ssh/google_compute_engine`.
# Variables: SPOT=1 asks for a spot TPU. DRY_RUN=1 prints every gcloud command and runs none. IMAGE is the VM's software,
# where it is not the usual one for TYPE. ENV_FILE, a file of mode 600, holds lines NAME=VALUE for the run, such as HF_TOKEN.
set -euo pipefail
exec 3>&1 # where DRY_RUN prints, from within $(…) too
dry=${DRY_RUN:-0} spot=${SPOT:-0}
pause=${PAUSE:-60} # seconds between two looks at the TPU, and between two attempts

say() { echo "tpu_vm: $1" >&2; }
die() { say "$1"; exit "${2:-1}"; }

cloud() { # every call of gcloud
  set -- gcloud compute tpus "$@" --zone="$zone" --quiet
  if [ "$dry" = 0 ]; then
    "$@" 3>&-
  else
    { printf '%q ' "$@"; echo; } >&3
  fi
}

on_workers() { # WORKER|all COMMAND; fails within a minute where the TPU has gone
  cloud tpu-vm ssh "$name" --worker="$1" --command="$2" \
    --ssh-flag="-o ConnectTimeout=30" --ssh-flag="-o ServerAliveInterval=20"
}

repeatedly() { # COMMAND…, five times at most: a VM that is ready takes a while to accept connections
  local attempt
  for attempt in 1 2 3 4; do
    "$@" && return
    say "this failed, attempt $attempt of 5; trying again in $pause s"
    sleep "$pause"
  done
  "$@"
}

# ---- The TPU.

image() { # the software of a VM of this type
  case $type in
    v2-* | v3-* | v4-*) echo tpu-ubuntu2204-base ;;
    v5litepod-*) echo v2-alpha-tpuv5-lite ;;
    v5p-*) echo v2-alpha-tpuv5 ;;
    v6e-*) echo v2-alpha-tpuv6e ;;
    tpu7x*) die "TPU7x is to be had through Kubernetes alone: see launch/gke_jobset.yaml" 2 ;;
    *) die "no image is known for the type $type, which looks like v4-8, v5litepod-8, v5p-8 or v6e-8; or set IMAGE" 2 ;;
  esac
}

machine() { # prints READY; ABSENT; UNKNOWN, where gcloud fails; or another state of the request or the VM
  local request vm
  request=$(cloud queued-resources list --filter="name~/$name\$" --format="value(state.state)") || request=UNKNOWN
  if [ "$request" = ACTIVE ]; then
    vm=$(cloud tpu-vm list --filter="name~/$name\$" --format="value(state)") || vm=UNKNOWN
    request=${vm:-DELETED} # the VM alone was deleted
  fi
  echo "${request:-ABSENT}"
}

create() {
  local tier=
  [ "$spot" = 0 ] || tier=--spot
  cloud queued-resources create "$name" --node-id="$name" \
    --accelerator-type="$type" --runtime-version="$image" ${tier:+"$tier"}
}

down() {
  cloud queued-resources delete "$name" --force
}

up() {
  local state before='' wrong=0
  if [ "$dry" != 0 ]; then
    machine > /dev/null
    create
    return
  fi
  while true; do
    state=$(machine)
    [ "$state" = "$before" ] || say "the TPU $name is $state"
    before=$state
    case $state in
      READY) return ;;
      FAILED | UNKNOWN)
        wrong=$((wrong + 1))
        [ $wrong -le 10 ] || die "the TPU $name was $state ten times; gcloud says why: launch/tpu_vm.sh status $name $zone"
        ;;
    esac
    case $state in
      ABSENT) repeatedly create || die "cannot ask for the TPU $name; gcloud says why" ;;
      FAILED | PREEMPTED | SUSPENDED | STOPPED | TERMINATED | DELETED)
        repeatedly down || die "cannot delete the TPU $name; gcloud says why"
        ;;
    esac # in another state it is on its way
    sleep "$pause"
  done
}

# ---- The run.

install() {
  archive=$(mktemp)
  trap 'rm -f "$archive"' EXIT
  git -C "$checkout" archive --format=tar.gz --prefix=tinyllm_jax/ -o "$archive" HEAD
  [ -z "$(git -C "$checkout" status --porcelain)" ] || say "what is not committed is not sent"
  repeatedly cloud tpu-vm scp "$archive" "$name:tinyllm_jax.tar.gz" --worker=all || return
  if [ -n "${ENV_FILE:-}" ]; then
    repeatedly cloud tpu-vm scp "$ENV_FILE" "$name:tinyllm.env" --worker=all || return
  fi
  repeatedly on_workers all \
    "chmod -f 600 tinyllm.env; tar xzf tinyllm_jax.tar.gz && bash tinyllm_jax/launch/setup.sh tpu,gcs"
}

start() {
  [ "$(run_state)" != busy ] || refuse_busy
  repeatedly on_workers all "tinyllm_jax/launch/tpu_worker.sh start$flags"
}

run_state() { # prints running, busy, absent, unreachable, or the exit status, other than 0 if a worker has another
  local said
  said=$(on_workers all "[ -d tinyllm_jax ] || { echo run: absent; exit; }; tinyllm_jax/launch/tpu_worker.sh state$flags") ||
    said=
  said=$(sed -n 's/^run: //p' <<< "$said" | sort -u)
  case $said in
    '') echo unreachable ;;
    *busy*) echo busy ;;
    *running*) echo running ;;
    *) tail -n 1 <<< "$said" ;;
  esac
}

refuse_busy() {
  die "a run with other flags is under way on the TPU $name: launch/tpu_vm.sh logs $name $zone" 2
}

evaluate() {
  on_workers all "cd tinyllm_jax && .venv/bin/tinyllm evaluate --distributed --workdir=$(printf %q "$workdir")"
}

last_lines() { # of every worker's log
  on_workers all "tail -n 20 tinyllm-run/log" >&2 || true
}

train() {
  local state before='' failures=0 unreachable=0
  if [ "$dry" != 0 ]; then
    up; install; start; evaluate
    return
  fi
  while true; do
    up
    state=$(run_state)
    [ "$state" = "$before" ] || say "the run is $state"
    before=$state
    case $state in
      0) break ;;
      2) last_lines; die "the run was refused; its last lines are above" 2 ;;
      busy) refuse_busy ;;
      running) unreachable=0 ;;
      unreachable) # where the TPU is going, `up` will see it
        unreachable=$((unreachable + 1))
        [ $unreachable -le 10 ] || die "no ssh to the TPU $name, ten times; a run there goes on, and the same command finds it"
        ;;
      *)
        # A new TPU, or a run that was stopped, which ends with 3, or failed. A TPU may go while this is under way.
        unreachable=0
        [[ $state == absent || $state == 3 ]] || failures=$((failures + 1))
        if [ $failures -le 3 ] && ! { install && start; }; then
          failures=$((failures + 1))
        fi
        [ $failures -le 3 ] || { last_lines; die "this failed four times; the run's last lines are above"; }
        ;;
    esac
    sleep "$pause"
  done
  evaluate || die "the run is done, but its evaluation failed: the same command tries it again"
  say "the TPU is still there, and paid for: launch/tpu_vm.sh down $name $zone"
}

status() {
  flags= # of any run
  say "the TPU $name is $(machine)"
  say "the run is $(run_state)"
}

logs() {
  on_workers "${WORKER:-0}" "tail -n 100 -F tinyllm-run/log"
}

# ---- What was asked for, checked before anything is done.

command=${1:-} name=${2:-} zone=${3:-}
case $command in
  train | up | install | start | evaluate) needed=6 ;;
  status | logs | down) needed=3 ;;
  *) needed=1000 ;;
esac
[ $# -ge $needed ] ||
  die "usage: launch/tpu_vm.sh COMMAND NAME ZONE TYPE CORPUS WORKDIR [CONFIG] [FLAGS…]; its first lines say more" 2
[[ $name =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] || die "NAME is made of lower-case letters, digits and dashes: $name" 2
if [ "$dry" = 0 ] && ! command -v gcloud > /dev/null; then
  die "there is no gcloud here: https://cloud.google.com/sdk/docs/install" 2
fi
if [ $needed = 6 ]; then
  type=$4 corpus=$5 workdir=$6
  shift 6
  config=configs/tinyllm.py:task=obqa,student=base
  case ${1:---} in
    --*) ;;
    *) config=$1; shift ;;
  esac
  for path in "$corpus" "$workdir"; do
    [[ $path == gs://?*/?* ]] || die "CORPUS and WORKDIR lie at gs://BUCKET/…, which all workers share: $path" 2
  done
  if [ -n "${ENV_FILE:-}" ] && [ -z "$(find "$ENV_FILE" -prune -type f -perm 600 2> /dev/null)" ]; then
    die "ENV_FILE is to be a file that only you can read: chmod 600 $ENV_FILE" 2
  fi
  image=${IMAGE:-$(image)}
  flags=$(printf ' %q' --config="$config" --corpus="$corpus" --workdir="$workdir" "$@")
  checkout=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
  git -C "$checkout" rev-parse --verify HEAD > /dev/null 2>&1 ||
    die "$checkout is no git checkout, whose last commit is sent" 2
fi
"$command"
