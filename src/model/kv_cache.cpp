// Blocks and block tables of the paged KV cache.
#include "model/kv_cache.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

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
  progress_.resize(static_cast<std::size_t>(slots));
  states_.resize(static_cast<std::size_t>(blocks));
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
  for (std::int64_t i = 0; i < missing; ++i) take_block(table);
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
  const auto whole = static_cast<std::size_t>(length / block_size);
  const auto kept = static_cast<std::size_t>(blocks_of(length));
  if (length < lengths_[index] && kept > whole) {
    // Other tokens will take the rest of this block.
    if (state(table[whole]).owners > 1) {
      fail(ErrorKind::usage, "Slot {} cannot be cut to {} positions: another slot shares the block there.", slot,
           length);
    }
    forget_block(table[whole]);
  }
  lengths_[index] = length;
  Remembered& progress = progress_[index];
  if (progress.blocks > whole) {
    progress.blocks = whole;
    progress.name = whole == 0 ? 0 : state(table[whole - 1]).name;
    // A block of these tokens that another slot had remembered before has the name.
    if (whole > 0 && progress.name == 0) progress = {};
  }
  if (table.size() <= kept) return;
  uploaded_slots_.clear();
  // The last first: of a text's kept blocks, those go first that are of use only with the others.
  while (table.size() > kept) {
    give_back(table.back());
    table.pop_back();
  }
}

std::size_t KvCache::BeginningHash::operator()(const Beginning& beginning) const {
  std::uint64_t hash = beginning.before;
  for (const std::int32_t token : beginning.tokens) {
    hash = (hash ^ static_cast<std::uint32_t>(token)) * 0x9e3779b97f4a7c15u;
    hash ^= hash >> 29;
  }
  return static_cast<std::size_t>(hash);
}

KvCache::Beginning KvCache::beginning(std::uint64_t before, std::span<const std::int32_t> tokens, std::size_t block) {
  Beginning result = {.before = before};
  std::ranges::copy(tokens.subspan(block * block_size, block_size), result.tokens.begin());
  return result;
}

// There is one.
void KvCache::take_block(std::vector<std::int32_t>& table) {
  if (free_.empty()) {
    const std::int32_t oldest = kept_.front();
    forget_block(oldest);
  }
  const std::int32_t block = free_.back();
  free_.pop_back();
  state(block).owners = 1;
  table.push_back(block);
}

void KvCache::give_back(std::int32_t block) {
  BlockState& given = state(block);
  if (given.owners == 1) {
    if (given.name == 0) {
      free_.push_back(block);
    } else {
      given.kept = kept_.insert(kept_.end(), block);  // without memory for it, nothing has changed
    }
  }
  --given.owners;
}

void KvCache::forget_block(std::int32_t block) {
  BlockState& known = state(block);
  if (known.name == 0) return;
  remembered_.erase(known.beginning);
  known.name = 0;
  if (known.owners > 0) return;
  kept_.erase(known.kept);
  free_.push_back(block);
}

void KvCache::remember(int slot, std::span<const std::int32_t> tokens) {
  const std::size_t index = checked_slot(slot);
  if (std::cmp_less(tokens.size(), lengths_[index])) {
    fail(ErrorKind::usage, "Slot {} has {} positions; {} tokens are too few for them.", slot, lengths_[index],
         tokens.size());
  }
  Remembered& progress = progress_[index];
  const auto whole = static_cast<std::size_t>(lengths_[index] / block_size);
  for (; progress.blocks < whole; ++progress.blocks) {
    const std::int32_t block = tables_[index][progress.blocks];
    const Beginning key = beginning(progress.name, tokens, progress.blocks);
    const auto [place, is_new] = remembered_.try_emplace(key, block);
    if (is_new) {
      BlockState& known = state(block);
      known.name = ++last_name_;
      known.beginning = key;
    }
    // Another slot may have computed the same at the same time: then its block is the one that is shared.
    progress.name = state(place->second).name;
  }
}

std::int64_t KvCache::share(int slot, std::span<const std::int32_t> tokens) {
  const std::size_t index = checked_slot(slot);
  std::vector<std::int32_t>& table = tables_[index];
  if (!table.empty()) fail(ErrorKind::usage, "Slot {} is not empty: it cannot share blocks.", slot);
  const std::size_t whole = std::min(tokens.size(), static_cast<std::size_t>(max_positions_)) / block_size;
  Remembered progress;
  for (; progress.blocks < whole; ++progress.blocks) {
    const auto found = remembered_.find(beginning(progress.name, tokens, progress.blocks));
    if (found == remembered_.end()) break;
    BlockState& shared = state(found->second);
    if (shared.owners++ == 0) kept_.erase(shared.kept);
    progress.name = shared.name;
    table.push_back(found->second);
  }
  progress_[index] = progress;
  lengths_[index] = static_cast<std::int64_t>(progress.blocks) * block_size;
  if (progress.blocks > 0) uploaded_slots_.clear();
  return lengths_[index];
}

void KvCache::forget() {
  for (std::size_t block = 0; block < states_.size(); ++block) forget_block(static_cast<std::int32_t>(block));
  std::ranges::fill(progress_, Remembered());
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
