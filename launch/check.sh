#!/usr/bin/env bash
# Formatter, linter and types, over everything; pyproject.toml holds their settings. And shellcheck, over the scripts.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev,tf
ruff format --check --quiet tinyllm_jax configs tests || { echo "check: run ruff format tinyllm_jax configs tests" >&2; exit 1; }
ruff check tinyllm_jax configs tests
mypy tinyllm_jax configs tests
shellcheck --external-sources --source-path=SCRIPTDIR:. launch/*.sh launch/slurm.sbatch
