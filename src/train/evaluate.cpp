// Loss over a split.
#include "train/evaluate.h"

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
  loader.seq_len = options.seq_len;
  loader.seed = subset_seed;
  loader.shuffle = options.max_batches > 0;
  loader.mode = LoaderMode::once;
  return loader;
}

}  // namespace

EvaluationResult evaluate(Backend& backend, TrainingPass& pass, const EvaluateOptions& options,
                          std::span<const std::uint32_t> bytes_of_token) {
  const auto stream =
      options.tokens ? options.tokens : std::make_shared<const TokenStream>(options.data, options.split);
  BatchLoader loader(stream, (options.data / options.split).string(), loader_options(options));
  const auto count = static_cast<std::size_t>(options.batch * options.seq_len);
  std::vector<std::int32_t> tokens(count);
  std::vector<std::int32_t> targets(count);
  const auto buffer = backend.allocate(sizeof(float), "evaluation loss");
  const Tensor loss_sum(*buffer, 0, DType::f32, {1});
  const auto total = std::make_shared<double>(0.0);
  EvaluationResult result;
  try {
    for (std::int64_t batch = 0; options.max_batches == 0 || batch < options.max_batches; ++batch) {
      if (loader.next(tokens, targets) == 0) break;
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

std::vector<std::uint32_t> bytes_of_tokens(const Tokenizer& tokenizer) {
  std::vector<std::uint32_t> bytes(tokenizer.vocab_size());
  const auto eos = tokenizer.eos_id();
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    if (eos != id) bytes[id] = static_cast<std::uint32_t>(tokenizer.token_bytes(id).size());
  }
  return bytes;
}

}  // namespace mslt
