#!/usr/bin/env bash
# Installs what the tests need, builds everything, and runs all tests.
set -euo pipefail
cd "$(dirname "$0")/.."

scripts/install_dependencies.sh test
# The small interop oracles; without them their tests are skipped and say so.
python=
if [[ -x .venv/bin/python ]] || python3 -m venv .venv; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check -r tests/interop/requirements.txt ||
    echo "Some interop packages could not be installed; their tests will be skipped."
  python=$PWD/.venv/bin/python
fi
cmake --preset release -DMSLT_PYTHON="$python" >/dev/null
cmake --build --preset release
ctest --preset release -j2
