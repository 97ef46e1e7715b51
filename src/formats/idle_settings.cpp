// Settings of a model that change nothing, and windows said in the fewest numbers.
#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "formats/hf_config.h"
#include "formats/hf_families.h"
#include "formats/rope_members.h"

namespace mslt {

bool slide_in(const std::vector<bool>& slides, Config& config) {
  const auto first = std::find(slides.begin(), slides.end(), true);
  const auto fits = [&](std::int64_t every) {
    config.full_attention_every = every;
    for (std::size_t i = 0; i < slides.size(); ++i) {
      if ((config.layer(static_cast<std::int64_t>(i)).attention.window > 0) != slides[i]) return false;
    }
    return true;
  };
  config.window_from = first - slides.begin();
  if (fits(0)) return true;
  // The first layer without after one with it is the n-th, the 2n-th or so.
  const std::int64_t full = std::find(first, slides.end(), false) - slides.begin() + 1;
  for (std::int64_t n = 2; n <= full; ++n) {
    if (full % n == 0 && fits(n)) return true;
  }
  return false;
}

Config without_idle_settings(Config config) {
  const RopeScaling all = std::exchange(config.rope_scaling, {.type = config.rope_scaling.type});
  visit_rope_members(all.type, [&](const char* /*name*/, auto member) { config.rope_scaling.*member = all.*member; });
  if (config.position != PositionType::rope) config.rope_theta = Config().rope_theta;
  if (config.rotary_size == config.head_size) config.rotary_size = 0;
  if (config.no_rope_every > config.layers) config.no_rope_every = 0;
  if (config.attention_scale == 1.0f / std::sqrt(static_cast<float>(config.head_size))) config.attention_scale = 0;
  // Layers with a window as long as any sequence are as those without, but for a rotation of their own.
  if (config.local_rope_theta == 0 && config.window >= config.max_positions) config.window = 0;
  if (config.window > 0) {
    std::vector<bool> slides;
    for (std::int64_t i = 0; i < config.layers; ++i) slides.push_back(config.layer(i).attention.window > 0);
    const bool any = std::find(slides.begin(), slides.end(), true) != slides.end();
    if (!any || !slide_in(slides, config)) config.window = 0;
  }
  if (config.window == 0) {
    config.window_from = config.full_attention_every = 0;
    config.local_rope_theta = 0;
  }
  return config;
}

}  // namespace mslt
