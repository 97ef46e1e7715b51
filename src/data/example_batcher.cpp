// Checking, truncating, ordering and padding examples.
#include "data/example_batcher.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "base/fail.h"
#include "data/permutation.h"

namespace mslt {
namespace {

void truncate(Example& example, const ExampleBatcherOptions& options, std::size_t index) {
  const std::size_t count = example.tokens.size();
  if (options.max_tokens == 0 || count <= options.max_tokens) return;
  const std::size_t excess = count - options.max_tokens;
  switch (options.truncation) {
    case Truncation::refuse:
      fail(ErrorKind::input, "Example {} has {} tokens; the most allowed is {}. Shorten it, or choose how to truncate.",
           index, count, options.max_tokens);
    case Truncation::keep_first:
      example.tokens.resize(options.max_tokens);
      break;
    case Truncation::keep_last:
      example.tokens.erase(example.tokens.begin(), example.tokens.begin() + static_cast<std::ptrdiff_t>(excess));
      example.prompt -= std::min(example.prompt, excess);
      break;
  }
}

void check(const Example& example, std::size_t index) {
  if (example.tokens.size() < 2) {
    fail(ErrorKind::input, "Example {} has {} tokens; it needs at least 2, one to predict the other from.", index,
         example.tokens.size());
  }
  if (example.prompt >= example.tokens.size()) {
    fail(ErrorKind::input, "Example {} has nothing to learn: all of its {} tokens are of the prompt.", index,
         example.tokens.size());
  }
  for (const TokenId id : example.tokens) {
    if (id > static_cast<TokenId>(std::numeric_limits<std::int32_t>::max())) {
      fail(ErrorKind::input, "Example {} has the id {}, which is in no vocabulary.", index, id);
    }
  }
}

}  // namespace

ExampleBatcher::ExampleBatcher(std::vector<Example> examples, const ExampleBatcherOptions& options)
    : examples_(std::move(examples)), options_(options) {
  if (options.batch == 0) fail(ErrorKind::usage, "A batch must have at least 1 example.");
  if (options.max_tokens == 1) fail(ErrorKind::usage, "Examples cannot be cut to 1 token; at least 2 are needed.");
  if (options.pad_id > static_cast<TokenId>(std::numeric_limits<std::int32_t>::max())) {
    fail(ErrorKind::usage, "The padding id {} is in no vocabulary.", options.pad_id);
  }
  if (examples_.empty()) fail(ErrorKind::input, "There are no examples to make batches of.");
  for (std::size_t i = 0; i < examples_.size(); ++i) {
    truncate(examples_[i], options, i);
    check(examples_[i], i);
  }
  order_epoch();
}

void ExampleBatcher::order_epoch() {
  const std::size_t count = examples_.size();
  order_.resize(count);
  const Permutation permutation(count, options_.seed, state_.epoch);
  for (std::size_t i = 0; i < count; ++i) order_[i] = options_.shuffle ? static_cast<std::size_t>(permutation(i)) : i;
  if (!options_.bucket_by_length) return;
  std::vector<std::pair<std::size_t, std::size_t>> by_length(count);  // with the place, which decides among equals
  for (std::size_t i = 0; i < count; ++i) by_length[i] = {examples_[order_[i]].tokens.size(), i};
  std::ranges::sort(by_length);
  const std::vector<std::size_t> shuffled = order_;
  for (std::size_t i = 0; i < count; ++i) order_[i] = shuffled[by_length[i].second];
  if (!options_.shuffle) return;
  // Whole batches change places; the one that is not full stays last.
  const std::size_t full = count / options_.batch;
  if (full == 0) return;
  const std::vector<std::size_t> sorted = order_;
  const Permutation batches(full, ~options_.seed, state_.epoch);
  for (std::size_t i = 0; i < full; ++i) {
    const auto from = sorted.begin() + static_cast<std::ptrdiff_t>(batches(i) * options_.batch);
    std::copy_n(from, options_.batch, order_.begin() + static_cast<std::ptrdiff_t>(i * options_.batch));
  }
}

PaddedBatch ExampleBatcher::next() {
  if (state_.position == batches()) {
    ++state_.epoch;
    state_.position = 0;
    order_epoch();
  }
  const std::size_t first = static_cast<std::size_t>(state_.position) * options_.batch;
  const std::span<const std::size_t> chosen =
      std::span<const std::size_t>(order_).subspan(first, std::min(options_.batch, order_.size() - first));
  PaddedBatch batch;
  batch.rows = chosen.size();
  for (const std::size_t index : chosen) batch.length = std::max(batch.length, examples_[index].tokens.size() - 1);
  batch.tokens.assign(batch.rows * batch.length, static_cast<std::int32_t>(options_.pad_id));
  batch.targets.assign(batch.rows * batch.length, -1);
  batch.mask.assign(batch.rows * batch.length, 0);
  for (std::size_t row = 0; row < batch.rows; ++row) {
    const Example& example = examples_[chosen[row]];
    for (std::size_t i = 0; i + 1 < example.tokens.size(); ++i) {
      const std::size_t element = row * batch.length + i;
      batch.tokens[element] = static_cast<std::int32_t>(example.tokens[i]);
      batch.mask[element] = 1;
      if (i + 1 >= example.prompt) batch.targets[element] = static_cast<std::int32_t>(example.tokens[i + 1]);
    }
  }
  ++state_.position;
  return batch;
}

void ExampleBatcher::restore(const LoaderState& state) {
  if (state.position > batches()) {
    fail(ErrorKind::input, "The position {} is behind the end of an epoch of {} batches. Are they the same examples?",
         state.position, batches());
  }
  state_ = state;
  order_epoch();
}

std::uint64_t ExampleBatcher::batches() const {
  return (examples_.size() - 1) / options_.batch + 1;
}

}  // namespace mslt
