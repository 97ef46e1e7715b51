#!/usr/bin/env bash
# Installs what the tests need, builds everything, and runs all tests; on macOS with the preset metal, and under Metal's
# API and shader validation.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release
[[ $(uname -s) != Darwin ]] || preset=metal
scripts/install_dependencies.sh test
# The small interop oracles; without them their tests are skipped and say so.
python=
if [[ -x .venv/bin/python ]] || python3 -m venv .venv; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/interop/requirements.txt ||
    echo "Some interop packages could not be installed; their tests will be skipped."
  python=$PWD/.venv/bin/python
fi
cmake --preset "$preset" -DMSLT_BUILD_TESTS=ON -DMSLT_BUILD_BENCH=ON -DMSLT_PYTHON="$python" >/dev/null
cmake --build --preset "$preset"
ctest --preset "$preset" -j2
