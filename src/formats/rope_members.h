// Which numbers each scaling of RoPE's frequencies has, and their names in config.json.
#pragma once

#include "mslt/config.h"

namespace mslt {

// Calls visit(name, member) for each number of the scaling, a pointer to a member of RopeScaling, in the order of
// config.json.
template <class Visit>
void visit_rope_members(RopeScalingType type, Visit&& visit) {
  constexpr const char* original = "original_max_position_embeddings";
  switch (type) {
    case RopeScalingType::none:
      return;
    case RopeScalingType::linear:
      return visit("factor", &RopeScaling::factor);
    case RopeScalingType::llama3:
      visit("factor", &RopeScaling::factor);
      visit("low_freq_factor", &RopeScaling::low_freq_factor);
      visit("high_freq_factor", &RopeScaling::high_freq_factor);
      return visit(original, &RopeScaling::original_max_positions);
    case RopeScalingType::yarn:
      visit("factor", &RopeScaling::factor);
      visit(original, &RopeScaling::original_max_positions);
      visit("beta_fast", &RopeScaling::beta_fast);
      visit("beta_slow", &RopeScaling::beta_slow);
      return visit("attention_factor", &RopeScaling::attention_factor);
    case RopeScalingType::longrope:
      visit("short_factor", &RopeScaling::short_factors);
      visit("long_factor", &RopeScaling::long_factors);
      visit(original, &RopeScaling::original_max_positions);
      return visit("attention_factor", &RopeScaling::attention_factor);
  }
}

}  // namespace mslt
