// Prefill, then one token a step for every sample that still runs.
#include "generate/text_generator.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <utility>

#include "base/fail.h"
#include "generate/answer_text.h"
#include "generate/decode_steps.h"
#include "generate/stop_strings.h"
#include "generate/token_drawer.h"
#include "model/inference_pass.h"
#include "model/kv_cache.h"
#include "text/token_label.h"

namespace mslt {
namespace {

// One sample on its way.
class Sample {
 public:
  // Ends at any of eos_ids, unless the options say to go on.
  Sample(std::int64_t index, std::span<const TokenId> prompt, const Tokenizer& tokenizer,
         std::span<const TokenId> eos_ids, const GenerateOptions& options)
      : index_(index),
        history_(prompt.begin(), prompt.end()),
        pending_(history_),
        text_(tokenizer, prompt, options.ignore_eos ? std::span<const TokenId>() : eos_ids, options.stop) {}

  bool running() const { return running_; }
  std::int64_t length() const { return static_cast<std::int64_t>(result_.tokens.size()); }
  std::span<const std::int32_t> pending() const { return pending_; }
  std::span<const std::int32_t> history() const { return history_; }

  // Makes room in a full cache slot: the later half of the context is processed anew.
  void fit_context(KvCache& cache, int slot, std::int64_t max_positions) {
    const auto new_positions = static_cast<std::int64_t>(pending_.size());
    if (cache.length(slot) + new_positions <= max_positions) return;
    const auto keep = static_cast<std::size_t>(std::max<std::int64_t>(max_positions / 2, 1));
    cache.truncate(slot, 0);
    pending_.assign(history_.end() - static_cast<std::ptrdiff_t>(std::min(keep, history_.size())), history_.end());
  }

  void take(std::int32_t token, const GenerateOptions& options, const TextSink& on_text) {
    result_.tokens.push_back(static_cast<TokenId>(token));
    history_.push_back(token);
    pending_ = {token};
    std::string piece = text_.push(static_cast<TokenId>(token));
    if (!text_.reason() && length() >= options.max_new_tokens) piece += text_.finish(FinishReason::length);
    emit(piece, on_text);
    if (!running_ || !text_.reason()) return;
    running_ = false;
    result_.reason = *text_.reason();
  }

  Generated take_result() { return std::move(result_); }

 private:
  void emit(std::string_view piece, const TextSink& on_text) {
    if (piece.empty()) return;
    result_.text += piece;
    if (on_text && !on_text(index_, piece)) {
      running_ = false;
      result_.reason = FinishReason::cancelled;
    }
  }

