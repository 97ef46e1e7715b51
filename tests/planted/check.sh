#!/usr/bin/env bash
# Runs a program on a planted defect and passes if it fails with a report that names the defect's file and line.
# Usage: check.sh FILE.metal DEFECT WORDS COMMAND...
#   WORDS  what the report must also contain; the line is that of the comment `// defect: DEFECT` in FILE.metal
set -uo pipefail
file=$1 defect=$2 words=$3
shift 3
line=$(grep -n "// defect: $defect\$" "$file" | cut -d: -f1)
[[ -n $line ]] || { echo "no defect '$defect' in $file"; exit 1; }
output=$("$@" 2>&1)
status=$?
echo "$output"
[[ $status -ne 0 ]] || { echo "FAILED: nothing was reported"; exit 1; }
grep -q "$words" <<<"$output" || { echo "FAILED: the report does not say '$words'"; exit 1; }
grep -qE "$(basename "$file"):$line\b" <<<"$output" || { echo "FAILED: the report does not name line $line"; exit 1; }
! grep -q "leaked in" <<<"$output" || { echo "FAILED: memory was lost on the way"; exit 1; }
