// Settings, draws so far and sets of tokens in device memory.
#include "generate/row_draws.h"

#include <algorithm>
#include <bit>

namespace mslt {
namespace {

void set_bits(std::span<std::int32_t> words, std::span<const std::int32_t> tokens, std::int64_t choices) {
  for (const std::int32_t token : tokens) {
    if (token < 0 || token >= choices) continue;
    std::int32_t& word = words[static_cast<std::size_t>(token) / 32];
    word = static_cast<std::int32_t>(static_cast<std::uint32_t>(word) | (1u << (token % 32)));
  }
}

DrawSettings settings_of(const Sampler& sampler, std::int64_t choices) {
  const SamplingOptions& options = sampler.options();
  return {.temperature = options.temperature,
          .top_p = options.top_p,
          .min_p = options.min_p,
          .repetition_penalty = options.repetition_penalty,
          .top_k = static_cast<std::uint32_t>(options.top_k < choices ? options.top_k : 0),
          .seed_low = static_cast<std::uint32_t>(options.seed),
          .seed_high = static_cast<std::uint32_t>(options.seed >> 32),
          .sample = sampler.sample()};
}

}  // namespace

bool penalizes(const Sampler& sampler) {
  return sampler.options().repetition_penalty != 1.0f;
}

RowDraws::RowDraws(Backend& backend, std::int64_t choices, std::span<const std::int32_t> excluded)
    : backend_(backend), choices_(choices) {
  if (excluded.empty()) return;
  excluded_.resize(static_cast<std::size_t>(token_words(choices)));
  set_bits(excluded_, excluded, choices);
}

void RowDraws::make_room(std::int64_t rows, bool seen, bool forbidden) {
  const auto has = [&](std::string_view name) {
    return room_ > 0 && arena_.layout().contains(name);
  };
  if (rows <= room_ && (!seen || has("seen")) && (!forbidden || has("forbidden"))) return;
  rows = std::max(rows, room_);
  const std::int64_t words = token_words(choices_);
  ArenaLayout layout;
  layout.add("settings", DType::i32, {rows, DrawSettings::words});
  layout.add("draws", DType::i32, {rows});
  if (seen || has("seen")) layout.add("seen", DType::i32, {rows, words});
  if (forbidden || has("forbidden")) layout.add("forbidden", DType::i32, {rows, words});
  if (!excluded_.empty()) layout.add("excluded", DType::i32, {words});
  backend_.wait();
  room_ = 0;
  arena_ = Arena();
  arena_ = Arena(layout, backend_.allocate(layout.bytes(), "what the next tokens are drawn by"));
  room_ = rows;
  if (!excluded_.empty()) backend_.upload(arena_.tensor("excluded"), std::as_bytes(std::span(excluded_)));
}

void RowDraws::load(std::span<const RowDraw> rows) {
  rows_ = static_cast<std::int64_t>(rows.size());
  has_seen_ = std::ranges::any_of(rows, [](const RowDraw& row) { return penalizes(*row.sampler); });
  has_forbidden_ = std::ranges::any_of(rows, [](const RowDraw& row) { return !row.forbidden.empty(); });
  make_room(rows_, has_seen_, has_forbidden_);
  const auto words = static_cast<std::size_t>(token_words(choices_));
  std::vector<std::int32_t> settings;
  std::vector<std::int32_t> draws;
  std::vector<std::int32_t> seen(has_seen_ ? rows.size() * words : 0);
  std::vector<std::int32_t> forbidden(has_forbidden_ ? rows.size() * words : 0);
  for (std::size_t at = 0; at < rows.size(); ++at) {
    const RowDraw& row = rows[at];
    const auto packed = settings_of(*row.sampler, choices_).packed();
    settings.insert(settings.end(), packed.begin(), packed.end());
    draws.push_back(static_cast<std::int32_t>(row.sampler->draws()));
    if (penalizes(*row.sampler)) set_bits(std::span(seen).subspan(at * words, words), row.history, choices_);
    for (std::size_t word = 0; word < words && has_forbidden_; ++word) {
      const std::uint32_t own = row.forbidden.empty() ? 0u : row.forbidden[word];
      const auto common = static_cast<std::uint32_t>(excluded_.empty() ? 0 : excluded_[word]);
      forbidden[at * words + word] = static_cast<std::int32_t>(own | common);
    }
  }
  const auto upload = [&](std::string_view name, const std::vector<std::int32_t>& values) {
    if (!values.empty()) {
      backend_.upload(arena_.tensor(name).slice(0, rows_), std::as_bytes(std::span(values)));
    }
  };
  upload("settings", settings);
  upload("draws", draws);
  upload("seen", seen);
  upload("forbidden", forbidden);
}

void RowDraws::run(const Tensor& tokens, const Tensor& values, const Tensor& logits) {
  const auto rows_of = [&](std::string_view name) {
    return arena_.tensor(name).slice(0, rows_);
  };
  const Tensor common = excluded_.empty() ? Tensor() : arena_.tensor("excluded");
  backend_.run(DrawTokens{.tokens = tokens,
                          .values = values,
                          .draws = rows_of("draws"),
                          .seen = has_seen_ ? rows_of("seen") : Tensor(),
                          .logits = logits,
                          .settings = rows_of("settings"),
                          .excluded = has_forbidden_ ? rows_of("forbidden") : common,
                          .vocab = choices_});
}

DrawnRows RowDraws::draw(std::span<const RowDraw> rows, const Tensor& logits) {
  const auto count = static_cast<std::int64_t>(rows.size());
  if (count > drawn_rows_) {
    drawn_rows_ = 0;
    drawn_ = backend_.allocate(2 * rows.size() * sizeof(float), "drawn tokens");
    drawn_rows_ = count;
  }
  load(rows);
  run(Tensor(*drawn_, rows.size() * sizeof(float), DType::i32, {count}), Tensor(*drawn_, 0, DType::f32, {count}),
      logits);
  // Both in one download, since the host waits for each.
  std::vector<std::int32_t> words(2 * rows.size());
  backend_.download(Tensor(*drawn_, 0, DType::i32, {2 * count}), std::as_writable_bytes(std::span(words)));
  DrawnRows drawn;
  for (std::size_t row = 0; row < rows.size(); ++row) drawn.values.push_back(std::bit_cast<float>(words[row]));
  drawn.tokens.assign(words.begin() + count, words.end());
  return drawn;
}

}  // namespace mslt
