#!/usr/bin/env bash
# The whole of TinyLLM on a made-up task, in a few minutes on two CPU cores, with no download beyond packages. Scripted
# teachers explain what made-up things can do, and four students learn the same questions in the same number of steps:
# from the answers alone, from one teacher each, and from both. Ends with their accuracies on the test questions, the
# paired tests, and a page, runs/quickstart/report.html, that shows how the knowledge arrives and the answers follow it.
# Run again, it starts afresh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
out=runs/quickstart
things=train=1000,validation=400,test=500,seed=0
rm -rf "$out"

echo "== 1. Scripted teachers write a rationale for every question; the validation questions' are for the page, and not learned"
tinyllm teach --task things --source "$things" --teachers material,shape --splits train,validation --out "$out/logs"

echo "== 2. The corpus: questions joined with rationales, and what is known of their quality. Six materials and six shapes make"
echo "      six sentences each, so the report finds nearly all of them to be duplicates"
tinyllm corpus build --task things --source "$things" --log "$out/logs" --out "$out/corpus"
tinyllm corpus verify --corpus "$out/corpus"
tinyllm corpus inspect --corpus "$out/corpus" --sample 1

echo "== 3. Four students"
for teachers in none material shape material+shape; do
  echo "-- teachers: $teachers"
  tinyllm train --config "configs/quickstart.py:teachers=$teachers" --corpus "$out/corpus" --workdir "$out/$teachers"
done

echo "== 4. All four, from their checkpoints, on the test split"
tinyllm evaluate --split test --report "$out/report.html" \
  --workdir "answers-only student=$out/none" --workdir "material-only student=$out/material" \
  --workdir "shape-only student=$out/shape" --workdir "two-teacher student=$out/material+shape"
