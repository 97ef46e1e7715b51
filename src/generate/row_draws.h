// What a device draws tokens by, one row of logits for each text.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "generate/sampler.h"
#include "mslt/tokenizer.h"
#include "tensor/arena.h"

namespace mslt {

// How the token of one row is drawn.
struct RowDraw {
  const Sampler* sampler = nullptr;  // its options, and how far its random numbers are
  // Every token so far, prompt included, for the repetition penalty; not read where the sampler has none.
  std::span<const std::int32_t> history = {};
  // Bit id % 32 of word id / 32 for each token that must not come, as many words as choices need; empty: all may.
  std::span<const std::uint32_t> forbidden = {};
};

// Whether a sampler's tokens depend on those before them.
bool penalizes(const Sampler& sampler);

// What a device drew, for each row.
struct DrawnRows {
  std::vector<std::int32_t> tokens;
  std::vector<float> values;  // NaN where a row's logits are not finite, or nothing may come
};

// Draws by DrawTokens, from ids 0 to choices - 1 except `excluded`. Keeps a reference to the backend. One thread at a
// time.
class RowDraws {
 public:
  RowDraws(Backend& backend, std::int64_t choices, std::span<const std::int32_t> excluded);

  // Gives the device what it needs for the rows to come.
  void load(std::span<const RowDraw> rows);
  // Draws the tokens i32 [N] of the N rows that were loaded from logits f [N, V], V >= choices; `values` f32 [N] are
  // NaN where a row's logits are not finite, or nothing may come. Another run goes on from there.
  void run(const Tensor& tokens, const Tensor& values, const Tensor& logits);
  // Loads the rows, draws their tokens from logits once, and waits for them.
  DrawnRows draw(std::span<const RowDraw> rows, const Tensor& logits);

 private:
  void make_room(std::int64_t rows, bool seen, bool forbidden);

  Backend& backend_;
  std::int64_t choices_;
  std::vector<std::int32_t> excluded_;  // words
  std::int64_t rows_ = 0;               // that were loaded
  bool has_seen_ = false;
  bool has_forbidden_ = false;
  Arena arena_;
  std::int64_t room_ = 0;          // rows of the arena
  std::unique_ptr<Buffer> drawn_;  // values, then tokens, of draw()
  std::int64_t drawn_rows_ = 0;    // that it has room for
};

}  // namespace mslt
