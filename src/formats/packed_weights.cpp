// Rearranging blocks of GGUF files as groups.
#include "formats/packed_weights.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <set>

#include "base/parallel.h"
#include "formats/gguf_block_bytes.h"
#include "tensor/half.h"
#include "tensor/quantize.h"

namespace mslt {
namespace {

constexpr auto group = static_cast<std::size_t>(quantisation_group);
// Elements moved at once.
constexpr std::int64_t packed_block_elements = std::int64_t{1} << 20;

// A block is a scale, then a minimum or the fifth bits if it has them, then the values.
constexpr std::size_t after_scale = sizeof(Float16);

void copy_nibbles(GgufBytes block, std::uint8_t* values, Float16* factors) {
  factors[0] = half_at(block, 0);
  factors[1] = half_at(block, after_scale);
  std::memcpy(values, block + 2 * after_scale, group / 2);
}

// element = scale · (half - 8).
void centre_nibbles(GgufBytes block, std::uint8_t* values, Float16* factors) {
  factors[0] = half_at(block, 0);
  factors[1] = to_float16(-8.0f * to_float(factors[0]));
  std::memcpy(values, block + after_scale, group / 2);
}

void copy_bytes(GgufBytes block, std::uint8_t* values, Float16* factors) {
  factors[0] = half_at(block, 0);
  std::memcpy(values, block + after_scale, group);
}

void widen_nibbles(GgufBytes block, std::uint8_t* values, Float16* factors) {
  factors[0] = half_at(block, 0);
  for (std::size_t i = 0; i < group; ++i) {
    values[i] = static_cast<std::uint8_t>(nibble(block + after_scale, i) - 8);
  }
}

void widen_fifth_bits(GgufBytes block, std::uint8_t* values, Float16* factors) {
  const GgufBytes bits = block + after_scale;
  factors[0] = half_at(block, 0);
  for (std::size_t i = 0; i < group; ++i) {
    const int fifth = (bits[i / 8] >> (i % 8) & 1) << 4;
    values[i] = static_cast<std::uint8_t>((nibble(bits + 4, i) | fifth) - 16);
  }
}

// How a block becomes a group of values of `to`, the values as bytes.
struct Regrouping {
  std::string_view from;
  DType to;
  void (*regroup)(GgufBytes, std::uint8_t* values, Float16* factors);
};
// Four bits are tried first.
constexpr Regrouping regroupings[] = {{"Q4_1", DType::u8, copy_nibbles},
                                      {"Q4_0", DType::u8, centre_nibbles},
                                      {"Q8_0", DType::i8, copy_bytes},
                                      {"Q5_0", DType::i8, widen_fifth_bits},
                                      {"Q4_0", DType::i8, widen_nibbles}};

const Regrouping* find_regrouping(const FileTensor& tensor, DType to) {
  const auto* const found = std::ranges::find_if(regroupings, [&](const Regrouping& known) {
    return tensor.block && known.from == tensor.block->name && known.to == to;
  });
  return found == std::end(regroupings) ? nullptr : found;
}

// Whether 8 times each scale of the blocks, which begin with it, is an f16.
bool has_minima(const FileTensor& tensor) {
  constexpr float most = 65504.0f / 8.0f;
  const auto* const bytes = reinterpret_cast<GgufBytes>(tensor.data.data());
  for (std::size_t at = 0; at < tensor.data.size(); at += tensor.block->bytes) {
    if (std::abs(to_float(half_at(bytes, at))) > most) return false;
  }
  return true;
}

bool can_be(const WeightPiece& piece, const FileTensor& tensor, DType values) {
  const Regrouping* const known = find_regrouping(tensor, values);
  return known != nullptr && !piece.transposed && piece.offset == 0 &&
         (known->regroup != centre_nibbles || has_minima(tensor));
}

}  // namespace

std::vector<PackedMatrix> packed_matrices(const ArenaLayout& parameters, std::span<const WeightPiece> pieces,
                                          std::span<const FileTensor* const> tensors) {
  std::vector<PackedMatrix> result;
  for (std::size_t begin = 0, end = 0; begin < pieces.size(); begin = end) {
    const Segment& segment = parameters.segment(pieces[begin].parameter);
    for (end = begin + 1; end < pieces.size() && pieces[end].parameter == segment.name; ++end) {
    }
    if (segment.shape.rank() != 2 || segment.name == "position_embedding.weight") continue;
    for (const DType values : {DType::u8, DType::i8}) {
      bool fits = true;
      for (std::size_t i = begin; i < end && fits; ++i) fits = can_be(pieces[i], *tensors[i], values);
      if (!fits) continue;
      result.push_back({segment.name, values, segment.shape[0] + segment.spare_rows, segment.shape[1]});
      break;
    }
  }
  return result;
}

std::string unpacked_note(std::span<const PackedMatrix> packed, std::span<const WeightPiece> pieces,
                          std::span<const FileTensor* const> tensors, std::string_view source) {
  std::set<std::string_view> types;
  std::size_t count = 0;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const bool stays = std::ranges::find(packed, pieces[i].parameter, &PackedMatrix::name) != packed.end();
    if (stays || !tensors[i]->block) continue;
    types.insert(tensors[i]->block->name);
    ++count;
  }
  if (count == 0) return {};
  return fmt::format(
      "{}: {} of {} tensors are unpacked, which takes more memory: their types ({}) or those of the tensors that they "
      "are joined with are not what products read.",
      source, count, pieces.size(), fmt::join(types, ", "));
}

