#!/usr/bin/env bash
# Times the products and attention of CUDA builds beside one another on a machine with an NVIDIA GPU, taking turns, and
# prints them as Markdown, in milliseconds: at GPT-2's shapes, with heads of 64 and of 256, in bf16 and f32; products as
# the device's row of the tuning table has them, and all by the direct design.
# Usage: scripts/cuda_compare.sh BUILD_DIR...
# TURNS says how often each is run (3; the least time counts), BATCH how many sequences of 1,024 (16). RUN_WRAPPER stands
# before every program, for builds that carry their own libraries.
set -euo pipefail
cd "$(dirname "$0")/.."

[[ $# -gt 0 ]] || { echo "Usage: scripts/cuda_compare.sh BUILD_DIR..." >&2; exit 2; }
read -ra wrapper <<<"${RUN_WRAPPER:-}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# direct_tuning BUILD: a tuning file of that build's version that sends all products to the direct design
direct_tuning() {
  local version simdgroups='' rows='' device
  echo '{"format": "mslt tuning", "version": 0}' >"$work/none.json"
  version=$("${wrapper[@]}" "$1/bin/mslt" bench kernels --device cuda --tuning "$work/none.json" 2>&1 |
    sed -n 's/.*this mslt has version \([0-9]*\).*/\1/p' || true)
  [[ $version -lt 2 ]] || simdgroups='"direct_simdgroups": 4, '
  [[ $version -gt 2 ]] || rows='"matvec_rows": 32, '
  device=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -n 1)
  cat <<JSON
{"format": "mslt tuning", "version": $version, "backend": "cuda", "device": "$device", "measured_with": "by hand",
 "launches": {"direct_results_forward": 9223372036854775807, "direct_results_input": 9223372036854775807,
 "direct_results_weight": 9223372036854775807, ${simdgroups}"few_rows": 64, $rows"matvec_simdgroups": 4,
 "span_threads": 256, "adamw_threads": 256, "tile_threads": 128, "norm_group_rows": 4, "loss_threads": 512,
 "loss_threads_f32": 1024, "loss_logits_a_thread": 32, "reduce_threads": 256, "reduce_groups": 512}}
JSON
}

# times BUILD NAME DTYPE FILTER OPTIONS...: lines "NAME operation<tab>ms" of the operations that FILTER matches
times() {
  local build=$1 name=$2 dtype=$3 filter=$4
  shift 4
  "${wrapper[@]}" "$build/bin/mslt" bench kernels --device cuda --dtype "$dtype" --batch-size "${BATCH:-16}" --json "$@" |
    awk -v what="$name $dtype, " -v filter="$filter" '
      /"operation"/ { split($0, part, "\""); operation = part[4] }
      /"seconds"/ && operation ~ filter { split($0, part, ": "); printf "%s%s\t%.3f\n", what, operation, 1000 * part[2] }'
}

products='^(qkv|ffn_up|ffn_down|lm_head) '
for ((turn = 1; turn <= ${TURNS:-3}; ++turn)); do
  number=0
  for build in "$@"; do
    direct_tuning "$build" >"$work/direct.json"
    for dtype in bf16 f32; do
      times "$build" "table's design" $dtype "$products|^attention" --preset gpt2 --tuning none
      times "$build" "direct design" $dtype "$products" --preset gpt2 --tuning "$work/direct.json"
      times "$build" "heads of 256" $dtype '^attention' --preset gpt2 --heads 3 --head-size 256 --tuning none
    done | sed "s/^/$number\t/"
    number=$((number + 1))
  done
done >"$work/times"

awk -F '\t' -v builds="$*" '
  BEGIN { count = split(builds, build, " "); printf "| operation, ms |"
          for (b = 1; b <= count; ++b) printf " %s |", build[b]
          printf "\n|---|"; for (b = 1; b <= count; ++b) printf "---|"; print "" }
  { if (!($2 in seen)) { seen[$2] = ++rows; order[rows] = $2 }
    if (!(($1, $2) in least) || $3 < least[$1, $2]) least[$1, $2] = $3 }
  END { for (r = 1; r <= rows; ++r) { printf "| %s |", order[r]
          for (b = 0; b < count; ++b) printf " %.2f |", least[b, order[r]]
          print "" } }' "$work/times"
