#!/usr/bin/env bash
# Tests training on two NVIDIA GPUs of one machine: NCCL's collectives, the same training on one and on two GPUs, a rank that
# is killed or stopped, and the speed of two GPUs against one.
# Usage: scripts/cuda_parallel_check.sh BUILD_DIR [collectives|equality|faults|speed ...]; all of them without names
# Exits with status 77 where there are fewer than two GPUs. STEPS and BATCH (sequences a GPU) are those of the speed.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/compare_losses.sh

build=${1:?"Usage: scripts/cuda_parallel_check.sh BUILD_DIR [collectives|equality|faults|speed ...]"}
shift
parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(collectives equality faults speed)
mslt=$build/bin/mslt
ranks=$build/tests/parallel/parallel_ranks
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
gpus=$("$mslt" devices | grep -c '^cuda' || true)
[[ $gpus -ge 2 ]] || { echo "skipped: $mslt finds $gpus NVIDIA GPUs"; exit 77; }

# both WHAT: parallel_ranks on two GPUs; the status is rank 0's
both() {
  local status=0 other
  export WORLD_SIZE=2 LOCAL_WORLD_SIZE=2 MSLT_RENDEZVOUS=$work/meeting
  RANK=1 LOCAL_RANK=1 "$ranks" "$1" cuda >"$work/rank1" 2>&1 &
  other=$!
  RANK=0 LOCAL_RANK=0 timeout 120 "$ranks" "$1" cuda || status=$?
  kill -9 "$other" 2>/dev/null || true
  wait "$other" 2>/dev/null || true
  unset WORLD_SIZE LOCAL_WORLD_SIZE MSLT_RENDEZVOUS
  return "$status"
}

prepare() { # VOCAB_SIZE TEXT
  "$mslt" tokenizer train --force --input "$2" --vocab-size "$1" --output "$work/tokenizer-$1.json" >/dev/null 2>&1
  "$mslt" data prepare --tokenizer "$work/tokenizer-$1.json" --input "$2" --output "$work/data-$1" >/dev/null 2>&1
}

small() { # RUN OPTION...
  local run=$1
  shift
  "$mslt" train --data "$work/data-600" --output "$work/$run" --layers 2 --channels 96 --heads 3 --max-positions 64 \
    --seq-len 64 --batch-size 4 --grad-accum 4 --lr 1e-3 --seed 7 --eval-every 0 --dropout 0.1 --schedule constant \
    --warmup 0 --device cuda "$@" >"$work/$run.log" 2>&1 || { cat "$work/$run.log" >&2; return 1; }
}

check_collectives() { both tensors; }

check_equality() {
  cat README.md CONTRIBUTING.md docs/*.md >"$work/text"
  prepare 600 "$work/text"
  small one --steps 30 --save-every 0
  small two --steps 30 --save-every 0 --devices all
  small again --steps 30 --save-every 0 --devices 0,1
  compare "f32, 1 and 2 GPUs" 1e-5 "$work/one" "$work/two"
  cmp "$work/two/model.safetensors" "$work/again/model.safetensors" && echo "two runs on 2 GPUs have the same bits"
  small moved --steps 10 --save-every 10
  small moved --steps 20 --save-every 10 --resume --devices 2
  small moved --steps 30 --save-every 10 --resume
  compare "f32, 1 to 2 to 1 GPU" 1e-5 "$work/one" "$work/moved"
  small parts --steps 30 --save-every 0 --devices 2 --zero 2
  compare "f32, 2 GPUs, --zero 2" 1e-5 "$work/one" "$work/parts"
  small one16 --steps 30 --save-every 0 --dtype bf16
  small two16 --steps 30 --save-every 0 --dtype bf16 --devices 2
  small again16 --steps 30 --save-every 0 --dtype bf16 --devices 2
  compare "bf16, 1 and 2 GPUs" 1e-2 "$work/one16" "$work/two16"
  cmp "$work/two16/model.safetensors" "$work/again16/model.safetensors" && echo "two runs in bf16 have the same bits"
}

# The processes that a process started.
children_of() {
  cat /proc/[0-9]*/stat 2>/dev/null | awk -v parent="$1" '{ pid = $1; sub(/^.*\) /, ""); if ($2 == parent) print pid }'
}

# ended NAME SIGNAL: sends it to rank 1 after a checkpoint; the run must end within a minute and name it
ended() {
  local run=fault-$2 pid child begin status=0
  "$mslt" train --data "$work/data-600" --output "$work/$run" --layers 2 --channels 96 --heads 3 --max-positions 64 \
    --seq-len 64 --batch-size 4 --steps 1000000 --eval-every 0 --save-every 200 --device cuda --devices 2 \
    >"$work/$run.log" 2>&1 &
  pid=$!
  for ((i = 0; i < 600; ++i)); do
    compgen -G "$work/$run/checkpoints/step-*" >/dev/null && break
    sleep 0.1
  done
  child=$(children_of "$pid")
  begin=$SECONDS
  kill -"$2" "$child"
  wait "$pid" || status=$?
  echo "a rank $1: status $status after $((SECONDS - begin)) s: $(grep '^mslt:' "$work/$run.log" || tail -n 3 "$work/$run.log")"
  kill -9 "$child" 2>/dev/null || true
  [[ $status -eq 1 && $((SECONDS - begin)) -lt 60 ]] && grep -q 'Rank 1 on .* is good; continue' "$work/$run.log"
}

check_faults() {
  [[ -e $work/data-600 ]] || { cat README.md CONTRIBUTING.md docs/*.md >"$work/text"; prepare 600 "$work/text"; }
  local begin=$SECONDS status=0
  both dies-at-work || status=$?
  echo "a rank killed among sums: status $status after $((SECONDS - begin)) s"
  [[ $status -eq 1 ]]
  ended killed KILL
  ended stopped STOP
}

check_speed() {
  # In turns with one GPU alone, on the same machine.
  local zero result status=0
  for zero in 0 1; do
    result=$("$mslt" bench train --preset gpt2 --vocab-size 50257 --seq-len 1024 --dtype bf16 --batch-size "${BATCH:-32}" \
      --steps "${STEPS:-40}" --device cuda --devices 2 --zero "$zero" --json)
    awk -v zero="$zero" '
      { gsub(/[",:]/, " "); value[$1] = $2 }
      END { printf "GPT-2 124M, bf16, T 1,024, --zero %d: 1 GPU %.0f tokens/s, 2 GPUs %.0f: %.3f x (1.93 wanted)\n", zero,
              value["alone_tokens_per_second"], value["tokens_per_second"], 2 * value["scaling_efficiency"]
            exit !(zero > 0 || 2 * value["scaling_efficiency"] >= 1.93) }' <<<"$result" || status=1
  done
  return "$status"
}

for part in "${parts[@]}"; do
  "check_$part"
done
echo "Passed: ${parts[*]}"
