// Products of few rows with plain or quantised weights as MSL kernels.
#include "backend/msl/matvec.h"

#include <algorithm>

#include "backend/msl/any_float.h"
#include "backend/msl/launch.h"
#include "kernels/matvec_args.h"

namespace mslt::msl {
namespace {

constexpr std::int64_t rows_at_a_time = 4;
// Threadgroups that are enough for any device: a smaller product gets smaller ones.
constexpr std::int64_t enough_groups = 512;

// As kernels/matvec.metal has it.
constexpr std::int64_t most_turns = 8;

// Simdgroups that keep any device busy: columns that need fewer of them are shared by some, which take turns along
// rows of the weight that are long enough.
constexpr std::int64_t enough_simdgroups = 1024;
constexpr std::int64_t inner_a_turn = 512;

// Rows of the weight that a simdgroup goes over, as kernels/matvec.metal has it.
std::int64_t columns_of_a_simdgroup(DType weight, bool one_row) {
  if (weight == DType::i8) return 8;
  if (weight == DType::u8) return one_row ? 16 : 8;
  return 4;
}

}  // namespace

std::int64_t matvec_simdgroups(const Tuning& tuning, std::int64_t columns, DType weight, bool one_row) {
  const std::int64_t most = tuning.matvec_simdgroups;
  return columns / (columns_of_a_simdgroup(weight, one_row) * most) < enough_groups ? 1 : most;
}

bool matvec_takes(const FusedProduct& op) {
  return !op.norm_weight ||
         aligned_rows(op.in.shape()[-1], op.in, op.weight.values, op.weight.scales, op.norm_weight, op.norm_bias) != 0;
}

void encode_matvec(Recorder& recorder, const Tuning& tuning, const FusedProduct& op) {
  const Tensor& weight = op.weight.values;
  const std::int64_t rows = op.in.shape().rows();
  const std::int64_t inner = op.in.shape()[-1];
  const std::int64_t columns = weight.shape()[0];
  const bool one_row = rows == 1;
  const std::int64_t columns_each = columns_of_a_simdgroup(weight.dtype(), one_row);
  const std::int64_t wanted = group_count(enough_simdgroups, std::max<std::int64_t>(columns / columns_each, 1));
  const std::int64_t turns = std::min<std::int64_t>({wanted, group_count(inner, inner_a_turn), most_turns});
  const std::uint32_t aligned = aligned_rows(inner, op.in, weight, op.weight.scales);
  const bool shared = turns > 1 && aligned != 0;
  const std::int64_t simdgroups = shared ? turns : matvec_simdgroups(tuning, columns, weight.dtype(), one_row);
  const MatvecArgs args = {.rows = count32(rows, "matvec"),
                           .columns = count32(columns, "matvec"),
                           .inner = count32(inner, "matvec"),
                           .aligned = aligned,
                           .activation = static_cast<std::uint32_t>(op.activation),
                           .has_bias = op.bias ? 1u : 0u,
                           .bias_type = any_float_type(op.bias),
                           .shared = shared ? 1u : 0u,
                           .accumulate = op.accumulate ? 1u : 0u,
                           .norm = !op.norm_weight ? 0u
                                   : op.norm.rms   ? 2u
                                                   : 1u,
                           .norm_type = any_float_type(op.norm_weight),
                           .has_norm_bias = op.norm_bias ? 1u : 0u,
                           .epsilon = op.norm.epsilon,
                           .weight_offset = op.norm.weight_offset};
  const std::int64_t at_a_time = one_row ? 1 : rows_at_a_time;
  const std::int64_t across = group_count(columns, (shared ? 1 : simdgroups) * columns_each);
  const std::int64_t down = group_count(rows, at_a_time);
  Encoder encoder(recorder, kernel_name(one_row ? "matvec_one" : "matvec_four", op.in.dtype(), weight.dtype()));
  encoder.buffer(0, op.out).buffer(1, op.in).buffer(2, weight).optional(3, op.weight.scales);
  bind_any_float(encoder, 4, op.bias);
  bind_any_float(encoder, 6, op.norm_weight);
  bind_any_float(encoder, 7, op.norm_bias);
  encoder.bytes(5, args)
      .work(op.flops(), op.accumulate ? op.out.bytes() : 0)
      .dispatch({group_count(across * down, 1), 1, 1},
                {static_cast<std::uint32_t>(simdgroups * simdgroup_width), 1, 1});
}

}  // namespace mslt::msl
