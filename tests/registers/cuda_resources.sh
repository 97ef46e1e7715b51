#!/usr/bin/env bash
# Compiles kernels for an NVIDIA H100 and fails if one has a stack frame or spills registers, unless the list says why; needs no
# GPU. nvcc's report is kept next to the object, since compiling takes long.
# Usage: cuda_resources.sh NVCC ROOT OUT FILE.cu LIST
# LIST: lines of "kernel stack-bytes spilled-bytes reason", the most that the kernel may have.
set -euo pipefail
nvcc=$1 root=$2 out=$3 file=$4 list=$5
name=$(basename "$file" .cu)
report=$out/$name.ptxas
mkdir -p "$out"
key=$({ "$nvcc" --version; cat "$file" "$root"/src/backend/msl/drivers/cuda/*.cuh "$root"/src/backend/msl/drivers/cuda/*.h \
  "$root"/kernels/*_args.h; } | cksum)
if [[ ! -s $report || $(head -n 1 "$report") != "$key" ]]; then
  "$nvcc" -std=c++20 --fmad=false --diag-suppress=177 -arch=sm_90 --cubin -Xptxas -v "-I$root" "-I$root/src" \
    -o "$out/$name.cubin" "$file" >"$report.new" 2>&1 || { cat "$report.new" >&2; exit 1; }
  { echo "$key"; cat "$report.new"; } >"$report"
  rm "$report.new"
fi
awk -v name="$name" '
  FNR == NR { if ($0 !~ /^#/ && NF) { stack[$1] = $2; spill[$1] = $3; } next }
  match($0, /Compiling entry function .mslt_[A-Za-z0-9_]+/) {
    kernel = substr($0, RSTART, RLENGTH); sub(/.*mslt_/, "", kernel); ++kernels
  }
  /bytes stack frame/ { frame = $1; spilled = $5 }
  /Used [0-9]+ registers/ && kernel != "" {
    listed = kernel in stack
    if (frame > (listed ? stack[kernel] : 0) || spilled > (listed ? spill[kernel] : 0)) {
      printf "%s: a stack frame of %d bytes, %d bytes spilled\n", kernel, frame, spilled; ++wrong
    } else if (listed && frame == 0 && spilled == 0) {
      printf "%s: is on the list, and all of it is in registers\n", kernel; ++wrong
    }
    kernel = ""
  }
  END { printf "%s: %d kernels, %d that need memory and may not\n", name, kernels, wrong; exit !(kernels > 0 && !wrong) }
' "$list" "$report"
