// Which of several GPUs --device names.
#pragma once

#include <fmt/ranges.h>

#include <charconv>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/fail.h"

namespace mslt::msl {

// The place, among GPUs of these names, of the one that `which` names by its place or by a part of its name. Throws
// Error(device) listing them.
inline std::size_t choose_gpu(std::string_view backend, std::string_view which, std::span<const std::string> names) {
  std::size_t number = 0;
  const auto parsed = std::from_chars(which.data(), which.data() + which.size(), number);
  const bool numeric = parsed.ec == std::errc() && parsed.ptr == which.data() + which.size();
  std::vector<std::string> list;
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (numeric ? i == number : !which.empty() && names[i].find(which) != std::string::npos) return i;
    list.push_back(fmt::format("{}:{} '{}'", backend, i, names[i]));
  }
  fail(ErrorKind::device, "There is no GPU '{}:{}'; there are: {}.", backend, which,
       list.empty() ? "none" : fmt::format("{}", fmt::join(list, ", ")));
}

}  // namespace mslt::msl
