// The table of chip families: the launch parameters where no tuning was measured.
#include <array>

#include "backend/msl/tuning.h"

namespace mslt::msl {
namespace {

constexpr Tuning with_direct_results(std::int64_t results) {
  Tuning tuning;
  tuning.direct_results_forward = results;
  tuning.direct_results_input = results;
  tuning.direct_results_weight = results;
  return tuning;
}

// Measured on an H100 at GPT-2 124M's sizes in bf16: where tiles of 128×128 are fewer than its multiprocessors, four
// times as many of 64×64, the direct design's, are faster; and products of up to 64 rows finish before tiles have been
// fetched.
constexpr Tuning tuned_for_hopper() {
  Tuning tuning = with_direct_results(1280 * 1280);
  tuning.few_rows = 64;
  return tuning;
}

constexpr auto apple_m1_m2 = std::to_array<std::string_view>({"Apple M1", "Apple M2"});
constexpr auto apple_m3_on = std::to_array<std::string_view>(
    {"Apple M3", "Apple M4", "Apple M5", "Apple M6", "Apple M7", "Apple M8", "Apple M9"});
constexpr auto hopper =
    std::to_array<std::string_view>({"NVIDIA H100", "NVIDIA H200", "NVIDIA H800", "NVIDIA H20", "NVIDIA GH200"});

// Apple's chips from the M3 on cache the simdgroups' reads and are faster without staging. Elsewhere staging saves
// bandwidth once there are enough of the larger tiles to fill the device. The emulated device gains from neither and
// uses both, so tests cover both.
constexpr auto families = std::to_array<ChipFamily>({
    {"Apple M1 and M2", "metal", apple_m1_m2, with_direct_results(512 * 512)},
    {"Apple M3 and later", "metal", apple_m3_on, with_direct_results(any_size)},
    {"other Apple", "metal", {}, with_direct_results(any_size)},
    {"NVIDIA Hopper", "cuda", hopper, tuned_for_hopper()},
    {"other NVIDIA", "cuda", {}, with_direct_results(1024 * 1024)},
    {"msl-host", "msl-host", {}, with_direct_results(48 * 48)},
    {"other", "", {}, with_direct_results(0)},
});

}  // namespace

std::span<const ChipFamily> chip_families() {
  return families;
}

}  // namespace mslt::msl
