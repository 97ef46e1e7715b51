// Driven by schema_oracle.py: random texts of JSON schemas, and which texts a schema permits.
//
//   schema_tool < lines > lines
//
// A line {"schema": ..., "count": n, "seed": s} gives a line: an array of random texts, or {"error": message}.
// With "texts", an array of texts, the line is an array of whether each is permitted.
#include <cstdint>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/philox.h"
#include "grammar/json_constraint.h"
#include "mslt/error.h"
#include "mslt/tokenizer.h"

namespace {

using Json = nlohmann::ordered_json;

class Texts {
 public:
  Texts()
      : tokenizer_(mslt::Tokenizer::train_on_text(sample(), {.vocab_size = 280, .special = {}})),
        vocabulary_(std::make_shared<mslt::ConstraintVocabulary>(tokenizer_, tokenizer_.vocab_size())) {}

  Json answer(const Json& line) const {
    try {
      auto grammar = std::make_shared<const mslt::JsonGrammar>(mslt::JsonGrammar::from_schema(line["schema"]));
      const mslt::JsonConstraints constraints(vocabulary_, std::move(grammar));
      Json result = Json::array();
      if (line.contains("texts")) {
        for (const Json& text : line["texts"]) result.push_back(permits(constraints, text.get<std::string>()));
        return result;
      }
      mslt::PhiloxStream random(line["seed"].get<std::uint64_t>(), 0, 0);
      for (int i = 0; i < line["count"].get<int>(); ++i) result.push_back(random_text(constraints, random));
      return result;
    } catch (const mslt::Error& error) {
      return {{"error", error.what()}};
    }
  }

 private:
  static std::string sample() {
    std::string text;
    for (int i = 0; i < 20; ++i) text += R"({"name": "Ada", "list": [1, true, null], "other": {"x": "y"}} )";
    return text;
  }

  std::vector<mslt::TokenId> allowed(const mslt::TokenConstraint& constraint) const {
    std::vector<std::uint32_t> mask((tokenizer_.vocab_size() + 31) / 32);
    constraint.allow(mask);
    std::vector<mslt::TokenId> ids;
    for (mslt::TokenId id = 0; id < tokenizer_.vocab_size(); ++id) {
      if ((mask[id / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
    }
    return ids;
  }

  bool permits(const mslt::JsonConstraints& constraints, const std::string& text) const {
    const auto constraint = constraints.make();
    for (const mslt::TokenId id : tokenizer_.encode(text)) {
      try {
        constraint->accept(id);
      } catch (const mslt::Error&) {
        return false;
      }
    }
    return constraint->may_end();
  }

  std::string random_text(const mslt::JsonConstraints& constraints, mslt::PhiloxStream& random) const {
    const auto constraint = constraints.make();
    const std::size_t tokens = random.below(60);
    std::string text;
    for (std::size_t drawn = 0; !constraint->must_end() && drawn < 3000; ++drawn) {
      if (constraint->may_end() && (drawn >= tokens || random.below(4) == 0)) break;
      const auto ids = allowed(*constraint);
      mslt::TokenId id = ids.at(random.below(static_cast<std::uint32_t>(ids.size())));
      if (drawn >= tokens && random.below(3) != 0) id = closing(ids).value_or(id);
      constraint->accept(id);
      text += tokenizer_.token_bytes(id);
    }
    return text;
  }

  // A token that brings a text nearer to its end.
  std::optional<mslt::TokenId> closing(const std::vector<mslt::TokenId>& ids) const {
    for (const char byte : std::string_view("\"b}]0n")) {
      for (const mslt::TokenId id : ids) {
        if (tokenizer_.token_bytes(id) == std::string_view(&byte, 1)) return id;
      }
    }
    return std::nullopt;
  }

  mslt::Tokenizer tokenizer_;
  std::shared_ptr<const mslt::ConstraintVocabulary> vocabulary_;
};

}  // namespace

int main() {
  const Texts texts;
  for (std::string line; std::getline(std::cin, line);) {
    std::cout << texts.answer(Json::parse(line)).dump() << '\n';
  }
}
