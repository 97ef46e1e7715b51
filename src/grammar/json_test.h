// Constraints driven byte by byte and at random, for tests.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/philox.h"
#include "base/test_errors.h"
#include "grammar/json_constraint.h"
#include "mslt/tokenizer.h"

namespace mslt {

inline constexpr std::size_t whole_text = std::numeric_limits<std::size_t>::max();

template <class Call>
void expect_error(ErrorKind kind, std::string_view part, Call&& call) {
  const std::string message = test::error_of(kind, call);
  EXPECT_NE(message.find(part), std::string::npos) << message;
}

// Texts over a small vocabulary that has every byte.
class ByteTexts {
 public:
  ByteTexts()
      : tokenizer_(Tokenizer::train_on_text(
            sample(), {.vocab_size = 340, .pattern = SplitPattern::none, .special = {"[EOS]"}, .min_frequency = 2})),
        vocabulary_(std::make_shared<ConstraintVocabulary>(tokenizer_, tokenizer_.vocab_size())) {
    byte_ids_.resize(256);
    for (TokenId id = 0; id < tokenizer_.vocab_size(); ++id) {
      const std::string_view bytes = tokenizer_.token_bytes(id);
      if (bytes.size() == 1) byte_ids_[static_cast<unsigned char>(bytes[0])] = id;
    }
  }

  const Tokenizer& tokenizer() const { return tokenizer_; }
  TokenId byte_id(char byte) const { return byte_ids_[static_cast<unsigned char>(byte)]; }

  JsonConstraints constraints(const nlohmann::ordered_json& schema) const {
    return {vocabulary_, std::make_shared<JsonGrammar>(JsonGrammar::from_schema(schema))};
  }
  JsonConstraints any_object() const { return {vocabulary_, std::make_shared<JsonGrammar>(JsonGrammar::any_object())}; }

  std::vector<std::uint32_t> mask(const TokenConstraint& constraint) const {
    std::vector<std::uint32_t> allowed((tokenizer_.vocab_size() + 31) / 32);
    constraint.allow(allowed);
    return allowed;
  }
  static bool allows(const std::vector<std::uint32_t>& mask, TokenId id) {
    return (mask[id / 32] >> (id % 32) & 1) != 0;
  }

  // The byte that the constraint refuses, the text's size if it may not end there, or whole_text.
  std::size_t refused_at(const JsonConstraints& constraints, std::string_view text) const {
    const auto constraint = constraints.make();
    for (std::size_t i = 0; i < text.size(); ++i) {
      if (!allows(mask(*constraint), byte_id(text[i]))) return i;
      constraint->accept(byte_id(text[i]));
    }
    return constraint->may_end() ? whole_text : text.size();
  }

  // A text of random tokens; after so many, one that ends it soon.
  std::string random_text(const JsonConstraints& constraints, PhiloxStream& random, std::size_t tokens) const {
    const auto constraint = constraints.make();
    std::string text;
    for (std::size_t drawn = 0; !constraint->must_end(); ++drawn) {
      if (constraint->may_end() && (drawn >= tokens || random.below(4) == 0)) return text;
      const auto allowed = mask(*constraint);
      std::vector<TokenId> ids;
      for (TokenId id = 0; id < tokenizer_.vocab_size(); ++id) {
        if (allows(allowed, id)) ids.push_back(id);
      }
      if (ids.empty() || drawn > 5000) {
        ADD_FAILURE() << "No way on after " << text;
        return text;
      }
      TokenId id = ids[random.below(static_cast<std::uint32_t>(ids.size()))];
      // Quotes, ends and short values bring a text to its end.
      for (const char byte : std::string_view(drawn >= tokens ? "\"}]0n" : "")) {
        if (allows(allowed, byte_id(byte))) {
          id = byte_id(byte);
          break;
        }
      }
      constraint->accept(id);
      text += tokenizer_.token_bytes(id);
    }
    EXPECT_TRUE(constraint->may_end());
    return text;
  }

 private:
  static std::string sample() {
    std::string text;
    for (int i = 0; i < 30; ++i) {
      text +=
          R"({"name": "Ada", "age": 36, "tags": ["a", "b"], "ok": true, "none": null}{"x":[{"y":-1.5e3}],"\u00e9":"\n"})";
      text += "\u00E9\u4E2D\U0001F600 ";
    }
    return text;
  }

  Tokenizer tokenizer_;
  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  std::vector<TokenId> byte_ids_;
};

}  // namespace mslt
