#!/usr/bin/env bash
# Comparing the losses of two runs; sourced by the checks on GPUs.

# losses RUN: "step loss" of each step
losses() {
  sed -nE 's/^\{"step":([0-9]+),"loss":([^,]+),.*/\1 \2/p' "$1/metrics.jsonl"
}

# compare NAME TOLERANCE REFERENCE OTHER: the largest relative difference of the losses
compare() {
  join <(losses "$3" | sort) <(losses "$4" | sort) | awk -v name="$1" -v tolerance="$2" '
    { difference = ($3 - $2) / $2; if (difference < 0) difference = -difference
      if (difference > largest) largest = difference; ++steps }
    END { printf "%-28s %d steps, losses differ by at most %.2e (%.0e allowed)\n", name, steps, largest, tolerance
          exit !(steps > 0 && largest <= tolerance) }'
}
