#!/usr/bin/env bash
# Trains the model mini for 2,000 steps in bf16 on an NVIDIA GPU and in f32 on the CPU, from the same weights and batches,
# and compares the validation losses of the last evaluation that both have: they must differ by less than 0.5 %.
# Usage: scripts/cuda_proof.sh MSLT DATA WORK [cpu|cuda|compare ...]; all three without names
# MSLT is the program of a CUDA build, DATA a folder that 'mslt data prepare' wrote, with a vocabulary of up to 2,048.
# The parts can be run at different times: WORK/cpu and WORK/cuda are their runs. STEPS asks for another number of steps.
set -euo pipefail

mslt=${1:?"Usage: scripts/cuda_proof.sh MSLT DATA WORK [cpu|cuda|compare ...]"} data=${2:?} work=${3:?}
shift 3
parts=("$@")
[[ ${#parts[@]} -gt 0 ]] || parts=(cuda cpu compare)

train() { # DEVICE DTYPE
  "$mslt" train --data "$data" --output "$work/$1" --preset mini --device "$1" --dtype "$2" --steps "${STEPS:-2000}" \
    --batch-size 4 --lr 1e-3 --warmup 100 --dropout 0 --seed 1 --eval-every 200 --eval-batches 0 --save-every 0
}

# "step loss" of each evaluation
evaluations() { sed -nE 's/^\{"step":([0-9]+),"val_loss":([^,]+),.*/\1 \2/p' "$work/$1/metrics.jsonl"; }

check_cpu() { train cpu f32; }
check_cuda() { train cuda bf16; }
check_compare() {
  join <(evaluations cpu | sort) <(evaluations cuda | sort) | sort -n | awk '
    { step = $1; cpu = $2; cuda = $3; difference = (cuda - cpu) / cpu }
    END { printf "step %d: validation loss %.4f in f32 on cpu, %.4f in bf16 on cuda: %+.3f %%\n", step, cpu, cuda, 100 * difference
          exit !(step > 0 && difference < 0.005 && difference > -0.005) }'
}

for part in "${parts[@]}"; do
  "check_$part"
done
