// Draws on the device, and on the host where a request needs its logits.
#include "engine/step_draws.h"

#include <algorithm>
#include <exception>

#include "generate/token_drawer.h"

namespace mslt {
namespace {

std::vector<std::int32_t> excluded_of(const RequestRules& rules) {
  std::vector<std::int32_t> ids;
  for (const TokenId id : rules.excluded) ids.push_back(static_cast<std::int32_t>(id));
  return ids;
}

// The event of a request, or of what went wrong with it alone.
template <class Make>
RequestEvent event_or_error(const Make& make) {
  try {
    return make();
  } catch (...) {
    RequestEvent event;
    event.error = std::current_exception();
    return event;
  }
}

}  // namespace

StepDraws::StepDraws(Backend& backend, const RequestRules& rules)
    : backend_(backend), of_others_({.temperature = 0.0f}, 0), draws_(backend, rules.choices, excluded_of(rules)) {}

std::vector<RequestEvent> StepDraws::draw(const Tensor& logits, std::span<RequestState* const> requests) {
  std::vector<RequestEvent> events(requests.size());
  std::vector<RowDraw> rows(requests.size(), {.sampler = &of_others_});
  std::vector<bool> is_drawn(requests.size());
  for (std::size_t row = 0; row < requests.size(); ++row) {
    if (requests[row]->needs_logits()) continue;
    try {
      rows[row] = requests[row]->row_draw();
      is_drawn[row] = true;
    } catch (...) {
      events[row].error = std::current_exception();
    }
  }
  DrawnRows drawn;
  if (std::ranges::find(is_drawn, true) != is_drawn.end()) drawn = draws_.draw(rows, logits);
  logits_.resize(static_cast<std::size_t>(logits.shape()[-1]));
  for (std::size_t row = 0; row < requests.size(); ++row) {
    RequestState& request = *requests[row];
    if (events[row].error) continue;
    if (!is_drawn[row]) {
      backend_.download(logits.slice(static_cast<std::int64_t>(row), 1), std::as_writable_bytes(std::span(logits_)));
      events[row] = event_or_error([&] { return request.draw(logits_); });
      continue;
    }
    events[row] = event_or_error([&] {
      require_finite(std::span(drawn.values).subspan(row, 1));
      return request.accept(static_cast<TokenId>(drawn.tokens[row]));
    });
  }
  return events;
}

}  // namespace mslt
