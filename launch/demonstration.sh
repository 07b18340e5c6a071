#!/usr/bin/env bash
# The demonstration as a study: five worlds of made-up things, every method, and the report. About an hour on two CPU
# cores; kill it however you like and run it again: it goes on.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
out=runs/things
for seed in 0 1 2 3 4; do
  [ -d "$out/seed-$seed/corpus" ] && continue
  tinyllm teach --task things --source "seed=$seed" --splits train,validation --out "$out/seed-$seed/logs"
  tinyllm corpus build --task things --source "seed=$seed" --log "$out/seed-$seed/logs" --out "$out/seed-$seed/corpus"
done
tinyllm study --config configs/studies/things.py --out "$out/study"
