#!/usr/bin/env bash
# Runs scripts/verify_on_mac.sh with stand-ins for a Mac's tools: checks which passes decide its exit status, and its output.
# Usage: verify_on_mac_test.sh SOURCE_FOLDER
set -euo pipefail
source=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work/bin" "$work/tree/scripts" "$work/tree/docs" "$work/tree/build/metal/bin"
cp "$source/scripts/verify_on_mac.sh" "$work/tree/scripts/"
touch "$work/tree/README.md" "$work/tree/CONTRIBUTING.md" "$work/tree/docs/some.md"

# tool FILE: the script on standard input
tool() {
  { echo '#!/usr/bin/env bash'; cat; } >"$1"
  chmod +x "$1"
}
for name in cmake sw_vers sysctl system_profiler c++ git; do echo 'echo fake' | tool "$work/bin/$name"; done
echo 'echo Darwin arm64' | tool "$work/bin/uname"
echo 'echo "/System/Library/Frameworks/$LINKED"' | tool "$work/bin/otool"
echo 'echo fake' | tool "$work/tree/scripts/install_dependencies.sh"
echo 'echo fake' | tool "$work/tree/build/metal/bin/mslt"
tool "$work/bin/ctest" <<'TOOL'
status=0
[[ " $FAILING " != *" $2 "* ]] || status=1
echo "$((100 - 50 * status))% tests passed, $status tests failed out of 2 ($2)" >"$4"
exit $status
TOOL

# check NAME STATUS FAILING LINKED WORDS...: the script's exit status, and what it must print or report
check() {
  local name=$1 expected=$2 status=0 words
  FAILING=$3 LINKED=$4 PATH="$work/bin:$PATH" "$work/tree/scripts/verify_on_mac.sh" >"$work/output" 2>&1 || status=$?
  [[ $status -eq $expected ]] || { echo "$name: exit status $status instead of $expected"; cat "$work/output"; exit 1; }
  shift 4
  for words in "$@"; do
    cat "$work/output" "$work/tree/build/metal/report.txt" | grep -F "$words" >/dev/null ||
      { echo "$name: nothing says '$words'"; cat "$work/output" "$work/tree/build/metal/report.txt"; exit 1; }
  done
  echo "$name: as expected"
}
api="Under Metal's API validation: 100% tests passed, 0 tests failed out of 2 (metal)"
shader="Under Metal's shader validation: 100% tests passed, 0 tests failed out of 2 (metal-shader-validation)"
check "all is well" 0 "" CoreGraphics "$api" "$shader" "== Under Metal's shader validation"
check "shader validation fails" 0 metal-shader-validation CoreGraphics "$api" \
  "Under Metal's shader validation: 50% tests passed, 1 tests failed" "does not count as a failure"
check "API validation fails" 1 metal CoreGraphics "Under Metal's API validation: 50% tests passed" "$shader" \
  "Something failed."
check "CoreGraphics is missing" 1 "" Metal "$api" "is not linked with CoreGraphics"
