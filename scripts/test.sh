#!/usr/bin/env bash
# Installs what the tests need, builds everything that they run, runs them all, and says which were skipped and why; on
# macOS with the preset metal, and under Metal's API validation.
# MSLT_WERROR=ON makes compiler warnings errors.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release
[[ $(uname -s) != Darwin ]] || preset=metal
scripts/install_dependencies.sh test
# The small interop oracles; without them their tests are skipped and say so.
python=
if [[ ! -x .venv/bin/python ]] && ! python3 -m venv .venv; then
  rm -rf .venv
  echo "No Python environment could be made here; the interop tests will be skipped."
fi
if [[ -x .venv/bin/python ]]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 2 -r tests/interop/requirements.txt ||
    echo "Some interop packages could not be installed; their tests will be skipped."
  python=$PWD/.venv/bin/python
fi
# With the options of quickstart.sh, whose objects are then used again.
cmake --preset "$preset" -DMSLT_BUILD_TESTS=ON -DMSLT_BUILD_BENCH=OFF -DMSLT_UNITY=ON \
  -DMSLT_WERROR="${MSLT_WERROR:-OFF}" -DMSLT_PYTHON="$python" >/dev/null
cmake --build --preset "$preset"
status=0
ctest --preset "$preset" -j2 --no-tests=error || status=$?

# Of each skipped test, the line that says "skipped: REASON", or the one below GoogleTest's "FILE:LINE: Skipped".
awk '/^[0-9]+\/[0-9]+ Test: / { name = $3; below = 0 }
     /^skipped: / { reasons[name] = substr($0, 10) }
     below { reasons[name] = $0; below = 0 }
     /: Skipped$/ { below = 1 }
     END { for (name in reasons) print "  " name ": " reasons[name] }' \
  "build/$preset/Testing/Temporary/LastTest.log" | sort >"build/$preset/skipped.txt"
if [[ -s build/$preset/skipped.txt ]]; then
  echo "Skipped, and why:"
  cat "build/$preset/skipped.txt"
fi
exit $status