void load_packed(const Transformer& model, std::span<const WeightPiece> pieces,
                 std::span<const FileTensor* const> tensors) {
  std::vector<std::uint8_t> values;
  std::vector<Float16> factors;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    const WeightPiece& piece = pieces[i];
    const FileTensor& tensor = *tensors[i];
    if (model.parameters().layout().contains(piece.parameter)) continue;
    const Weight to = model.quantised().find(piece.parameter, {});
    const Regrouping& regrouping = *find_regrouping(tensor, to.values.dtype());
    const auto* const bytes = reinterpret_cast<GgufBytes>(tensor.data.data());
    const auto value_bytes = static_cast<std::size_t>(to.values.shape()[1]);
    const auto factors_a_row = static_cast<std::size_t>(to.scales.elements() / to.scales.shape()[0]);
    const std::size_t groups = static_cast<std::size_t>(to.scales.shape()[1]);
    const std::int64_t unit = std::max<std::int64_t>(piece.alternating, 1);
    const std::int64_t step =
        std::max<std::int64_t>(packed_block_elements / (to.scales.shape()[1] * quantisation_group * unit), 1) * unit;
    for (std::int64_t row = 0; row < piece.rows; row += step) {
      const std::int64_t count = std::min(step, piece.rows - row);
      values.resize(static_cast<std::size_t>(count) * value_bytes);
      factors.resize(static_cast<std::size_t>(count) * factors_a_row);
      parallel_for(count, Cost{.bytes = 3} * static_cast<std::int64_t>(value_bytes), [&](std::int64_t r) {
        const auto place = static_cast<std::size_t>(piece.row_of(r));
        for (std::size_t g = 0; g < groups; ++g) {
          const std::size_t block = static_cast<std::size_t>(row + r) * groups + g;
          regrouping.regroup(bytes + block * tensor.block->bytes,
                             values.data() + place * value_bytes + g * value_bytes / groups,
                             factors.data() + place * factors_a_row + g * factors_a_row / groups);
        }
      });
      Backend& backend = model.backend();
      backend.upload(to.values.slice(piece.first_row + row, count), std::as_bytes(std::span(values)));
      backend.upload(to.scales.slice(piece.first_row + row, count), std::as_bytes(std::span(factors)));
    }
  }
}

}  // namespace mslt
