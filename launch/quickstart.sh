#!/usr/bin/env bash
# The whole of TinyLLM on a small made-up task, in a few minutes on two CPU cores, with no download beyond packages:
# scripted teachers explain puzzles, the corpus is built, a multi-teacher and an answers-only student learn the same
# questions, and both are evaluated from their checkpoints. Ends with a table and an HTML page in runs/quickstart/.
# Run again, it starts afresh.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh"
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
out=runs/quickstart
puzzles=train=4000,validation=500,test=500,level=3,seed=0
rm -rf "$out"

echo "== 1. Two scripted teachers write a rationale for every training question"
tinyllm teach --task puzzles --source "$puzzles" --teachers steps,back --out "$out/logs"

echo "== 2. The corpus: questions joined with rationales, and what is known of their quality"
tinyllm corpus build --task puzzles --source "$puzzles" --log "$out/logs" --out "$out/corpus"
tinyllm corpus verify --corpus "$out/corpus"
tinyllm corpus inspect --corpus "$out/corpus" --sample 1

echo "== 3. The multi-teacher student, then the answers-only one, on the same number of questions"
tinyllm train --config configs/debug_cpu.py --corpus "$out/corpus" --workdir "$out/multi-teacher"
tinyllm train --config configs/debug_cpu.py:teachers=none --corpus "$out/corpus" --workdir "$out/answers-only"

echo "== 4. Both, from their checkpoints, on the test split"
tinyllm evaluate --split test --report "$out/report.html" \
  --workdir "multi-teacher student=$out/multi-teacher" --workdir "answers-only student=$out/answers-only"
