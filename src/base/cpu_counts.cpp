// Sums of the processor's counters.
#include "base/cpu_counters.h"

namespace mslt {

CpuCounts& CpuCounts::operator+=(const CpuCounts& other) {
  cycles += other.cycles;
  instructions += other.instructions;
  cache_misses += other.cache_misses;
  return *this;
}

CpuCounts CpuCounts::operator-(const CpuCounts& earlier) const {
  return {.cycles = cycles - earlier.cycles,
          .instructions = instructions - earlier.instructions,
          .cache_misses = cache_misses - earlier.cache_misses};
}

}  // namespace mslt