  std::int64_t index_;
  std::vector<std::int32_t> history_;
  std::vector<std::int32_t> pending_;
  AnswerText text_;
  Generated result_;
  bool running_ = true;
};

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

void GenerateOptions::validate() const {
  sampling.validate();
  if (max_new_tokens < 0) {
    fail(ErrorKind::usage, "--max-new-tokens is {}; valid is 0 or a larger whole number.", max_new_tokens);
  }
  if (num < 1 || num > 1024) {
    fail(ErrorKind::usage, "--num is {}; valid is 1 to 1024 samples.", num);
  }
  require_stop_strings(stop);
}

TextGenerator::TextGenerator(Transformer& transformer, const Tokenizer& tokenizer, std::span<const TokenId> eos_ids)
    : transformer_(transformer),
      tokenizer_(tokenizer),
      eos_ids_(eos_ids.begin(), eos_ids.end()),
      no_tokens_(ids_without_token(tokenizer)) {}

// A tokenizer may have more tokens than the model, as long as nobody uses them.
void TextGenerator::require_known(std::span<const TokenId> prompt) const {
  const std::int64_t vocab_size = transformer_.config().vocab_size;
  for (const TokenId id : prompt) {
    if (std::cmp_less(id, vocab_size)) continue;
    const std::string lacking = token_labels_from(tokenizer_, static_cast<TokenId>(vocab_size));
    fail(ErrorKind::input, "The prompt holds {}, but the model's vocabulary ends at {}{}.", token_label(tokenizer_, id),
         vocab_size, lacking.empty() ? std::string() : fmt::format("; of the tokenizer's tokens it lacks {}", lacking));
  }
}

std::vector<Generated> TextGenerator::generate(std::span<const TokenId> prompt, const GenerateOptions& options,
                                               const TextSink& on_text) {
  options.validate();
  statistics_ = {};
  const Config& config = transformer_.config();
  std::vector<TokenId> start(prompt.begin(), prompt.end());
  if (start.empty()) {
    std::optional<TokenId> first = tokenizer_.eos_id();
    if (!first && !eos_ids_.empty()) first = eos_ids_.front();
    if (!first) first = tokenizer_.bos_id();
    start.push_back(first.value_or(0));
  }
  require_known(start);
  const auto prompt_size = static_cast<std::int64_t>(start.size());
  if (prompt_size > config.max_positions) {
    fail(ErrorKind::input, "The prompt has {} tokens, the model's context holds {}.", prompt_size,
         config.max_positions);
  }

  std::vector<Sample> samples;
  samples.reserve(static_cast<std::size_t>(options.num));
  for (std::int64_t i = 0; i < options.num; ++i) samples.emplace_back(i, start, tokenizer_, eos_ids_, options);
  if (options.max_new_tokens > 0) {
    const std::int64_t positions = prompt_size + std::min(config.max_positions - prompt_size, options.max_new_tokens);
    KvCache cache(transformer_.backend(), config, transformer_.dtype(), static_cast<int>(options.num),
                  options.num * positions);
    InferencePass pass(transformer_, cache, RowBits::fastest, positions);
    // Ids that only pad the model's vocabulary are never drawn, nor those between others that have no token.
    TokenDrawer drawer(transformer_.backend(), options.sampling, options.num,
                       std::min<std::int64_t>(config.vocab_size, tokenizer_.vocab_size()), no_tokens_);
    auto clock = std::chrono::steady_clock::now();
    bool prefill = true;
    while (true) {
      std::vector<int> slots;
      std::vector<std::span<const std::int32_t>> tokens;
      std::vector<std::span<const std::int32_t>> histories;
      for (std::size_t i = 0; i < samples.size(); ++i) {
        if (!samples[i].running()) continue;
        samples[i].fit_context(cache, static_cast<int>(i), config.max_positions);
        slots.push_back(static_cast<int>(i));
        tokens.push_back(samples[i].pending());
        histories.push_back(samples[i].history());
      }
      if (slots.empty()) break;
      // Whether most of them still run.
      const auto take = [&](std::span<const std::int32_t> drawn) {
        std::size_t running = 0;
        for (std::size_t row = 0; row < slots.size(); ++row) {
          Sample& sample = samples[static_cast<std::size_t>(slots[row])];
          if (!sample.running()) continue;
          sample.take(drawn[row], options, on_text);
          ++statistics_.new_tokens;
          running += sample.running() ? 1 : 0;
        }
        return 2 * running > slots.size();
      };
      if (!prefill && std::ranges::all_of(tokens, [](auto pending) { return pending.size() == 1; })) {
        std::int64_t steps = config.max_positions;
        for (const int slot : slots) {
          const Sample& sample = samples[static_cast<std::size_t>(slot)];
          steps =
              std::min({steps, options.max_new_tokens - sample.length(), config.max_positions - cache.length(slot)});
        }
        // Those that have ended run along until they are half of all: a step of fewer would have to be recorded first.
        DecodeSteps(transformer_.backend(), pass, drawer, slots, histories).run(steps, [&](const auto& drawn) {
          transformer_.parameters().require_intact();
          return take(drawn);
        });
      } else {
        drawer.load(pass.forward(slots, tokens));
        transformer_.parameters().require_intact();
        take(drawer.draw(slots, histories));
      }
      (prefill ? statistics_.prefill_seconds : statistics_.decode_seconds) += seconds_since(clock);
      clock = std::chrono::steady_clock::now();
      prefill = false;
    }
  }
  statistics_.prompt_tokens = prompt_size;
  std::vector<Generated> results;
  results.reserve(samples.size());
  for (Sample& sample : samples) results.push_back(sample.take_result());
  return results;
}

}  // namespace mslt
