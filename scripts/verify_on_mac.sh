#!/usr/bin/env bash
# On a Mac with Apple silicon: builds mslt with its Metal backend, runs all tests on the GPU under Metal's API and shader
# validation, trains a small model on it, and writes build/metal/report.txt, which says what happened on what machine.
# Usage: scripts/verify_on_mac.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $(uname -sm) == "Darwin arm64" ]] || { echo "This needs a Mac with Apple silicon." >&2; exit 1; }

scripts/install_dependencies.sh test
cmake --preset metal
cmake --build --preset metal
report=build/metal/report.txt
{
  echo "mslt $(git describe --always --dirty 2>/dev/null || echo "of an unknown commit")"
  sw_vers
  sysctl -n machdep.cpu.brand_string hw.memsize
  system_profiler SPDisplaysDataType
  build/metal/bin/mslt devices
} >"$report"

status=0
ctest --preset metal --output-log build/metal/tests.log || status=1
tail -n 40 build/metal/tests.log >>"$report"
echo "== training" >>"$report"
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT
mslt=build/metal/bin/mslt
{
  cat docs/*.md >"$run/text.txt"
  $mslt tokenizer train --input "$run/text.txt" --vocab-size 512 --output "$run/tokenizer.json"
  $mslt data prepare --tokenizer "$run/tokenizer.json" --input "$run/text.txt" --output "$run/data" --val-fraction 0.1
  for device in cpu metal; do
    $mslt train --data "$run/data" --output "$run/$device" --preset tiny --steps 50 --device $device --json
  done
} >>"$report" 2>&1 || status=1
echo "Please send $report (and build/metal/tests.log if a test failed)."
exit $status
