// Properties and classes of characters by the names that expressions use.
#include "text/expression_property.h"

#include <array>
#include <span>
#include <string>
#include <utility>

#include "text/unicode_tables.h"

namespace mslt {
namespace {

CharacterSet named_union(std::initializer_list<std::string_view> names) {
  CharacterSet set;
  for (const std::string_view name : names) set = set.united(CharacterSet::named(name));
  return set;
}

CharacterSet assigned() {
  CharacterSet set;
  for (const unicode::NamedSet& entry : std::span(unicode::named_sets, unicode::named_set_count)) {
    if (entry.name.size() == 2) set = set.united(CharacterSet::named(entry.name));
  }
  return set.united(CharacterSet::of(0xD800, 0xDFFF));
}

}  // namespace

std::optional<CharacterSet> expression_property(std::string_view given) {
  const auto folded_name = [](std::string_view text) {
    std::string folded;
    for (const char c : text) {
      if (c != ' ' && c != '_' && c != '-') folded += c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c;
    }
    return folded;
  };
  const std::string name = folded_name(given);
  struct Group {
    std::string_view name;
    std::string_view full_name;
    char letter;
  };
  constexpr std::array<Group, 6> groups = {{{"l", "letter", 'L'},
                                            {"m", "mark", 'M'},
                                            {"n", "number", 'N'},
                                            {"p", "punctuation", 'P'},
                                            {"s", "symbol", 'S'},
                                            {"z", "separator", 'Z'}}};
  for (const Group& group : groups) {
    if (name != group.name && name != group.full_name) continue;
    CharacterSet set;
    for (const unicode::NamedSet& entry : std::span(unicode::named_sets, unicode::named_set_count)) {
      if (entry.name.size() == 2 && entry.name[0] == group.letter) set = set.united(CharacterSet::named(entry.name));
    }
    return set;
  }
  constexpr std::array<std::pair<std::string_view, std::string_view>, 14> long_names = {{{"uppercaseletter", "Lu"},
                                                                                         {"lowercaseletter", "Ll"},
                                                                                         {"titlecaseletter", "Lt"},
                                                                                         {"modifierletter", "Lm"},
                                                                                         {"otherletter", "Lo"},
                                                                                         {"nonspacingmark", "Mn"},
                                                                                         {"spacingmark", "Mc"},
                                                                                         {"enclosingmark", "Me"},
                                                                                         {"decimalnumber", "Nd"},
                                                                                         {"digit", "Nd"},
                                                                                         {"letternumber", "Nl"},
                                                                                         {"othernumber", "No"},
                                                                                         {"control", "Cc"},
                                                                                         {"format", "Cf"}}};
  for (const auto& [full, category] : long_names) {
    if (name == full) return CharacterSet::named(category);
  }
  if (name == "any") return CharacterSet::all();
  if (name == "alpha") return CharacterSet::named("Alphabetic");
  if (name == "word" || name == "space") return CharacterSet::named(name);
  if (name == "cn") return assigned().complement();
  if (name == "cs") return CharacterSet::of(0xD800, 0xDFFF);
  if (name == "c" || name == "other") {
    return named_union({"Cc", "Cf", "Co"}).united(assigned().complement()).united(CharacterSet::of(0xD800, 0xDFFF));
  }
  for (const unicode::NamedSet& entry : std::span(unicode::named_sets, unicode::named_set_count)) {
    const bool is_property = entry.name.front() >= 'A' && entry.name.front() <= 'Z';
    if (is_property && folded_name(entry.name) == name) return CharacterSet::named(entry.name);
  }
  return std::nullopt;
}

std::optional<CharacterSet> expression_class(std::string_view name) {
  if (name == "alpha") return CharacterSet::named("Alphabetic");
  if (name == "digit") return CharacterSet::named("Nd");
  if (name == "alnum") return named_union({"Alphabetic", "Nd"});
  if (name == "space") return CharacterSet::named("space");
  if (name == "word") return CharacterSet::named("word");
  if (name == "cntrl") return CharacterSet::named("Cc");
  if (name == "punct") {
    return named_union({"Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So"});
  }
  if (name == "ascii") return CharacterSet::of(0, 0x7F);
  if (name == "xdigit") return CharacterSet({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
  return std::nullopt;
}

}  // namespace mslt
