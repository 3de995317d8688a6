# Sourced by quickstart.sh and test.sh: makes .venv in the project's root if it is not there, brings
# it up to date if pyproject.toml changed since, and sets PYTHON to its interpreter.
#   prepare_environment EXTRA    with EXTRA of pyproject.toml's extras (scribbles,train or dev)

find_python() {
  local candidate
  for candidate in "${PYTHON:-}" python3 python3.13 python3.12 python3.11 python3.10; do
    if [ -n "$candidate" ] && command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.10 or newer found; install one, or name it: PYTHON=/path/to/python3" >&2
  return 2
}

prepare_environment() {
  local extra=$1 system_python stamp wanted
  if [ ! -x .venv/bin/python ]; then
    system_python=$(find_python) || return 2
    echo "== making .venv with $("$system_python" --version)"
    if ! "$system_python" -m venv .venv; then
      rm -rf .venv
      echo "error: $system_python cannot make a virtual environment; on Debian and Ubuntu:" \
        "apt-get install python3-venv" >&2
      return 2
    fi
  fi
  PYTHON=$PWD/.venv/bin/python
  stamp=.venv/.installed-$extra
  wanted=$(cksum <pyproject.toml)
  if [ "$(cat "$stamp" 2>/dev/null)" != "$wanted" ]; then
    echo "== installing rhmnet[$extra] into .venv (PyTorch is several GB: minutes, once)"
    "$PYTHON" -m pip install --disable-pip-version-check --progress-bar on -e ".[$extra]" || {
      echo "error: installing failed, see above; with no network, point pip at a folder of" \
        "wheels: PIP_FIND_LINKS=DIR PIP_NO_INDEX=1 bash $0" >&2
      return 2
    }
    echo "$wanted" >"$stamp"
  else
    echo "== reusing .venv"
  fi
}
