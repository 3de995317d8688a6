#!/usr/bin/env bash
# Set up .venv, then lint and all tests:
#
#     bash scripts/test.sh                # what CI runs; some four minutes on two cores
#     bash scripts/test.sh -m slow        # the long ones; arguments go to pytest
#     bash scripts/test.sh -n 0           # in one process, as `pytest` by itself
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [ "${1:-}" = --help ] || [ "${1:-}" = -h ]; then
  sed -n '2,6s/^# \{0,1\}//p' "${BASH_SOURCE[0]}"
  exit
fi
. scripts/environment.sh
prepare_environment dev
echo "== ruff"
.venv/bin/ruff check .
.venv/bin/ruff format --check .
if [ -z "${CHROMIUM:-}" ] && ! command -v chromium chromium-browser google-chrome >/dev/null; then
  echo "== no Chromium: the canvas is not tested in a browser; on Debian: apt-get install chromium," \
    "elsewhere CHROMIUM=/path/to/it"
fi
echo "== pytest"
# One thread each: two processes of two threads would wait for each other on two cores.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec "$PYTHON" -m pytest --durations=5 -n 2 --dist loadfile --no-loadscope-reorder "$@"
