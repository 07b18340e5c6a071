#!/usr/bin/env bash
# Every benchmark that needs no other environment, one after the other: `launch/bench.sh`, or `launch/bench.sh step decode`.
# Each prints tables of ratios from one run, on the released corpora ($TINYLLM_SHARED) and a FLAN-T5-small-shaped student
# ($TINYLLM_MODELS), see tests/benchmarks/common.py; on a GPU where jax has one. Some hours on 2 CPU cores, alone:
# run one of the files by hand, with fewer rounds, for a part.
# (tests/benchmarks/bench_teach.py, generation through `teach`, runs where the teachers do.)
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev,tf
[ $# -gt 0 ] || set -- step cost decode memory sharding host
for name in "$@"; do
  echo "== $name"
  python "tests/benchmarks/bench_$name.py"
done
