#!/usr/bin/env bash
# Runs one libFuzzer program for some seconds, starting from its seeds in tests/fuzz/corpus.
# Usage: scripts/run_fuzzer.sh PROGRAM SECONDS
set -euo pipefail
cd "$(dirname "$0")/.."

program=$1
name=$(basename "$program")
seeds=tests/fuzz/corpus/${name#fuzz_}
found=build/fuzz/$name
mkdir -p "$found/corpus" "$seeds"
if ! "$program" -max_total_time="$2" -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$found/" -print_final_stats=1 \
  "$found/corpus" "$seeds" >"$found/log" 2>&1; then
  tail -n 40 "$found/log" >&2
  echo "$name found a failure; its input is in $found" >&2
  exit 1
fi
echo "$name: $(grep -E 'number_of_executed_units' "$found/log" | grep -oE '[0-9]+') inputs, none failed"
