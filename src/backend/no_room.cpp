// The flags on which the size of each kind of memory depends.
#include "backend/no_room.h"

#include <algorithm>
#include <array>

#include "base/fail.h"
#include "base/process_limits.h"

namespace mslt {
namespace {

struct Advice {
  std::string_view part;  // of a label
  std::string_view sentence;
};

constexpr std::string_view smaller_batch = " A smaller --batch-size or --seq-len takes less.";
constexpr std::string_view smaller_model = " A smaller model, or --dtype bf16, takes less.";

// The first whose part a label holds counts.
constexpr std::array advices = {
    Advice{"next tokens", " A smaller --num takes less."},
    Advice{"of prompts", " A shorter prompt, or a smaller --num, takes less."},
    Advice{"KV cache", " A smaller --max-new-tokens or --num takes less."},
    Advice{"activations", smaller_batch},
    Advice{"logits", smaller_batch},
    Advice{"scratch", smaller_batch},
    Advice{"parameters", smaller_model},
    Advice{"gradients", smaller_model},
    Advice{"moments", smaller_model},
    Advice{"weights", smaller_model},
};

}  // namespace

void fail_no_room(std::string_view label, std::uint64_t bytes, std::string_view why) {
  const auto advice = std::ranges::find_if(
      advices, [&](const Advice& each) { return label.find(each.part) != std::string_view::npos; });
  fail(ErrorKind::memory, "There is no room for '{}', {} ({} bytes): {}.{}", label, binary_size(bytes), bytes, why,
       advice == advices.end() ? "" : advice->sentence);
}

}  // namespace mslt
