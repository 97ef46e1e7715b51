// From a row of logits to a token.
#include "engine/request_sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/fail.h"
#include "generate/token_drawer.h"

namespace mslt {
namespace {

constexpr float impossible = -std::numeric_limits<float>::infinity();

[[noreturn]] void fail_without_choice() {
  fail(ErrorKind::input, "No token may follow: the logit bias and the constraint together forbid all.");
}

void check_options(const Request& request, std::int64_t choices) {
  const auto finite = [](std::string_view option, float value) {
    if (std::isfinite(value)) return;
    fail(ErrorKind::usage, "{} is {}; valid is any number.", option, value);
  };
  finite("presence_penalty", request.presence_penalty);
  finite("frequency_penalty", request.frequency_penalty);
  for (const auto& [id, bias] : request.logit_bias) {
    if (std::cmp_greater_equal(id, choices)) {
      fail(ErrorKind::usage, "logit_bias names token {}; the model's tokens are 0 to {}.", id, choices - 1);
    }
    if (std::isnan(bias) || bias == std::numeric_limits<float>::infinity()) {
      fail(ErrorKind::usage, "logit_bias is {} for token {}; valid is any number, or -infinity.", bias, id);
    }
  }
  if (request.max_new_tokens < 0) {
    fail(ErrorKind::usage, "max_new_tokens is {}; valid is 0 or a larger whole number.", request.max_new_tokens);
  }
  if (request.logprobs && (*request.logprobs < 0 || *request.logprobs > most_logprobs)) {
    fail(ErrorKind::usage, "logprobs is {}; valid is 0 to {}.", *request.logprobs, most_logprobs);
  }
}

}  // namespace

RequestSampler::RequestSampler(Request& request, std::int64_t choices, std::span<const TokenId> excluded)
    : sampler_(request.sampling, 0),
      choices_(choices),
      bias_(request.logit_bias),
      presence_penalty_(request.presence_penalty),
      frequency_penalty_(request.frequency_penalty),
      logprobs_(request.logprobs) {
  check_options(request, choices);
  constraint_ = std::move(request.constraint);
  for (const TokenId id : excluded) {
    if (std::cmp_less(id, choices)) excluded_.push_back(id);
  }
}

DrawnToken RequestSampler::draw(std::span<float> logits, std::span<const std::int32_t> history,
                                std::span<const TokenId> ends) {
  logits = logits.first(static_cast<std::size_t>(choices_));
  require_finite(logits);
  if (logprobs_) keep_own(logits);
  bias(logits);
  if (constraint_ != nullptr) constrain(logits, ends);
  if (std::ranges::none_of(logits, [](float logit) { return std::isfinite(logit); })) fail_without_choice();
  const auto token = static_cast<TokenId>(sampler_.draw({logits}, history));
  count(token, ends);
  return logprobs_ ? with_logprobs(token) : DrawnToken{.drawn = {.token = token}, .most_likely = {}};
}

RowDraw RequestSampler::row_draw(std::span<const std::int32_t> history, std::span<const TokenId> ends) {
  RowDraw row = {.sampler = &sampler_, .history = history};
  if (constraint_ == nullptr) return row;
  allow(ends);
  if (std::ranges::all_of(allowed_, [](std::uint32_t word) { return word == 0; })) fail_without_choice();
  for (std::uint32_t& word : allowed_) word = ~word;
  row.forbidden = allowed_;
  return row;
}

DrawnToken RequestSampler::accept(TokenId token, std::span<const TokenId> ends) {
  sampler_.count_draw();
  count(token, ends);
  return {.drawn = {.token = token}, .most_likely = {}};
}

void RequestSampler::count(TokenId token, std::span<const TokenId> ends) {
  ++occurrences_[token];
  if (constraint_ != nullptr && std::ranges::find(ends, token) == ends.end()) constraint_->accept(token);
}

void RequestSampler::keep_own(std::span<const float> logits) {
  raw_.assign(logits.begin(), logits.end());
  const float largest = *std::ranges::max_element(raw_);
  double sum = 0.0;
  for (const float logit : raw_) sum += std::exp(static_cast<double>(logit) - largest);
  log_sum_ = largest + std::log(sum);
}

void RequestSampler::bias(std::span<float> logits) const {
  for (const auto& [id, bias] : bias_) logits[id] += bias;
  if (presence_penalty_ != 0.0f || frequency_penalty_ != 0.0f) {
    for (const auto& [id, count] : occurrences_) {
      logits[id] -= presence_penalty_ + frequency_penalty_ * static_cast<float>(count);
    }
  }
  for (const TokenId id : excluded_) logits[id] = impossible;
}

// The tokens that may be drawn now.
void RequestSampler::allow(std::span<const TokenId> ends) {
  allowed_.assign(static_cast<std::size_t>(token_words(choices_)), 0);
  constraint_->allow(allowed_);
  if (constraint_->may_end()) {
    for (const TokenId id : ends) {
      if (std::cmp_less(id, choices_)) allowed_[id / 32] |= std::uint32_t{1} << (id % 32);
    }
  }
  for (const TokenId id : excluded_) allowed_[id / 32] &= ~(std::uint32_t{1} << (id % 32));
  if (choices_ % 32 != 0) allowed_.back() &= (std::uint32_t{1} << (choices_ % 32)) - 1;
}

void RequestSampler::constrain(std::span<float> logits, std::span<const TokenId> ends) {
  allow(ends);
  for (std::size_t id = 0; id < logits.size(); ++id) {
    if ((allowed_[id / 32] >> (id % 32) & 1) == 0) logits[id] = impossible;
  }
}

DrawnToken RequestSampler::with_logprobs(TokenId token) const {
  const auto logprob = [&](TokenId id) {
    return TokenLogprob{id, static_cast<float>(raw_[id] - log_sum_)};
  };
  DrawnToken result = {.drawn = logprob(token), .most_likely = {}};
  std::vector<TokenId> ids(raw_.size());
  std::iota(ids.begin(), ids.end(), TokenId{0});
  const auto count = std::min<std::ptrdiff_t>(*logprobs_, std::ssize(ids));
  std::partial_sort(ids.begin(), ids.begin() + count, ids.end(),
                    [&](TokenId a, TokenId b) { return raw_[a] != raw_[b] ? raw_[a] > raw_[b] : a < b; });
  for (std::ptrdiff_t i = 0; i < count; ++i) result.most_likely.push_back(logprob(ids[static_cast<std::size_t>(i)]));
  return result;
}

}  // namespace mslt
