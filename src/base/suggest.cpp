// Distances between words.
#include "base/suggest.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

namespace mslt {
namespace {

std::string_view without_dashes(std::string_view word) {
  word.remove_prefix(std::min(word.find_first_not_of('-'), word.size()));
  return word;
}

// Whether all parts of `word` between dashes are parts of `name`, as those of max-tokens are of max-new-tokens.
bool has_parts(std::string_view name, std::string_view word) {
  const std::string all = "-" + std::string(name) + "-";
  while (!word.empty()) {
    const std::size_t end = std::min(word.find('-'), word.size());
    if (all.find("-" + std::string(word.substr(0, end)) + "-") == std::string::npos) return false;
    word.remove_prefix(std::min(end + 1, word.size()));
  }
  return true;
}

}  // namespace

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> before(b.size() + 1);
  std::vector<std::size_t> last(b.size() + 1);
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      row[j] = std::min({last[j] + 1, row[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0u : 1u)});
      const bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
      if (swapped) row[j] = std::min(row[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(row);
  }
  return last[b.size()];
}

std::vector<std::string> near_names(std::string_view word, std::span<const std::string> names) {
  constexpr std::size_t most_names = 3;
  constexpr std::size_t longest_word = 64;
  const std::string_view letters = without_dashes(word);
  std::vector<std::string> near;
  if (letters.empty() || letters.size() > longest_word) return near;
  std::size_t smallest = std::max(letters.size() / 3, std::size_t{1});
  for (const std::string& name : names) {
    const std::size_t distance = edit_distance(letters, without_dashes(name));
    if (distance > smallest) continue;
    if (distance < smallest) near.clear();
    smallest = distance;
    near.push_back(name);
  }
  if (near.empty() && letters.size() > 2) {
    std::copy_if(names.begin(), names.end(), std::back_inserter(near), [&](const std::string& name) {
      return without_dashes(name).starts_with(letters) || has_parts(without_dashes(name), letters);
    });
  }
  if (near.size() > most_names) near.resize(most_names);
  return near;
}

std::string did_you_mean(const std::vector<std::string>& names) {
  if (names.empty()) return {};
  return fmt::format(" Did you mean {}?", fmt::join(names, " or "));
}

std::string near_name_hint(std::string_view word, std::span<const std::string_view> names) {
  const std::vector<std::string> owned(names.begin(), names.end());
  return did_you_mean(near_names(word, owned));
}

}  // namespace mslt
