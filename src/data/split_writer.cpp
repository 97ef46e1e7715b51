// The train/validation split while documents stream by.
#include "data/split_writer.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "base/fail.h"
#include "base/philox.h"

namespace mslt {
namespace {

constexpr std::string_view gathered_name = "gathered.bin";
constexpr std::uint32_t split_operation = 0x53504C54;  // sets these random numbers apart from all others

double uniform_of_document(std::uint64_t seed, std::uint64_t document) {
  const PhiloxBlock words = philox_block(seed, 0, split_operation, document);
  return static_cast<double>(((std::uint64_t{words[0]} << 32) | words[1]) >> 11) * 0x1p-53;
}

// Calls sink(ids) with tokens [first, last) of a shard, some at a time.
template <class Sink>
void read_range(const ShardReader& shard, std::uint64_t first, std::uint64_t last, Sink&& sink) {
  std::vector<std::int32_t> block(std::size_t{1} << 16);
  std::vector<TokenId> ids;
  while (first < last) {
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(block.size(), last - first));
    shard.copy(first, std::span(block).first(count));
    ids.assign(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count));
    sink(std::span<const TokenId>(ids));
    first += count;
  }
}

}  // namespace

// The shards of one split, each begun when the one before is full.
class SplitWriter::ShardSet {
 public:
  ShardSet(const SplitWriter& owner, std::string_view name) : owner_(owner), name_(name) {}

  void append(std::span<const TokenId> ids) {
    for (const TokenId id : ids) {
      if (id == owner_.options_.eos_id) {
        ++info_.documents;
      } else {
        info_.text_bytes += owner_.token_bytes_[id];
      }
    }
    info_.tokens += ids.size();
    while (!ids.empty()) {
      if (!shard_) start_shard();
      const auto count =
          static_cast<std::size_t>(std::min<std::uint64_t>(ids.size(), owner_.options_.shard_tokens - shard_->size()));
      shard_->append(ids.first(count));
      if (shard_->size() == owner_.options_.shard_tokens) finish_shard();
      ids = ids.subspan(count);
    }
  }

  // Of what was appended since the last one ended.
  void end_document() {
    if (!owner_.options_.examples) return;
    if (!lengths_) {
      info_.examples = fmt::format("{}_examples.bin", name_);
      lengths_ = std::make_unique<ShardWriter>(owner_.folder_ / info_.examples, TokenWidth::four);
    }
    const std::uint64_t length = info_.tokens - std::exchange(ended_, info_.tokens);
    if (length > std::numeric_limits<std::int32_t>::max()) {
      fail(ErrorKind::input, "An example has {} tokens; at most {} can be stored.", length,
           std::numeric_limits<std::int32_t>::max());
    }
    const auto stored = static_cast<TokenId>(length);
    lengths_->append(std::span(&stored, 1));
  }

  SplitInfo finish() {
    if (shard_) finish_shard();
    if (lengths_) lengths_->finish();
    return info_;
  }

 private:
  void start_shard() {
    info_.shards.push_back(fmt::format("{}_{:06}.bin", name_, info_.shards.size()));
    shard_ = std::make_unique<ShardWriter>(owner_.folder_ / info_.shards.back(),
                                           token_width_for(owner_.token_bytes_.size()));
  }

  void finish_shard() {
    shard_->finish();
    shard_.reset();
  }

  const SplitWriter& owner_;
  std::string name_;
  std::unique_ptr<ShardWriter> shard_;
  std::unique_ptr<ShardWriter> lengths_;  // of the examples
  std::uint64_t ended_ = 0;               // tokens of the documents that ended
  SplitInfo info_;
};

void check_split_options(const SplitOptions& options) {
  const bool valid = options.val_fraction >= 0.0 && options.val_fraction < 1.0;  // false for NaN
  if (!valid) {
    fail(ErrorKind::usage, "The validation fraction is {}; it must be at least 0 and less than 1.",
         options.val_fraction);
  }
  if (options.shard_tokens == 0) fail(ErrorKind::usage, "A shard must hold at least 1 token.");
}

