# Makes the virtual environment .venv in the checkout, or reuses it. To be sourced: `source launch/setup.sh [EXTRAS]`.
# EXTRAS, e.g. "dev,tf" or "cuda13": see pyproject.toml. PYTHON names the interpreter (default python3), 3.11 or 3.12.
# Afterwards the current directory is the checkout, and `tinyllm` and `python` are the environment's.
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
python=${PYTHON:-python3}
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || { echo "setup: no $python; set PYTHON=/path/to/python3.12" >&2; exit 2; }
constraints=launch/constraints-$version.txt
if [ ! -f "$constraints" ]; then
  echo "setup: Python $version is not supported; set PYTHON to a Python 3.11 or 3.12" >&2
  exit 2
fi
stamp=$(cat pyproject.toml "$constraints" | cksum)
done_file=.venv/.installed-${extras//,/-}
if [ "$(cat "$done_file" 2>/dev/null)" != "$version $stamp" ]; then
  echo "setup: installing into .venv (Python $version${extras:+, extras $extras}); a few minutes the first time" >&2
  # An environment of another Python version is made anew.
  clear=  # the caller's environment may hold a variable of this name
  grep -qs "^version = $version\." .venv/pyvenv.cfg || clear=--clear
  "$python" -m venv $clear .venv
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -c "$constraints" -e ".${extras:+[$extras]}"
  echo "$version $stamp" > "$done_file"
fi
PATH=$PWD/.venv/bin:$PATH
