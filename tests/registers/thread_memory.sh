#!/usr/bin/env bash
# Compiles kernels, written as C++ for OpenCL, to LLVM IR and fails if one keeps anything in the thread's memory: after -O2,
# which unrolls exactly the loops that the kernel marks, there may be no alloca.
# Usage: thread_memory.sh CLANG ROOT OUT FILE.clcpp
# EXPECT_MEMORY=1: without the pragmas it must find some, which shows that the check works.
set -euo pipefail
clang=$1 root=$2 out=$3 file=$4
name=$(basename "$file" .clcpp)
mkdir -p "$out"
if [[ -n ${EXPECT_MEMORY:-} ]]; then
  sed 's/_Pragma("unroll")//' "$file" >"$out/rolled_$name.clcpp"
  file=$out/rolled_$name.clcpp
  name=rolled_$name
fi
"$clang" -x clcpp -cl-std=clc++2021 -O2 --target=spir64-unknown-unknown -Werror "-I$root" -S -emit-llvm \
  -o "$out/$name.ll" "$file"
awk -v name="$name" -v expected="${EXPECT_MEMORY:-0}" '
  /^define / { match($0, /@[A-Za-z0-9_]+/); kernel = substr($0, RSTART + 1, RLENGTH - 1); ++kernels }
  / = alloca / { print kernel ": " $0; ++kept }
  END {
    printf "%s: %d kernels, %d variables in memory\n", name, kernels, kept
    exit !(kernels > 0 && (expected ? kept > 0 : kept == 0))
  }' "$out/$name.ll"