SplitWriter::SplitWriter(const std::filesystem::path& folder, std::vector<std::uint32_t> token_bytes,
                         const SplitOptions& options)
    : folder_(folder),
      token_bytes_(std::move(token_bytes)),
      options_(options),
      train_(std::make_unique<ShardSet>(*this, "train")),
      val_(std::make_unique<ShardSet>(*this, "val")) {
  check_split_options(options);
  if (options.eos_id >= token_bytes_.size()) {
    fail(ErrorKind::usage, "The [EOS] id {} is outside the vocabulary of {}.", options.eos_id, token_bytes_.size());
  }
  for (const TokenId id : options.prefix) {
    if (id >= token_bytes_.size()) {
      fail(ErrorKind::usage, "The id {}, which is to stand before documents, is outside the vocabulary of {}.", id,
           token_bytes_.size());
    }
    token_bytes_[id] = 0;
  }
  gathered_ = std::make_unique<ShardWriter>(folder_ / gathered_name, token_width_for(token_bytes_.size()));
}

SplitWriter::~SplitWriter() = default;

void SplitWriter::append(std::span<const TokenId> ids) {
  const auto wrong = std::ranges::find_if(ids, [&](TokenId id) { return id >= token_bytes_.size(); });
  if (wrong != ids.end()) {
    fail(ErrorKind::input, "The id {} is outside the vocabulary of {}.", *wrong, token_bytes_.size());
  }
  begin_document();
  write(ids);
}

void SplitWriter::begin_document() {
  if (!std::exchange(in_document_, true)) write(options_.prefix);
}

void SplitWriter::end_document() {
  begin_document();
  in_document_ = false;
  write(std::span(&options_.eos_id, 1));
  if (!gathered_) shards_of(documents_).end_document();
  ++documents_;
  if (!gathered_) return;
  gathered_ends_.push_back(gathered_->size());
  if (documents_ == many_documents) spread_first_documents();
}

void SplitWriter::write(std::span<const TokenId> ids) {
  if (gathered_) {
    gathered_->append(ids);
  } else {
    shards_of(documents_).append(ids);
  }
}

SplitWriter::ShardSet& SplitWriter::shards_of(std::uint64_t document) {
  return uniform_of_document(options_.seed, document) < options_.val_fraction ? *val_ : *train_;
}

void SplitWriter::spread_first_documents() {
  gathered_->finish();
  gathered_.reset();
  std::vector<double> uniforms(gathered_ends_.size());
  for (std::size_t i = 0; i < uniforms.size(); ++i) uniforms[i] = uniform_of_document(options_.seed, i);
  const auto smallest = static_cast<std::size_t>(std::ranges::min_element(uniforms) - uniforms.begin());
  const auto largest = static_cast<std::size_t>(std::ranges::max_element(uniforms) - uniforms.begin());
  const ShardReader shard(folder_ / gathered_name);
  std::uint64_t first = 0;
  for (std::size_t i = 0; i < uniforms.size(); ++i) {
    const bool aside =
        options_.val_fraction > 0.0 && i != largest && (i == smallest || uniforms[i] < options_.val_fraction);
    ShardSet& shards = aside ? *val_ : *train_;
    read_range(shard, first, gathered_ends_[i], [&](auto ids) { shards.append(ids); });
    shards.end_document();
    first = gathered_ends_[i];
  }
  std::filesystem::remove(folder_ / gathered_name);
}

void SplitWriter::split_by_tokens() {
  const std::uint64_t total = gathered_->size();
  gathered_->finish();
  gathered_.reset();
  const ShardReader shard(folder_ / gathered_name);
  std::uint64_t aside = 0;
  if (options_.val_fraction > 0.0 && total > 1) {
    const double wanted = std::round(options_.val_fraction * static_cast<double>(total));
    aside = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, total - 1);
  }
  read_range(shard, 0, total - aside, [&](auto ids) { train_->append(ids); });
  read_range(shard, total - aside, total, [&](auto ids) { val_->append(ids); });
  std::filesystem::remove(folder_ / gathered_name);
}

std::pair<SplitInfo, SplitInfo> SplitWriter::finish() {
  if (gathered_) {
    if (gathered_->size() == 0) fail(ErrorKind::input, "The text files hold no text, so there is nothing to write.");
    if (options_.examples) {
      spread_first_documents();
    } else {
      split_by_tokens();
    }
  }
  return {train_->finish(), val_->finish()};
}

}  // namespace mslt
