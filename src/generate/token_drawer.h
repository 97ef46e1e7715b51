// Drawing the next tokens of several samples from the logits that a pass left on the device.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "backend/backend.h"
#include "generate/row_draws.h"
#include "generate/sampler.h"
#include "model/inference_pass.h"
#include "mslt/generator.h"
#include "mslt/tokenizer.h"

namespace mslt {

// Throws Error(numeric) saying what could help where logits are not finite.
void require_finite(std::span<const float> logits);

// The device looks for the most likely token (temperature 0) or the top_k most likely ones, and the host receives only
// these. It receives all logits if every token is possible (top_k 0), if a repetition penalty changes the order, and if
// top_k is above most_candidates. One thread at a time; keeps a reference to the backend.
class TokenDrawer {
 public:
  static constexpr std::int64_t most_candidates = 256;

  // Draws for samples 0 to num - 1 from ids 0 to choices - 1, except `excluded`. Validates the options.
  TokenDrawer(Backend& backend, const SamplingOptions& options, std::int64_t num, std::int64_t choices,
              std::span<const TokenId> excluded = {});

  // Takes from logits f32 [N, V], V >= choices, what draw() needs, and waits for it.
  void load(const Tensor& logits);
  // The next token of each of N samples, whose logits the rows are; `histories` as for Sampler::draw. Throws
  // Error(numeric) if what was loaded is not finite.
  std::vector<std::int32_t> draw(std::span<const int> samples,
                                 const std::vector<std::span<const std::int32_t>>& histories);

  // How many ids there are to choose from where the most likely token is all that is wanted, which a step of a pass may
  // then choose itself; otherwise 0.
  std::int64_t greedy_choices() const { return candidates_ == 1 ? choices_ : 0; }
  // Draws on the device, without the host, go on from the draws so far: begin_on_device() gives the device what it
  // needs for the samples whose logits the rows will be, with `histories` as for draw(). Each draw_on_device() then
  // writes the tokens to `next`, with the largest logits of the rows; it is not for what a step chooses itself. The
  // host says by count_draws() that it has them, too. The rows' tokens are those that draw() gives, but for draws that
  // rounding decides (DrawTokens).
  void begin_on_device(std::span<const int> samples, std::span<const std::span<const std::int32_t>> histories);
  void draw_on_device(const Tensor& logits, const NextTokens& next);
  void count_draws(std::span<const int> samples);

 private:
  bool on_device() const { return candidates_ > 0; }
  void make_room(std::int64_t rows);
  Candidates candidates_of(std::size_t row);

  Backend& backend_;
  std::vector<Sampler> samplers_;
  std::int64_t choices_;
  std::vector<std::int32_t> excluded_;
  std::int64_t candidates_ = 0;  // that the device looks for in each row; 0: it looks for none
  // Those of the device: their logits, then their ids.
  std::unique_ptr<Buffer> found_;
  std::int64_t room_ = 0;  // rows that `found_` has room for
  RowDraws row_draws_;
  std::int64_t columns_ = 0;
  std::vector<float> logits_;
  std::vector<std::int32_t> ids_;
};

}  // namespace mslt
