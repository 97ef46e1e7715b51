// Loss over a split.
#include "train/evaluate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <numbers>

#include "base/fail.h"
#include "data/loader.h"

namespace mslt {
namespace {

constexpr std::uint64_t subset_seed = 1;  // fixed, so that evaluations of all runs see the same batches
constexpr int batches_in_flight = 8;

LoaderOptions loader_options(const EvaluateOptions& options) {
  LoaderOptions loader;
  loader.batch = options.batch;
  loader.seq_len = options.seq_len - static_cast<std::int64_t>(options.prefix.size());
  loader.seed = subset_seed;
  loader.shuffle = options.max_batches > 0;
  loader.mode = LoaderMode::once;
  return loader;
}

// A batch of windows that the prefix is put before.
class PrefixedRows {
 public:
  PrefixedRows(const EvaluateOptions& options)
      : prefix_(options.prefix.begin(), options.prefix.end()),
        rows_(static_cast<std::size_t>(options.batch)),
        length_(static_cast<std::size_t>(options.seq_len) - prefix_.size()),
        tokens_(rows_ * length_),
        targets_(rows_ * length_) {}

  // Returns false at the end. Rows are as long as the windows and the prefix.
  bool next(BatchLoader& loader, std::span<std::int32_t> tokens, std::span<std::int32_t> targets, bool at_start) {
    if (prefix_.empty()) return loader.next(tokens, targets) != 0;
    if (loader.next(tokens_, targets_) == 0) return false;
    const std::size_t whole = length_ + prefix_.size();
    for (std::size_t row = 0; row < rows_; ++row) {
      place(row, tokens.subspan(row * whole, whole), targets.subspan(row * whole, whole), at_start && row == 0);
    }
    return true;
  }

 private:
  void place(std::size_t row, std::span<std::int32_t> tokens, std::span<std::int32_t> targets, bool is_first) const {
    const auto window = std::span(tokens_).subspan(row * length_, length_);
    const bool has_prefix =
        length_ >= prefix_.size() && std::ranges::equal(window.first(prefix_.size()), std::span(prefix_));
    const std::size_t at = has_prefix ? 0 : prefix_.size();
    std::ranges::fill(tokens, 0);
    std::ranges::fill(targets, -1);
    if (!has_prefix) std::ranges::copy(prefix_, tokens.begin());
    std::ranges::copy(window, tokens.subspan(at).begin());
    std::ranges::copy(std::span(targets_).subspan(row * length_, length_), targets.subspan(at).begin());
    if (is_first && !has_prefix) targets[at - 1] = window.front();
  }

