// The next tokens of the requests of a step.
#pragma once

#include <span>
#include <vector>

#include "engine/request_state.h"
#include "generate/row_draws.h"

namespace mslt {

// Tokens are drawn on the device; the host receives the logits of a request that needs them alone, and draws itself.
// Keeps a reference to the backend. One thread at a time.
class StepDraws {
 public:
  StepDraws(Backend& backend, const RequestRules& rules);

  // The events of requests, whose next tokens are drawn from the rows of logits f32 [N, V]. A request that fails has
  // its error in its event. Throws what the backend throws.
  std::vector<RequestEvent> draw(const Tensor& logits, std::span<RequestState* const> requests);

 private:
  Backend& backend_;
  Sampler of_others_;  // of rows that the host draws
  RowDraws draws_;
  std::vector<float> logits_;  // of a row
};

}  // namespace mslt
