// Blocks and block tables of the paged KV cache.
#include "model/kv_cache.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <numeric>

#include "base/checked.h"
#include "base/fail.h"

namespace mslt {
namespace {

constexpr std::int64_t block_size = KvCacheView::block_size;

std::int64_t blocks_of(std::int64_t positions) {
  return (positions + block_size - 1) / block_size;
}

std::string key_name(std::int64_t layer) {
  return layer_name(layer, "keys");
}

std::string value_name(std::int64_t layer) {
  return layer_name(layer, "values");
}

}  // namespace

KvCache::KvCache(Backend& backend, const Config& config, DType dtype, int slots, std::int64_t positions)
    : max_positions_(config.max_positions), blocks_per_slot_(blocks_of(config.max_positions)) {
  if (!is_floating(dtype)) fail(ErrorKind::usage, "A KV cache is f32, bf16 or f16, not {}.", name_of(dtype));
  if (slots < 1) fail(ErrorKind::usage, "A KV cache needs at least 1 slot, not {}.", slots);
  if (positions < 1) fail(ErrorKind::usage, "A KV cache needs at least 1 position, not {}.", positions);
  // Each sequence may leave all but one row of its last block empty, and none is longer than max_positions.
  const std::int64_t most = slots * blocks_per_slot_;
  const std::int64_t blocks =
      positions >= slots * max_positions_ ? most : std::min(most, (positions + slots * (block_size - 1)) / block_size);
  if (blocks > std::numeric_limits<std::int32_t>::max()) {
    fail(ErrorKind::usage, "A KV cache of {} positions has more than 2^31 - 1 blocks.", positions);
  }
  ArenaLayout layout;
  for (std::int64_t layer = 0; layer < config.layers; ++layer) {
    const Shape shape = {blocks, block_size, config.kv_heads * config.head_size};
    layout.add(key_name(layer), dtype, shape);
    layout.add(value_name(layer), dtype, shape);
  }
  storage_ = Arena(layout, backend.allocate(layout.bytes(), "KV cache"));
  const auto table_entries = static_cast<std::size_t>(slots * blocks_per_slot_);
  block_table_ = backend.allocate(table_entries * sizeof(std::int32_t), "block tables of the KV cache");
  block_tables_ = backend.upload_slot(Tensor(*block_table_, 0, DType::i32, {slots, blocks_per_slot_}),
                                      decode_steps_under_way, "block tables on their way");
  lengths_.resize(static_cast<std::size_t>(slots));
  tables_.resize(static_cast<std::size_t>(slots));
  // Blocks are taken from the end, the lowest first.
  free_.resize(static_cast<std::size_t>(blocks));
  std::iota(free_.rbegin(), free_.rend(), 0);
}

std::size_t KvCache::checked_slot(int slot) const {
  if (slot < 0 || slot >= slots()) {
    fail(ErrorKind::usage, "There is no slot {} in a KV cache of {} slots.", slot, slots());
  }
  return static_cast<std::size_t>(slot);
}

bool KvCache::fits(const Config& config) const {
  const std::span<const Segment> segments = storage_.layout().segments();
  return config.max_positions == max_positions_ && static_cast<std::size_t>(2 * config.layers) == segments.size() &&
         segments.front().shape[-1] == config.kv_heads * config.head_size;
}

void KvCache::reserve(int slot, std::int64_t count) {
  const std::size_t index = checked_slot(slot);
  std::vector<std::int32_t>& table = tables_[index];
  if (count < 0) fail(ErrorKind::usage, "A KV cache cannot reserve {} positions.", count);
  if (count > max_positions_ - lengths_[index]) {
    fail(ErrorKind::usage, "A sequence of {} tokens cannot grow by {}; this model takes {} positions at most.",
         lengths_[index], count, max_positions_);
  }
  const std::int64_t missing = blocks_of(lengths_[index] + count) - static_cast<std::int64_t>(table.size());
  if (missing <= 0) return;
  if (missing > free_blocks()) {
    fail(ErrorKind::memory, "The KV cache is full: a sequence needs {} more blocks of {} positions, {} are free.",
         missing, block_size, free_blocks());
  }
  const auto taken = free_.end() - missing;
  table.insert(table.end(), std::make_reverse_iterator(free_.end()), std::make_reverse_iterator(taken));
  free_.erase(taken, free_.end());
  uploaded_slots_.clear();
}

void KvCache::advance(int slot, std::int64_t count) {
  const std::size_t index = checked_slot(slot);
  const auto room = static_cast<std::int64_t>(tables_[index].size()) * block_size - lengths_[index];
  if (count < 0 || count > std::min(room, max_positions_ - lengths_[index])) {
    fail(ErrorKind::usage, "Slot {} has {} positions and cannot advance by {}; reserve them first.", slot,
         lengths_[index], count);
  }
  lengths_[index] += count;
}

void KvCache::truncate(int slot, std::int64_t length) {
  const std::size_t index = checked_slot(slot);
  std::vector<std::int32_t>& table = tables_[index];
  if (length < 0 || length > lengths_[index]) {
    fail(ErrorKind::usage, "Slot {} has {} positions and cannot be cut to {}.", slot, lengths_[index], length);
  }
  lengths_[index] = length;
  const auto kept = static_cast<std::size_t>(blocks_of(length));
  if (table.size() <= kept) return;
  free_.insert(free_.end(), table.rbegin(), table.rend() - static_cast<std::ptrdiff_t>(kept));
  table.resize(kept);
  uploaded_slots_.clear();
}

KvCacheView KvCache::view(std::int64_t layer, std::span<const int> slots) {
  const auto rows = static_cast<std::int64_t>(slots.size());
  if (slots.size() > lengths_.size()) {
    fail(ErrorKind::usage, "A view of {} slots was asked of a KV cache that has {}.", rows, lengths_.size());
  }
  const Tensor table(*block_table_, 0, DType::i32, {rows, blocks_per_slot_});
  if (!std::equal(slots.begin(), slots.end(), uploaded_slots_.begin(), uploaded_slots_.end())) {
    std::vector<std::int32_t> entries(static_cast<std::size_t>(rows * blocks_per_slot_));
    auto row = entries.begin();
    for (const int slot : slots) {
      const std::vector<std::int32_t>& blocks = tables_[checked_slot(slot)];
      std::copy(blocks.begin(), blocks.end(), row);
      row += blocks_per_slot_;
    }
    block_tables_->write(std::as_bytes(std::span(entries)));
    uploaded_slots_.assign(slots.begin(), slots.end());
  }
  return {storage_.tensor(key_name(layer)), storage_.tensor(value_name(layer)), table};
}

}  // namespace mslt