  std::vector<std::int32_t> prefix_;
  std::size_t rows_;
  std::size_t length_;
  std::vector<std::int32_t> tokens_;
  std::vector<std::int32_t> targets_;
};

}  // namespace

EvaluationResult evaluate(Backend& backend, TrainingPass& pass, const EvaluateOptions& options,
                          std::span<const std::uint32_t> bytes_of_token) {
  if (options.seq_len <= static_cast<std::int64_t>(options.prefix.size())) {
    fail(ErrorKind::usage, "--seq-len is {}; with the {} that stand before each sequence it must be larger than that.",
         options.seq_len, options.prefix.size());
  }
  const auto stream =
      options.tokens ? options.tokens : std::make_shared<const TokenStream>(options.data, options.split);
  BatchLoader loader(stream, (options.data / options.split).string(), loader_options(options));
  PrefixedRows rows(options);
  auto batches = static_cast<std::int64_t>(loader.batches(0));
  if (options.max_batches > 0) batches = std::min(batches, options.max_batches);
  const auto count = static_cast<std::size_t>(options.batch * options.seq_len);
  std::vector<std::int32_t> tokens(count);
  std::vector<std::int32_t> targets(count);
  const auto buffer = backend.allocate(sizeof(float), "evaluation loss");
  const Tensor loss_sum(*buffer, 0, DType::f32, {1});
  const auto total = std::make_shared<double>(0.0);
  EvaluationResult result;
  try {
    for (std::int64_t batch = 0; batch < batches; ++batch) {
      result.stopped = options.stop != nullptr && options.stop->load(std::memory_order_relaxed);
      if (result.stopped) break;
      if (!rows.next(loader, tokens, targets, batch == 0 && options.max_batches == 0)) break;
      for (const std::int32_t target : targets) {
        if (target < 0) continue;
        if (static_cast<std::size_t>(target) >= bytes_of_token.size()) {
          fail(ErrorKind::input, "{}: the token {} is not in the vocabulary of {}.", options.data.string(), target,
               bytes_of_token.size());
        }
        ++result.targets;
        result.bytes += bytes_of_token[static_cast<std::size_t>(target)];
      }
      pass.set_batch(tokens, targets);
      backend.run(Fill{.out = loss_sum, .value = 0.0f});
      pass.forward_loss(loss_sum);
      backend.read_back(loss_sum, [total](std::span<const std::byte> bytes) {
        float sum = 0.0f;
        std::memcpy(&sum, bytes.data(), sizeof sum);
        *total += sum;
      });
      backend.submit();
      if (options.progress) options.progress(batch + 1, batches);
      if (batch % batches_in_flight != batches_in_flight - 1) continue;
      backend.wait();
      pass.transformer().parameters().require_intact();
    }
  } catch (...) {
    backend.wait();  // what was handed over uses `buffer`
    throw;
  }
  backend.wait();
  pass.transformer().parameters().require_intact();
  result.loss = *total / static_cast<double>(result.targets);
  result.perplexity = std::exp(result.loss);
  if (result.bytes > 0) result.bits_per_byte = *total / std::numbers::ln2 / static_cast<double>(result.bytes);
  return result;
}

std::vector<std::uint32_t> bytes_of_tokens(const Tokenizer& tokenizer, const DataInfo& data) {
  std::vector<std::uint32_t> bytes(tokenizer.vocab_size());
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    bytes[id] = static_cast<std::uint32_t>(tokenizer.token_bytes(id).size());
  }
  if (const auto eos = tokenizer.eos_id()) bytes[*eos] = 0;
  bytes.at(data.eos_id) = 0;
  for (const std::uint32_t id : data.document_prefix) bytes.at(id) = 0;
  return bytes;
}

EvaluationShape choose_evaluation_shape(const Config& config, DType dtype, std::uint64_t tokens, std::int64_t prefix,
                                        std::optional<std::int64_t> batch, std::int64_t seq_len, std::uint64_t memory) {
  constexpr std::int64_t customary_batch = 8;
  constexpr std::int64_t most_tokens = std::int64_t{1} << 16;
  constexpr std::int64_t least_length = 32;  // shorter ones are no measure of a model
  const auto most = static_cast<std::uint64_t>(config.max_positions);
  const std::uint64_t targets = std::max<std::uint64_t>(tokens, 2) - 1;
  EvaluationShape shape;
  shape.seq_len =
      seq_len > 0 ? seq_len : static_cast<std::int64_t>(std::min(targets + static_cast<std::uint64_t>(prefix), most));
  const std::uint64_t length = static_cast<std::uint64_t>(std::max<std::int64_t>(shape.seq_len - prefix, 1));
  const std::uint64_t sequences = targets / length + (targets % length != 0 ? 1 : 0);
  // Longer batches would only make progress rarer.
  const std::int64_t customary = std::clamp<std::int64_t>(most_tokens / shape.seq_len, 1, customary_batch);
  const auto wanted = static_cast<std::uint64_t>(batch.value_or(customary));
  shape.batch = static_cast<std::int64_t>(std::min(wanted, sequences));
  const auto fits = [&] {
    constexpr auto mode = TrainingPass::Mode::evaluate;
    return memory == 0 || TrainingPass::plan(config, dtype, shape.batch, shape.seq_len, mode).activations <= memory;
  };
  while (!batch && shape.batch > 1 && !fits()) shape.batch /= 2;
  while (seq_len == 0 && shape.seq_len / 2 >= least_length + prefix && !fits()) shape.seq_len /= 2;
  return shape;
}

}  // namespace mslt
