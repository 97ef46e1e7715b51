// Driven by split_oracle.py: splits, cuts, normalises or times the texts it receives.
//
//   split_tool gpt2|llama3|qwen2|o200k|none|cut|nfc|replace < texts > results
//   split_tool time < text
//
// Texts and results are blocks: a 32-bit little-endian length, then the bytes. The result for a pattern is the lengths
// of the pre-tokens, for `cut` the number safe_cut, each 32 bits; for `nfc` and `replace` it is text. `time` takes one
// text without a length and prints MB/s for each pattern.
#include <algorithm>
#include <bit>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>
#include <string_view>
#include <utility>

#include "text/normalize.h"
#include "text/split.h"
#include "text/utf8.h"

namespace {

static_assert(std::endian::native == std::endian::little);

constexpr std::pair<std::string_view, mslt::SplitPattern> patterns[] = {
    {"gpt2", mslt::SplitPattern::gpt2},   {"llama3", mslt::SplitPattern::llama3}, {"qwen2", mslt::SplitPattern::qwen2},
    {"o200k", mslt::SplitPattern::o200k}, {"none", mslt::SplitPattern::none},
};

void append_number(std::string& block, std::size_t number) {
  const auto value = static_cast<std::uint32_t>(number);
  char bytes[sizeof(value)];
  std::memcpy(bytes, &value, sizeof(value));
  block.append(bytes, sizeof(value));
}

bool read_block(std::istream& stream, std::string& block) {
  std::uint32_t size = 0;
  char bytes[sizeof(size)];
  if (!stream.read(bytes, sizeof(bytes))) {
    return false;
  }
  std::memcpy(&size, bytes, sizeof(size));
  block.resize(size);
  return static_cast<bool>(stream.read(block.data(), size));
}

std::string result_of(std::string_view mode, std::string_view text) {
  std::string result;
  if (mode == "nfc") {
    return mslt::normalize_nfc(text);
  }
  if (mode == "replace") {
    if (mslt::append_replacing_invalid(text, result) < text.size()) {
      mslt::append_utf8(result, mslt::replacement_character);
    }
    return result;
  }
  if (mode == "cut") {
    append_number(result, mslt::safe_cut(text));
    return result;
  }
  const auto* pattern =
      std::find_if(std::begin(patterns), std::end(patterns), [&](const auto& entry) { return entry.first == mode; });
  mslt::for_each_pretoken(text, mslt::next_pretokens(pattern->second),
                          [&](std::size_t begin, std::size_t end) { append_number(result, end - begin); });
  return result;
}

void time_patterns(std::string_view text) {
  for (const auto& [name, pattern] : patterns) {
    const mslt::NextPretokens next = mslt::next_pretokens(pattern);
    double best = 1e9;
    std::size_t count = 0;
    for (int round = 0; round < 20; ++round) {
      const auto start = std::chrono::steady_clock::now();
      count = 0;
      mslt::for_each_pretoken(text, next, [&](std::size_t, std::size_t) { ++count; });
      best = std::min(best, std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
    std::cout << name << ": " << static_cast<double>(text.size()) / best / 1e6 << " MB/s, " << count << " pre-tokens\n";
  }
}

}  // namespace

int main(int argc, char** argv) {
  std::ios::sync_with_stdio(false);
  const std::string_view mode = argc == 2 ? argv[1] : "";
  const bool is_pattern =
      std::any_of(std::begin(patterns), std::end(patterns), [&](const auto& entry) { return entry.first == mode; });
  if (mode == "time") {
    time_patterns(std::string(std::istreambuf_iterator<char>(std::cin), {}));
    return 0;
  }
  if (!is_pattern && mode != "nfc" && mode != "replace" && mode != "cut") {
    std::cerr << "usage: split_tool gpt2|llama3|qwen2|o200k|none|cut|nfc|replace|time\n";
    return 2;
  }
  for (std::string text; read_block(std::cin, text);) {
    const std::string result = result_of(mode, text);
    std::string block;
    append_number(block, result.size());
    std::cout << block << result;
  }
  return 0;
}
