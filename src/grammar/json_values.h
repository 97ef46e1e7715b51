// JsonValues: any JSON values, as parts of a grammar of bytes.
#pragma once

#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "grammar/byte_grammar.h"

namespace mslt {

// Adds to a grammar, from one node to another. Rules of the same values are shared. The grammar must outlive it. All
// throw Error(input) as ByteGrammar does.
class JsonValues {
 public:
  explicit JsonValues(ByteGrammar& grammar) : grammar_(grammar) {}

  // These bytes; the node behind them.
  NodeId text(NodeId from, std::string_view bytes);
  // A comma or a colon, and a space if the text has one.
  NodeId separator(NodeId from, std::string_view bytes);
  // A character of a string, as a string spells it.
  void any_character(NodeId from, NodeId to);
  void any_string(NodeId from, NodeId to);
  // A string that is none of these.
  void other_string(std::span<const std::string> strings, NodeId from, NodeId to);
  void any_number(NodeId from, NodeId to);
  void any_object(NodeId from, NodeId to);
  void any_array(NodeId from, NodeId to);
  void any_value(NodeId from, NodeId to);

 private:
  template <class Build>
  void call_shared(std::string_view name, NodeId from, NodeId to, Build&& build);

  ByteGrammar& grammar_;
  std::map<std::string, RuleId, std::less<>> shared_;
};

}  // namespace mslt
