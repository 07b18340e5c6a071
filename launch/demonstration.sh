#!/usr/bin/env bash
# The demonstration as two studies: methods on five worlds of made-up things, and the curve over the questions that are
# asked about each thing. An hour or more on two CPU cores; kill it however you like and run it again: it goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
out=runs/things

world() { # a world's questions, its teachers' rationales and its corpus: DIRECTORY SOURCE
  [ -d "$1/corpus" ] && return
  tinyllm teach --task things --source "$2" --splits train,validation --out "$1/logs"
  tinyllm corpus build --task things --source "$2" --log "$1/logs" --out "$1/corpus"
}

for seed in 0 1 2 3 4; do world "$out/seed-$seed" "seed=$seed"; done
for seed in 0 1 2; do world "$out/four-questions-$seed" "train=2000,things=500,seed=$seed"; done
tinyllm study --config configs/studies/things.py --out "$out/study"
tinyllm study --config configs/studies/things.py:curve --out "$out/curve"
