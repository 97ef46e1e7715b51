// Candidates from the device, draws on the host.
#include "generate/token_drawer.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/fail.h"
#include "base/parallel.h"

namespace mslt {
void require_finite(std::span<const float> logits) {
  if (std::ranges::all_of(logits, [](float logit) { return std::isfinite(logit); })) return;
  fail(
      ErrorKind::numeric,
      "The model's output is not finite: with these weights, numbers leave the range of the type they are computed in. "
      "Try --dtype f32.");
}

TokenDrawer::TokenDrawer(Backend& backend, const SamplingOptions& options, std::int64_t num, std::int64_t choices,
                         std::span<const TokenId> excluded)
    : backend_(backend), choices_(choices) {
  for (std::int64_t i = 0; i < num; ++i) samplers_.emplace_back(options, static_cast<std::uint32_t>(i));
  for (const TokenId id : excluded) {
    if (static_cast<std::int64_t>(id) < choices) excluded_.push_back(static_cast<std::int32_t>(id));
  }
  std::ranges::sort(excluded_);
  penalizes_ = options.repetition_penalty != 1.0f;
  const std::int64_t wanted = options.temperature == 0.0f ? 1 : options.top_k;
  if (wanted == 0 || wanted > most_candidates || penalizes_) return;
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

void TokenDrawer::make_device_room(std::int64_t rows) {
  if (rows <= device_rows_) return;
  ArenaLayout layout;
  layout.add("values", DType::f32, {rows});
  if (!takes_largest()) {
    layout.add("settings", DType::i32, {rows, DrawSettings::words});
    layout.add("draws", DType::i32, {rows});
    if (penalizes()) layout.add("seen", DType::i32, {rows, token_words(choices_)});
    if (!excluded_.empty()) layout.add("excluded", DType::i32, {token_words(choices_)});
  }
  backend_.wait();
  device_ = Arena();
  device_ = Arena(layout, backend_.allocate(layout.bytes(), "what the next tokens are drawn by"));
  device_rows_ = rows;
  if (!layout.contains("excluded")) return;
  std::vector<std::int32_t> words(static_cast<std::size_t>(token_words(choices_)));
  set_bits(words, excluded_);
  backend_.upload(device_.tensor("excluded"), std::as_bytes(std::span(words)));
}

void TokenDrawer::set_bits(std::span<std::int32_t> words, std::span<const std::int32_t> tokens) const {
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= choices_) continue;
    std::int32_t& word = words[static_cast<std::size_t>(token) / 32];
    word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) | (1u << (token % 32)));
  }
}

void TokenDrawer::begin_on_device(std::span<const int> samples,
                                  std::span<const std::span<const std::int32_t>> histories) {
  const auto rows = static_cast<std::int64_t>(samples.size());
  make_device_room(rows);
  if (takes_largest()) return;
  const auto words = static_cast<std::size_t>(token_words(choices_));
  std::vector<std::int32_t> settings;
  std::vector<std::int32_t> draws;
  std::vector<std::int32_t> seen(penalizes() ? samples.size() * words : 0);
  for (std::size_t row = 0; row < samples.size(); ++row) {
    const Sampler& sampler = samplers_[static_cast<std::size_t>(samples[row])];
    const SamplingOptions& options = sampler.options();
    const DrawSettings set = {.temperature = options.temperature,
                              .top_p = options.top_p,
                              .min_p = options.min_p,
                              .repetition_penalty = options.repetition_penalty,
                              .top_k = static_cast<std::uint32_t>(options.top_k < choices_ ? options.top_k : 0),
                              .seed_low = static_cast<std::uint32_t>(options.seed),
                              .seed_high = static_cast<std::uint32_t>(options.seed >> 32),
                              .sample = sampler.sample()};
    const auto packed = set.packed();
    settings.insert(settings.end(), packed.begin(), packed.end());
    draws.push_back(static_cast<std::int32_t>(sampler.draws()));
    if (penalizes()) set_bits(std::span(seen).subspan(row * words, words), histories[row]);
  }
  backend_.upload(device_.tensor("settings").slice(0, rows), std::as_bytes(std::span(settings)));
  backend_.upload(device_.tensor("draws").slice(0, rows), std::as_bytes(std::span(draws)));
  if (penalizes()) backend_.upload(device_.tensor("seen").slice(0, rows), std::as_bytes(std::span(seen)));
}

std::shared_ptr<DrawnTokens> TokenDrawer::draw_on_device(const Tensor& logits, const Tensor& tokens) {
  const std::int64_t rows = logits.shape()[0];
  const Tensor values = device_.tensor("values").slice(0, rows);
  if (takes_largest()) {
    backend_.run(Argmax{.values = values, .indices = tokens, .logits = logits, .vocab = choices_});
  } else {
    backend_.run(DrawTokens{.tokens = tokens,
                            .values = values,
                            .draws = device_.tensor("draws").slice(0, rows),
                            .seen = penalizes() ? device_.tensor("seen").slice(0, rows) : Tensor(),
                            .logits = logits,
                            .settings = device_.tensor("settings").slice(0, rows),
                            .excluded = excluded_.empty() ? Tensor() : device_.tensor("excluded"),
                            .vocab = choices_});
  }
  auto drawn = std::make_shared<DrawnTokens>();
  drawn->logits.resize(static_cast<std::size_t>(rows));
  drawn->tokens.resize(static_cast<std::size_t>(rows));
  const auto copy_to = [&](auto DrawnTokens::* member) {
    return [drawn, member](std::span<const std::byte> bytes) {
      std::memcpy(((*drawn).*member).data(), bytes.data(), bytes.size());
    };
  };
  backend_.read_back(values, copy_to(&DrawnTokens::logits));
  backend_.read_back(tokens, copy_to(&DrawnTokens::tokens));
  return drawn;
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
