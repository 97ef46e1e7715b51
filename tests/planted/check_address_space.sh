#!/usr/bin/env bash
# Writes a kernel as C++ for OpenCL and has clang check its address spaces.
# Usage: check_address_space.sh MSLC CLANG ROOT OUT FILE.metal
set -euo pipefail
mslc=$1 clang=$2 root=$3 out=$4 file=$5
mkdir -p "$out"
"$mslc" --root "$root" --kernels "$(dirname "$file")" --out "$out" --set planted --emit clcpp "$file"
"$clang" -x clcpp -cl-std=clc++2021 -fsyntax-only -Werror "-I$root" "$out/clcpp_$(basename "$file" .metal).clcpp"
