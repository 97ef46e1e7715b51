// Tuning: the launch parameters of the kernels on a family of chips; the table of families and the tuning file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <span>
#include <string>
#include <string_view>

#include "backend/backend.h"

namespace mslt::msl {

// More results than any product has.
inline constexpr std::int64_t any_size = std::numeric_limits<std::int64_t>::max();

// All launch parameters of the kernels. All values that tuning_fields() allows give correct results, and equal values
// equal bits. A value type. The defaults are for no particular device.
struct Tuning {
  // Products with at most this many results use the direct design (32×32 per simdgroup straight from device memory),
  // others the staged design (64×64×16 through threadgroup memory by four simdgroups), for each of the three products.
  std::int64_t direct_results_forward = 256 * 256;
  std::int64_t direct_results_input = 256 * 256;
  std::int64_t direct_results_weight = 256 * 256;
  // Simdgroups per threadgroup of the direct design: 1, 2 or 4.
  std::int64_t direct_simdgroups = 4;
  // Products of at most this many rows read the weight once, using the kernels of matvec.
  std::int64_t few_rows = 8;
  // Simdgroups per threadgroup of matvec, if the product is large enough for many threadgroups.
  std::int64_t matvec_simdgroups = 4;
  // Threads per group of the elementwise kernels, of AdamW, and of the kernels over tiles of rows and columns.
  std::int64_t span_threads = 256;
  std::int64_t adamw_threads = 256;
  std::int64_t tile_threads = 128;
  // Rows per threadgroup of the norms, one simdgroup each.
  std::int64_t norm_group_rows = 4;
  // Cross entropy: the most threads per row of 16-bit logits and of f32 logits, and logits per thread before more
  // threads are used. Rows of f32 are twice as long: with twice the threads, half as many rows are in flight, and they
  // stay in the cache until their gradient is computed.
  std::int64_t loss_threads = 512;
  std::int64_t loss_threads_f32 = 1024;
  std::int64_t loss_logits_a_thread = 32;
  // Sums and the gradients' norm: threads per group, and the most groups.
  std::int64_t reduce_threads = 256;
  std::int64_t reduce_groups = 512;

  bool operator==(const Tuning&) const = default;
};

// A member of Tuning: its name in files and reports, and its allowed values.
struct TuningField {
  std::string_view name;
  std::int64_t Tuning::* member;
  std::int64_t least;
  std::int64_t most;
  enum class Kind { number, simdgroups, power_of_two } kind;  // simdgroups: a multiple of 32 threads
  std::int64_t threads_each;  // threads per group for each unit of the value; 0 if it is no group size
};

// All members, in order.
std::span<const TuningField> tuning_fields();
// The entry of that member.
const TuningField& tuning_field(std::int64_t Tuning::* member);

// Throws Error(input) if a value is out of range or makes groups of more than `max_threads`. The message begins with
// `source` and names the member, its value and what would be valid.
void check_tuning(const Tuning& tuning, std::string_view source, std::uint32_t max_threads = 1024);

// A family of chips: those of a backend whose names begin with one of the prefixes, not followed by a digit ("Apple M1"
// does not match "Apple M10"). No prefix matches every name, an empty backend every backend.
struct ChipFamily {
  std::string_view name;
  std::string_view backend;
  std::span<const std::string_view> prefixes;
  Tuning tuning;

  bool holds(const DeviceInfo& device) const;
};

// The table: the first family that contains a device applies. The last one contains all.
std::span<const ChipFamily> chip_families();
const ChipFamily& chip_family(const DeviceInfo& device);

// For files; increases when a member of Tuning or its meaning changes.
inline constexpr std::int64_t tuning_version = 3;

// The contents of a tuning file: docs/kernels.md describes it.
struct TuningFile {
  std::string backend;
  std::string device;
  std::string measured_with;  // a description for people
  Tuning tuning;
};

// As JSON text.
std::string format_tuning(const TuningFile& file);
// Throws Error(input) naming `source` and the member if the text is not a tuning file of this version, lacks a member,
// has an extra one, or a value is out of range.
TuningFile parse_tuning(std::string_view text, std::string_view source);

// Atomic. Creates the folder if missing. Throws Error(io).
void write_tuning(const std::filesystem::path& path, const TuningFile& file);
// Throws Error(io), and as parse_tuning.
TuningFile read_tuning(const std::filesystem::path& path);

}  // namespace mslt::msl
