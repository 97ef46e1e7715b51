// Tuning: how the kernels are launched on a family of chips, as a value; its table of families and its file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"

namespace mslt::msl {

// So many results and more than any product has.
inline constexpr std::int64_t any_size = std::numeric_limits<std::int64_t>::max();

// Every choice that a kernel leaves to its launch: all values that tuning_fields() allows give right results, and the
// same ones the same bits. A value type. What it starts as has no device in mind.
struct Tuning {
  // Products of at most so many results go by the direct design (32×32 a simdgroup straight from device memory), others
  // by the staged one (64×64×16 through threadgroup memory by four simdgroups), for each of the three products.
  std::int64_t direct_results_forward = 256 * 256;
  std::int64_t direct_results_input = 256 * 256;
  std::int64_t direct_results_weight = 256 * 256;
  // Simdgroups of a threadgroup of the direct design: 1, 2 or 4.
  std::int64_t direct_simdgroups = 4;
  // A product of up to so many rows reads the weight once, by the kernels of matvec.
  std::int64_t few_rows = 8;
  // Simdgroups of a threadgroup of matvec, where the product is large enough for many threadgroups.
  std::int64_t matvec_simdgroups = 4;
  // Threads of a group of the elementwise kernels, of AdamW, and of the kernels that go over tiles of rows and columns.
  std::int64_t span_threads = 256;
  std::int64_t adamw_threads = 256;
  std::int64_t tile_threads = 128;
  // Rows, a simdgroup each, of a threadgroup of the norms.
  std::int64_t norm_group_rows = 4;
  // Cross entropy: the most threads of a row of 16-bit logits and of f32 ones, and logits of a thread before more
  // threads are taken. Rows of f32 are twice as long: with twice the threads half as many are under way, and they stay
  // in the cache until their gradient is made.
  std::int64_t loss_threads = 512;
  std::int64_t loss_threads_f32 = 1024;
  std::int64_t loss_logits_a_thread = 32;
  // Sums and the gradients' norm: threads of a group, and the most groups.
  std::int64_t reduce_threads = 256;
  std::int64_t reduce_groups = 512;

  bool operator==(const Tuning&) const = default;
};

// A member of Tuning: its name in files and reports, and what it may be.
struct TuningField {
  std::string_view name;
  std::int64_t Tuning::* member;
  std::int64_t least;
  std::int64_t most;
  enum class Kind { number, simdgroups, power_of_two } kind;  // simdgroups: a multiple of 32 threads
  std::int64_t threads_each;  // threads of a group for each unit of the value; 0 where it is no size of a group
};

// All members, in their order.
std::span<const TuningField> tuning_fields();
// The one of that member.
const TuningField& tuning_field(std::int64_t Tuning::* member);

// Throws Error(input) beginning with `source` and naming the member, its value and what would be valid, where a value
// is outside its range or makes groups of more than `max_threads`.
void check_tuning(const Tuning& tuning, std::string_view source, std::uint32_t max_threads = 1024);

// A family of chips: those of a backend whose names begin with one of the prefixes and go on with no digit, so that
// "Apple M1" is no "Apple M10". No prefix at all fits every name, an empty backend every backend.
struct ChipFamily {
  std::string_view name;
  std::string_view backend;
  std::span<const std::string_view> prefixes;
  Tuning tuning;

  bool holds(const DeviceInfo& device) const;
};

// The table: the first family that holds a device decides. The last one holds all.
std::span<const ChipFamily> chip_families();
const ChipFamily& chip_family(const DeviceInfo& device);

// Of files; goes up when a member of Tuning or what a kernel makes of it changes.
inline constexpr std::int64_t tuning_version = 3;

// What a tuning file holds: docs/kernels.md describes it.
struct TuningFile {
  std::string backend;
  std::string device;
  std::string measured_with;  // a description for people
  Tuning tuning;
};

// As JSON text.
std::string format_tuning(const TuningFile& file);
// Throws Error(input) naming `source` and the member where the text is not that of a tuning file of this version, lacks
// a member, has one more, or a value is out of range.
TuningFile parse_tuning(std::string_view text, std::string_view source);

// Atomically. Makes the folder where it does not exist. Throws Error(io).
void write_tuning(const std::filesystem::path& path, const TuningFile& file);
// Throws Error(io), and as parse_tuning.
TuningFile read_tuning(const std::filesystem::path& path);

}  // namespace mslt::msl
