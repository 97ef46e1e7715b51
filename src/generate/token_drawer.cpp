// Candidates from the device, draws on the host.
#include "generate/token_drawer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "base/fail.h"
#include "base/parallel.h"

namespace mslt {
namespace {

// Ascending.
std::vector<std::int32_t> ids_below(std::int64_t choices, std::span<const TokenId> ids) {
  std::vector<std::int32_t> result;
  for (const TokenId id : ids) {
    if (static_cast<std::int64_t>(id) < choices) result.push_back(static_cast<std::int32_t>(id));
  }
  std::ranges::sort(result);
  return result;
}

}  // namespace

void require_finite(std::span<const float> logits) {
  if (std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); })) return;
  fail(
      ErrorKind::numeric,
      "The model's output is not finite: with these weights, numbers leave the range of the type they are computed in. "
      "Try --dtype f32.");
}

TokenDrawer::TokenDrawer(Backend& backend, const SamplingOptions& options, std::int64_t num, std::int64_t choices,
                         std::span<const TokenId> excluded)
    : backend_(backend),
      choices_(choices),
      excluded_(ids_below(choices, excluded)),
      row_draws_(backend, choices, excluded_) {
  for (std::int64_t i = 0; i < num; ++i) samplers_.emplace_back(options, static_cast<std::uint32_t>(i));
  const std::int64_t wanted = options.temperature == 0.0f ? 1 : options.top_k;
  if (wanted == 0 || wanted > most_candidates || options.repetition_penalty != 1.0f) {
    return;
  }
  // Enough even if all excluded ids are among them.
  const std::int64_t looked_for = std::min(wanted + static_cast<std::int64_t>(excluded_.size()), choices);
  if (looked_for <= most_candidates) candidates_ = looked_for;
}

void TokenDrawer::make_room(std::int64_t rows) {
  if (rows <= room_) return;
  backend_.wait();
  found_ = backend_.allocate(static_cast<std::size_t>(rows * candidates_) * (sizeof(float) + sizeof(std::int32_t)),
                             "candidates for the next tokens");
  room_ = rows;
}

void TokenDrawer::load(const Tensor& logits) {
  const std::int64_t rows = logits.shape()[0];
  columns_ = on_device() ? candidates_ : logits.shape()[-1];
  const auto count = static_cast<std::size_t>(rows * columns_);
  logits_.resize(count);
  if (!on_device()) {
    backend_.download(logits, std::as_writable_bytes(std::span(logits_)));
    return;
  }
  make_room(rows);
  const Tensor values(*found_, 0, DType::f32, {rows, candidates_});
  const Tensor indices(*found_, count * sizeof(float), DType::i32, {rows, candidates_});
  if (candidates_ == 1) {
    backend_.run(Argmax{
        .values = values.reshape({rows}), .indices = indices.reshape({rows}), .logits = logits, .vocab = choices_});
  } else {
    backend_.run(TopK{.values = values, .indices = indices, .logits = logits, .vocab = choices_});
  }
  // Both in one download, since the host waits for each.
  std::vector<std::int32_t> words(2 * count);
  backend_.download(Tensor(*found_, 0, DType::i32, {2 * rows * candidates_}), std::as_writable_bytes(std::span(words)));
  std::ranges::transform(std::span(words).first(count), logits_.begin(),
                         [](std::int32_t word) { return std::bit_cast<float>(word); });
  ids_.assign(words.begin() + static_cast<std::ptrdiff_t>(count), words.end());
}

void TokenDrawer::begin_on_device(std::span<const int> samples,
                                  std::span<const std::span<const std::int32_t>> histories) {
  if (greedy_choices() > 0) return;
  std::vector<RowDraw> draws;
  for (std::size_t row = 0; row < samples.size(); ++row) {
    draws.push_back({.sampler = &samplers_[static_cast<std::size_t>(samples[row])], .history = histories[row]});
  }
  row_draws_.load(draws);
}

void TokenDrawer::draw_on_device(const Tensor& logits, const NextTokens& next) {
  row_draws_.run(next.tokens, next.logits, logits);
}

void TokenDrawer::count_draws(std::span<const int> samples) {
  for (const int sample : samples) samplers_[static_cast<std::size_t>(sample)].count_draw();
}

Candidates TokenDrawer::candidates_of(std::size_t row) {
  const auto columns = static_cast<std::size_t>(columns_);
  const std::span<float> logits = std::span(logits_).subspan(row * columns, columns);
  constexpr float impossible = -std::numeric_limits<float>::infinity();
  if (!on_device()) {
    for (const std::int32_t id : excluded_) logits[static_cast<std::size_t>(id)] = impossible;
    return {logits.first(static_cast<std::size_t>(choices_))};
  }
  const std::span<const std::int32_t> ids = std::span(ids_).subspan(row * columns, columns);
  for (std::size_t i = 0; i < columns; ++i) {
    if (std::ranges::binary_search(excluded_, ids[i])) logits[i] = impossible;
  }
  return {logits, ids};
}

std::vector<std::int32_t> TokenDrawer::draw(std::span<const int> samples,
                                            const std::vector<std::span<const std::int32_t>>& histories) {
  require_finite(logits_);
  std::vector<std::int32_t> tokens(samples.size());
  const auto rows = static_cast<std::int64_t>(samples.size());
  const auto draw_row = [&](std::int64_t i) {
    const auto row = static_cast<std::size_t>(i);
    tokens[row] = samplers_[static_cast<std::size_t>(samples[row])].draw(candidates_of(row), histories[row]);
  };
  parallel_for(rows, Cost{.flops = 32} * (on_device() ? candidates_ : choices_), draw_row);
  return tokens;
}

}  // namespace mslt
