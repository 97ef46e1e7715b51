#!/usr/bin/env bash
# On a Mac with Apple silicon: builds mslt with its Metal backend; runs all tests on the GPU under Metal's API validation; runs
# those of the GPU again under its shader validation, whose findings are reported but fail nothing; trains a small model on GPU
# and CPU, generates text, measures it; and writes build/metal/report.txt with the results and the machine.
# Usage: scripts/verify_on_mac.sh
set -euo pipefail
cd "$(dirname "$0")/.."
[[ $(uname -sm) == "Darwin arm64" ]] || { echo "This needs a Mac with Apple silicon." >&2; exit 1; }

scripts/install_dependencies.sh test
mkdir -p build/metal
{
  cmake --preset metal -DMSLT_BUILD_TESTS=ON -DMSLT_BUILD_BENCH=ON -DMSLT_UNITY=ON && cmake --build --preset metal
} 2>&1 | tee build/metal/build.log || { echo "The build failed. Please send build/metal/build.log." >&2; exit 1; }
mslt=build/metal/bin/mslt
report=build/metal/report.txt
{
  echo "mslt $(git describe --always --dirty 2>/dev/null || echo "of an unknown commit")"
  sw_vers
  sysctl -n machdep.cpu.brand_string hw.memsize
  system_profiler SPDisplaysDataType
  c++ --version
  if [[ -e build/metal/bin/mslt.metallib ]]; then
    echo "The kernels were compiled ahead of time by $(xcrun -sdk macosx metal --version | head -n 1)"
  else
    echo "The kernels are compiled by Metal when mslt starts."
  fi
  $mslt devices
} >"$report" 2>&1

status=0
# Without CoreGraphics a program has no default GPU.
if ! otool -L "$mslt" | grep CoreGraphics >/dev/null; then
  echo "$mslt is not linked with CoreGraphics." | tee -a "$report"
  status=1
fi
# tests PRESET LOG TITLE: runs them, prints how many passed and appends the end of the log to the report
tests() {
  local outcome=0
  ctest --preset "$1" --output-log "$2" || outcome=1
  echo "$3: $(grep 'tests passed' "$2" || echo 'no test ran')"
  {
    echo "== $3"
    tail -n 40 "$2"
  } >>"$report"
  return $outcome
}
tests metal build/metal/tests.log "Under Metal's API validation" || status=1
# Shader validation doubles a kernel's threadgroup memory and allows groups fewer threads: it may refuse what the GPU can run.
tests metal-shader-validation build/metal/shader_validation.log "Under Metal's shader validation" ||
  echo "Shader validation reported findings or had no room for a kernel; this does not count as a failure." | tee -a "$report"
run=$(mktemp -d)
trap 'rm -rf "$run"' EXIT

# step COMMAND...: runs mslt, records a failure and goes on
step() {
  echo "== mslt $*"
  $mslt "$@" || { echo "This command failed."; status=1; }
}
{
  # The quick look at everything first: what it says explains what fails below.
  for device in cpu metal; do step doctor --device $device; done
  cat README.md CONTRIBUTING.md docs/*.md >"$run/text.txt"
  step tokenizer train --input "$run/text.txt" --vocab-size 512 --output "$run/tokenizer.json"
  step data prepare --tokenizer "$run/tokenizer.json" --input "$run/text.txt" --output "$run/data" --val-fraction 0.1
  for device in cpu metal; do
    step train --data "$run/data" --output "$run/$device" --preset tiny --steps 50 --device $device --json
    step generate --model "$run/cpu" --prompt "The kernels" --max-new-tokens 40 --temperature 0 --device $device
  done
  step profile train --preset mini --device metal --report "$run/profile.html" --trace "$run/trace.json"
  step profile generate --preset gpt2 --dtype bf16 --device metal
  echo "== profile_check"
  build/metal/bench/profile_check --device metal --preset mini || echo "A limit of profiling is passed; this does not count as a failure."
  step bench train --preset mini --device metal
  step bench train --preset mini --dtype bf16 --device metal
  step bench generate --preset gpt2 --dtype bf16 --device metal
} >>"$report" 2>&1
[[ $status -eq 0 ]] || echo "Something failed." | tee -a "$report"
echo "Please send $report (and build/metal/tests.log or shader_validation.log if a test failed)."
exit $status
