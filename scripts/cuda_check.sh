#!/usr/bin/env bash
# Tests a CUDA build on a machine with an NVIDIA GPU: all suites that run on cuda, the same training on cpu and on cuda, a
# long training in bf16 and in f32, and the backend's suites again under compute-sanitizer's four tools.
# Usage: scripts/cuda_check.sh BUILD_DIR [suites|train|proof|sanitize ...]; all of them without names
# Exits with status 77 where there is no such GPU.
# COMPUTE_SANITIZER names that program if it is neither on the PATH nor in /usr/local/cuda/bin.
# SANITIZE_FILTER restricts its suites (a GoogleTest filter), SANITIZE_TOOLS its tools.
# RUN_WRAPPER precedes every program of the build, for builds that carry their own libraries.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/compare_losses.sh

build=${1:?"Usage: scripts/cuda_check.sh BUILD_DIR [suites|train|proof|sanitize ...]"}
shift
parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(suites train proof sanitize)
read -ra wrapper <<<"${RUN_WRAPPER:-}"
suites=$build/tests/backend/backend_tests
driver=$build/src/backend/msl/cuda_tests
libraries=$build/src/backend/msl/cuda_libraries_tests
golden=$build/tests/golden/golden_tests
training=$build/tests/train/device_training_tests
mslt=$build/bin/mslt
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

run() { "${wrapper[@]}" "$@"; }

found=$(run "$mslt" devices)
[[ $'\n'$found == *$'\ncuda'* ]] || { echo "skipped: $mslt finds no NVIDIA GPU"; exit 77; }

check_suites() {
  local device
  for device in cuda cuda-msl; do run "$suites" --devices="$device" --gtest_brief=1; done
  run "$driver" --gtest_brief=1
  run "$libraries" --gtest_brief=1
  run "$golden" '--gtest_filter=*cuda*' --gtest_brief=1
  run "$training" '--gtest_filter=*cuda*' --gtest_brief=1
}

prepare() { # VOCAB_SIZE
  cat README.md CONTRIBUTING.md docs/*.md >"$work/text"
  run "$mslt" tokenizer train --force --input "$work/text" --vocab-size "$1" --output "$work/tokenizer.json" >/dev/null 2>&1
  run "$mslt" data prepare --tokenizer "$work/tokenizer.json" --input "$work/text" --output "$work/data" >/dev/null 2>&1
}

check_train() {
  prepare 600
  local common=(train --data "$work/data" --layers 2 --channels 96 --heads 3 --max-positions 64 --batch-size 4
    --steps 30 --lr 1e-3 --warmup 5 --seed 7 --eval-every 0 --save-every 0)
  local -A models=(
    [gpt2]="--norm layernorm --position learned --activation gelu --dropout 0.1"
    [llama]="--norm rmsnorm --position rope --activation swiglu --kv-heads 1 --ffn-size 256 --tied-embeddings false"
    [post-norm]="--norm layernorm --norm-position post --position sinusoidal --activation relu")
  local name model
  for name in gpt2 llama post-norm; do
    read -ra model <<<"${models[$name]}"
    for device in cpu cuda; do
      run "$mslt" "${common[@]}" "${model[@]}" --device "$device" --output "$work/$name-$device" >"$work/log" 2>&1 ||
        { cat "$work/log" >&2; return 1; }
    done
    run "$mslt" "${common[@]}" "${model[@]}" --device cuda --dtype bf16 --output "$work/$name-bf16" >"$work/log" 2>&1 ||
      { cat "$work/log" >&2; return 1; }
    compare "$name f32, cpu and cuda" 1e-4 "$work/$name-cpu" "$work/$name-cuda"
    compare "$name f32 and bf16" 2e-2 "$work/$name-cpu" "$work/$name-bf16"
  done
}

check_proof() {
  rm -rf "$work/data"
  prepare 2048
  run scripts/cuda_proof.sh "$mslt" "$work/data" "$work/proof"
}

check_sanitize() {
  local sanitizer=${COMPUTE_SANITIZER:-$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)}
  [[ -x $sanitizer ]] || { echo "There is no compute-sanitizer at $sanitizer; COMPUTE_SANITIZER names another." >&2; return 1; }
  local tools tool filter=${SANITIZE_FILTER:-*}
  read -ra tools <<<"${SANITIZE_TOOLS:-memcheck racecheck synccheck initcheck}"
  for tool in "${tools[@]}"; do
    # All but memcheck report cuDNN's kernels, whose barriers they do not follow.
    local options=() device=cuda-msl arguments=() left_out='*RefusesImpossibleSizes*'
    case $tool in
      memcheck)
        options=(--leak-check full)
        device=cuda
        ;;
      # Zeroed memory counts as written.
      initcheck)
        arguments=(--undefined-memory)
        left_out='*MemoryTest*'
        ;;
    esac
    arguments+=("--devices=$device" --gtest_brief=1 "--gtest_filter=$filter:-$left_out")
    echo "== compute-sanitizer --tool $tool"
    run "$sanitizer" --tool "$tool" "${options[@]}" --error-exitcode 9 "$suites" "${arguments[@]}" | tail -n 25
  done
  # A decoding step in one launch, whose threads wait for each other.
  [[ " ${tools[*]} " != *" synccheck "* ]] ||
    run "$sanitizer" --tool synccheck --error-exitcode 9 "$suites" --devices=cuda --gtest_brief=1 \
      '--gtest_filter=*DecodesAsItsOperationsDo*'
}

for part in "${parts[@]}"; do
  "check_$part"
done
echo "Passed: ${parts[*]}"
