// Finding a place to cut a long text that is encoded in parts.
#include <algorithm>

#include "mslt/tokenizer.h"
#include "text/tables.h"
#include "text/utf8.h"

namespace mslt {
namespace {

using PassedOver = std::vector<AddedTokenMatcher::Certain::Range>;

// The range that contains a position, or null.
const AddedTokenMatcher::Certain::Range* range_at(const PassedOver& ranges, std::size_t place) {
  const auto found =
      std::find_if(ranges.begin(), ranges.end(), [&](const auto& r) { return place >= r.begin && place <= r.end; });
  return found == ranges.end() ? nullptr : &*found;
}

// Text after normalisation, and the positions it shares with the original text: before ASCII characters, which join
// with nothing before them.
struct NormalizedText {
  struct Place {
    std::size_t raw = 0;
    std::size_t normalized = 0;
  };
  std::string text;
  std::vector<Place> places;

  std::optional<std::size_t> raw_of(std::size_t normalized) const {
    const auto found = std::partition_point(places.begin(), places.end(),
                                            [&](const Place& place) { return place.normalized < normalized; });
    if (found == places.end() || found->normalized != normalized) return std::nullopt;
    return found->raw;
  }
};

NormalizedText normalize_in_chunks(const Normalizer& normalizer, std::string_view raw, bool continues) {
  NormalizedText result;
  for (std::size_t begin = 0; begin < raw.size();) {
    const bool is_ascii = static_cast<unsigned char>(raw[begin]) < 0x80;
    if (is_ascii) result.places.push_back({begin, result.text.size()});
    std::size_t end = begin + 1;
    while (end < raw.size() && static_cast<unsigned char>(raw[end]) >= 0x80) ++end;
    result.text += normalizer.apply(raw.substr(begin, end - begin), continues || begin > 0);
    begin = end;
  }
  return result;
}

// The last place in a text where words are parted: before a space mark, or the space that becomes one, after another
// character; 0 if there is none.
std::size_t cut_between_words(const PreTokenizer& pre_tokenizer, std::string_view text) {
  const bool replaces = pre_tokenizer.replaces_spaces_by(space_mark);
  const auto is_mark = [&](char32_t character) {
    return character == decode_utf8(space_mark, 0).code_point || (replaces && character == ' ');
  };
  for (std::size_t end = text.size(); end > 0;) {
    const std::size_t place = start_of_character_before(text, end);
    if (place == 0) break;
    const char32_t left = character_before(text, place);
    const char32_t right = decode_utf8(text, place).code_point;
    if (is_mark(right) && !is_mark(left) && pre_tokenizer.keeps_apart(left, right)) return place;
    end = place;
  }
  return 0;
}

}  // namespace

std::optional<TextCut> Tokenizer::find_cut(std::string_view text, SpecialTokens special, bool continues) const {
  const Tables& tables = *tables_;
  const PreTokenizer& pre_tokenizer = tables.parts.pre_tokenizer;
  const Normalizer& normalizer = tables.parts.normalizer;

  // After the last token certain to be found, the text up to raw.limit contains no token.
  AddedTokenMatcher::Certain raw = tables.raw_added.certain(text, special);
  const std::string_view rest = text.substr(raw.last_end, raw.limit - raw.last_end);
  for (auto& range : raw.passed_over) {
    range.begin = std::max(range.begin, raw.last_end) - raw.last_end;
    range.end = std::max(range.end, raw.last_end) - raw.last_end;
  }
  const bool goes_on_after_token = pre_tokenizer.prefixes_only_texts();
  const auto after_token = [](const AddedTokenMatcher& matcher, const AddedTokenMatcher::Certain& certain) {
    return certain.last_end > 0 && !(matcher.has_single_word() && certain.ends_with_word);
  };

  if (normalizer.is_local() && !(goes_on_after_token && normalizer.prepends())) {
    // At the cuts of the single patterns, NFC joins nothing either.
    const bool goes_on_raw = continues && raw.last_end == 0;
    const bool same =
        normalizer.empty() || (normalizer.is_nfc() && pre_tokenizer.single_pattern() && tables.late_added.empty());
    NormalizedText normalized;
    if (!same) normalized = normalize_in_chunks(normalizer, rest, goes_on_raw);
    const std::string_view seen = same ? rest : std::string_view(normalized.text);
    const auto raw_of = [&](std::size_t place) {
      return same ? std::optional(place) : normalized.raw_of(place);
    };
    const AddedTokenMatcher::Certain late = tables.late_added.certain(seen, special);
    std::size_t limit = late.limit;
    if (!same) {
      // The end of the text may still join with the following text.
      limit = normalized.places.empty() ? 0 : std::min(limit, normalized.places.back().normalized);
    }
    const bool goes_on = goes_on_raw && late.last_end == 0;
    const auto cut_below = [&](std::size_t below) -> std::size_t {
      const std::string_view known = seen.substr(late.last_end, below - late.last_end);
      if (!tables.parts.byte_level) return tables.words != nullptr ? cut_between_words(pre_tokenizer, known) : 0;
      if (!pre_tokenizer.single_pattern()) return pre_tokenizer.safe_cut(known, known.size(), goes_on);
      return known.empty() || pre_tokenizer.single_pattern() == SplitPattern::none ? 0 : safe_cut(known);
    };
    constexpr int max_tries = 64;
    for (int i = 0; i < max_tries && limit > late.last_end; ++i) {
      const std::size_t cut = cut_below(limit);
      if (cut == 0) break;
      const std::size_t place = late.last_end + cut;
      const auto raw_place = raw_of(place);
      const auto* const late_range = range_at(late.passed_over, place);
      const bool passed_over = late_range != nullptr || (raw_place && range_at(raw.passed_over, *raw_place) != nullptr);
      if (raw_place && !passed_over) return TextCut{.position = raw.last_end + *raw_place, .continues = true};
      limit = late_range != nullptr ? std::min(late_range->begin, place) : place;
    }
    const auto raw_end = raw_of(late.last_end);
    const bool may_start_there = !(tables.raw_added.has_single_word() && late.ends_with_word);
    if (!normalizer.prepends() && after_token(tables.late_added, late) && raw_end && may_start_there &&
        range_at(raw.passed_over, *raw_end) == nullptr) {
      return TextCut{.position = raw.last_end + *raw_end, .continues = goes_on_after_token};
    }
  }
  if (after_token(tables.raw_added, raw)) {
    return TextCut{.position = raw.last_end, .continues = goes_on_after_token};
  }
  return std::nullopt;
}

}  // namespace mslt
