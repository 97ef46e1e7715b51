// The parts of a training pass.
#include "model/pass_parts.h"

#include "model/stages.h"

namespace mslt {

std::vector<PassPart> parts_of_pass(const Config& config, const ParameterLayout& layout, std::size_t bytes) {
  const auto segments = layout.arena.segments();
  const std::size_t width = size_of(segments.front().dtype);
  const std::size_t all = layout.arena.bytes() / width;
  const std::size_t decayed = layout.decayed < segments.size() ? segments[layout.decayed].offset / width : all;
  const std::vector<Stage> stages = stages_of(config);
  std::vector<PassPart> parts;
  std::size_t end = decayed;  // of what is not done yet
  std::size_t last_stage = stages.size();
  for (std::size_t i = stages.size(); i-- > 0;) {
    const std::string name = stages[i].name + ".weight";
    if (stages[i].as<Linear>() == nullptr || !layout.arena.contains(name)) continue;
    const std::size_t begin = layout.arena.segment(name).offset / width;
    if ((end - begin) * width < bytes && begin > 0) continue;
    parts.push_back({.first_stage = i, .last_stage = last_stage, .first = begin, .count = end - begin});
    end = begin;
    last_stage = i;
  }
  parts.push_back({.last_stage = last_stage, .ends = true, .first = decayed, .count = all - decayed});
  parts.front().begins = true;
  return parts;
}

}  // namespace mslt
