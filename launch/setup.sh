# shellcheck shell=bash
# Makes the virtual environment .venv in the checkout, or reuses it: `source launch/setup.sh [EXTRAS]`.
# EXTRAS, e.g. "dev,tf" or "cuda13": see pyproject.toml. launch/python.sh says which Python it has.
# Afterwards the current directory is the checkout, and `tinyllm` and `python` are the environment's. Nothing relies on the
# caller's `set -e`: where a step fails, so does this script, and nothing is marked as installed.

install_tinyllm() { # PYTHON VERSION EXTRAS
  local clear=
  # An environment of another Python version is made anew.
  grep -qs "^version = $2\." .venv/pyvenv.cfg || clear=--clear
  "$1" -m venv $clear .venv &&
    .venv/bin/python -m pip install --quiet --disable-pip-version-check -c "launch/constraints-$2.txt" -e ".${3:+[$3]}"
}

set_up() { # [EXTRAS]
  local extras=${1:-} python version stamp done_file
  cd "$(dirname "${BASH_SOURCE[0]}")/.." || return
  source launch/python.sh
  python=$(find_python) || return
  version=$(version_of "$python")
  stamp=$(cat pyproject.toml "launch/constraints-$version.txt" | cksum)
  done_file=.venv/.installed-${extras//,/-}
  if [ "$(cat "$done_file" 2> /dev/null)" != "$version $stamp" ]; then
    echo "setup: installing into .venv (Python $version${extras:+, extras $extras}); a few minutes the first time" >&2
    if ! install_tinyllm "$python" "$version" "$extras"; then
      echo "setup: the installation failed; the same command tries it again" >&2
      return 1
    fi
    echo "$version $stamp" > "$done_file"
  fi
  PATH=$PWD/.venv/bin:$PATH
}

set_up "$@"
