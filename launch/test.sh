#!/usr/bin/env bash
# Makes what the tests need and runs them; arguments go to pytest, e.g. `launch/test.sh tests/student -k parity`.
# Tests that need the released corpora, the T5 tokenizer or real weights find them through TINYLLM_SHARED and
# TINYLLM_MODELS (see tests/conftest.py), and are skipped, with the reason, where those are absent.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/setup.sh" dev,tf
exec python -m pytest -q -n "${TEST_PROCESSES:-2}" -rs "$@"
