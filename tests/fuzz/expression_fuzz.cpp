// One line as a regular expression and the rest as a text: predictions about matches hold for all of them, and neither
// cutting the text nor knowing only a part of it makes a difference.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "mslt/error.h"
#include "text/pre_tokenizer.h"
#include "text/utf8.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

using Matches = std::vector<std::pair<std::size_t, std::size_t>>;

Matches matches_of(const mslt::Expression& expression, std::string_view text, std::size_t limit,
                   std::optional<std::size_t>& reached) {
  mslt::ExpressionMatcher matcher(expression);
  matcher.start(text, limit);
  Matches matches;
  while (const auto match = matcher.next()) {
    if (matcher.reached() && *matcher.reached() <= match->begin) break;
    matches.emplace_back(match->begin, match->end);
  }
  reached = matcher.reached();
  return matches;
}

// A match consists of characters that may follow one another in a match.
void check_characters(const mslt::Expression& expression, std::string_view text, const Matches& matches) {
  std::size_t last_end = 0;
  for (const auto& [begin, end] : matches) {
    check(begin >= last_end && end >= begin && end <= text.size());
    last_end = end;
    if (begin == end) {
      check(expression.can_be_empty());
      continue;
    }
    std::optional<char32_t> previous;
    for (std::size_t at = begin; at < end;) {
      const mslt::Utf8Result character = mslt::decode_utf8(text, at);
      check(previous ? expression.may_join(*previous, character.code_point)
                     : expression.may_start_with(character.code_point));
      previous = character.code_point;
      at += character.status == mslt::Utf8Status::valid ? character.length : 1;
    }
  }
}

std::vector<std::string_view> pieces_of(const mslt::PreTokenizer& pre_tokenizer, std::string_view text) {
  mslt::Pieces pieces;
  pre_tokenizer.split(text, true, pieces);
  return pieces.views;
}

void use(std::string_view pattern, std::string_view text) {
  const mslt::Expression expression(pattern);
  std::optional<std::size_t> reached;
  const Matches whole = matches_of(expression, text, std::string_view::npos, reached);
  check(!reached);
  check_characters(expression, text, whole);
  const std::size_t known = text.size() / 2;
  const Matches certain = matches_of(expression, text.substr(0, known), known, reached);
  for (std::size_t i = 0; i < certain.size(); ++i) check(i < whole.size() && whole[i] == certain[i]);

  for (const auto behaviour : {mslt::SplitBehaviour::isolated, mslt::SplitBehaviour::merged_with_previous}) {
    const mslt::PreTokenizer pre_tokenizer(
        {mslt::split_by_expression(pattern, behaviour, false), mslt::digits_step(true)});
    const std::size_t cut = pre_tokenizer.safe_cut(text.substr(0, known), known, true);
    if (cut == 0) continue;
    auto joined = pieces_of(pre_tokenizer, text.substr(0, cut));
    const auto rest = pieces_of(pre_tokenizer, text.substr(cut));
    joined.insert(joined.end(), rest.begin(), rest.end());
    check(joined == pieces_of(pre_tokenizer, text));
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t line = input.find('\n');
  if (line == std::string_view::npos) return 0;
  try {
    use(input.substr(0, line), input.substr(line + 1));
  } catch (const mslt::Error&) {
    // Invalid expressions and those that take too long are rejected.
  }
  return 0;
}
