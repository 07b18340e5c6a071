# shellcheck shell=bash
# `find_python` prints the interpreter that environments are made with: $PYTHON, or the first of python3, python3.12 and
# python3.11 that will do. Where none does, as on the images of Cloud TPU VMs, which have Python 3.10, uv fetches a
# Python 3.12 into .python. To be sourced; the current directory is the checkout.

version_of() { # PYTHON; prints e.g. 3.12
  "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2> /dev/null
}

find_python() {
  local version
  if [ -n "${PYTHON:-}" ]; then
    if ! version=$(version_of "$PYTHON"); then
      echo "setup: no $PYTHON; set PYTHON=/path/to/python3.12" >&2
      return 2
    fi
    if [ ! -f "launch/constraints-$version.txt" ]; then
      echo "setup: Python $version is not supported; set PYTHON to a Python 3.11 or 3.12" >&2
      return 2
    fi
    echo "$PYTHON"
    return
  fi
  first_supported && return
  echo "setup: there is no Python 3.11 or 3.12 here; fetching 3.12 into .python" >&2
  if fetch_python >&2; then
    first_supported && return
  fi
  echo "setup: found no Python 3.11 or 3.12, and could not fetch one; set PYTHON=/path/to/python3.12" >&2
  return 2
}

first_supported() {
  local candidate version
  for candidate in python3 python3.12 python3.11 .python/cpython-3.12*/bin/python3.12; do
    version=$(version_of "$candidate") || continue
    # Ubuntu's Python lacks ensurepip, which venv needs, unless the package python3-venv is installed.
    if [ -f "launch/constraints-$version.txt" ] && "$candidate" -c 'import ensurepip' 2> /dev/null; then
      echo "$candidate"
      return
    fi
  done
  return 1
}

fetch_python() {
  python3 -m pip install --quiet --disable-pip-version-check --upgrade --target .python/uv uv &&
    .python/uv/bin/uv python install --quiet --no-bin --install-dir .python 3.12
}
