// Rules of JSON values, made when first needed.
#include "grammar/json_values.h"

#include <cstddef>
#include <utility>
#include <vector>

#include "grammar/character_bytes.h"
#include "grammar/json_numbers.h"
#include "text/utf8.h"

namespace mslt {

NodeId JsonValues::text(NodeId from, std::string_view bytes) {
  const NodeId to = grammar_.add_node();
  grammar_.add_text(from, bytes, to);
  return to;
}

NodeId JsonValues::separator(NodeId from, std::string_view bytes) {
  const NodeId to = text(from, bytes);
  const NodeId behind = grammar_.add_node();
  grammar_.add_jump(to, behind);
  grammar_.add_text(to, " ", behind);
  return behind;
}

template <class Build>
void JsonValues::call_shared(std::string_view name, NodeId from, NodeId to, Build&& build) {
  const auto known = shared_.find(name);
  RuleId rule = 0;
  if (known == shared_.end()) {
    rule = grammar_.add_rule(std::string(name));
    shared_.emplace(name, rule);
    build(grammar_.rules()[rule].start, grammar_.rules()[rule].end);
  } else {
    rule = known->second;
  }
  grammar_.add_call(from, rule, to);
}

void JsonValues::any_character(NodeId from, NodeId to) {
  call_shared("character", from, to, [&](NodeId start, NodeId end) { add_any_string_character(grammar_, start, end); });
}

void JsonValues::any_string(NodeId from, NodeId to) {
  call_shared("string", from, to, [&](NodeId start, NodeId end) {
    const NodeId inside = text(start, "\"");
    const NodeId loop = grammar_.add_node();
    grammar_.add_jump(inside, loop);
    add_any_string_character(grammar_, loop, loop);
    grammar_.add_text(loop, "\"", end);
  });
}

void JsonValues::any_number(NodeId from, NodeId to) {
  call_shared("number", from, to, [&](NodeId start, NodeId end) { add_number(grammar_, start, {}, end); });
}

void JsonValues::any_value(NodeId from, NodeId to) {
  call_shared("value", from, to, [&](NodeId start, NodeId end) {
    any_object(start, end);
    any_array(start, end);
    any_string(start, end);
    any_number(start, end);
    for (const std::string_view word : {"true", "false", "null"}) grammar_.add_text(start, word, end);
  });
}

void JsonValues::any_object(NodeId from, NodeId to) {
  const NodeId inside = text(from, "{");
  const NodeId member = grammar_.add_node();
  grammar_.add_text(inside, "}", to);
  grammar_.add_jump(inside, member);
  const NodeId named = grammar_.add_node();
  any_string(member, named);
  const NodeId behind = grammar_.add_node();
  any_value(separator(named, ":"), behind);
  grammar_.add_jump(separator(behind, ","), member);
  grammar_.add_text(behind, "}", to);
}

void JsonValues::any_array(NodeId from, NodeId to) {
  const NodeId inside = text(from, "[");
  grammar_.add_text(inside, "]", to);
  const NodeId element = grammar_.add_node();
  grammar_.add_jump(inside, element);
  const NodeId behind = grammar_.add_node();
  any_value(element, behind);
  grammar_.add_jump(separator(behind, ","), element);
  grammar_.add_text(behind, "]", to);
}

void JsonValues::other_string(std::span<const std::string> strings, NodeId from, NodeId to) {
  struct Branch {
    std::map<char32_t, std::size_t> next;
    bool is_listed = false;
  };
  std::vector<Branch> branches(1);
  for (const std::string& name : strings) {
    std::size_t at = 0;
    for (std::size_t byte = 0; byte < name.size();) {
      const Utf8Result character = decode_utf8(name, byte);
      byte += character.length;
      const auto [found, is_new] = branches[at].next.try_emplace(character.code_point, branches.size());
      at = found->second;
      if (is_new) branches.emplace_back();
    }
    branches[at].is_listed = true;
  }
  const NodeId free = grammar_.add_node();
  add_string_character(grammar_, free, CharacterSet::all(), free);
  grammar_.add_text(free, "\"", to);
  std::vector<NodeId> nodes{text(from, "\"")};
  while (nodes.size() < branches.size()) nodes.push_back(grammar_.add_node());
  for (std::size_t i = 0; i < branches.size(); ++i) {
    std::vector<unicode::CharacterRange> taken;
    for (const auto& [code, next] : branches[i].next) {
      taken.push_back({code, code});
      add_string_character(grammar_, nodes[i], CharacterSet::of(code, code), nodes[next]);
    }
    add_string_character(grammar_, nodes[i], CharacterSet(std::move(taken)).complement(), free);
    if (!branches[i].is_listed) grammar_.add_text(nodes[i], "\"", to);
  }
}

}  // namespace mslt
