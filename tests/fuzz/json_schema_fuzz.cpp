// Any JSON as a schema, and bytes as choices among tokens: either an Error, or a constraint that always has a way on
// and whose finished texts are JSON.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "grammar/json_constraint.h"
#include "mslt/error.h"
#include "mslt/tokenizer.h"

namespace {

void check(bool holds) {
  if (!holds) std::abort();
}

const mslt::Tokenizer& tokenizer() {
  static const mslt::Tokenizer made = mslt::Tokenizer::train_on_text(
      R"({"a": [1, 2], "b": "x"}{"a": [1, 2], "b": "x"}{"a": null, "a": true})", {.vocab_size = 262, .special = {}});
  return made;
}

// Tokens as the bytes of `choices` say, then up to an end if one comes soon.
void follow(const mslt::JsonConstraints& constraints, std::string_view choices) {
  const auto constraint = constraints.make();
  const std::uint32_t count = tokenizer().vocab_size();
  std::string text;
  for (std::size_t step = 0; step < choices.size() + 200; ++step) {
    if (constraint->may_end()) check(nlohmann::json::accept(text));
    check(!constraint->must_end() || constraint->may_end());
    if (constraint->must_end()) return;
    std::vector<std::uint32_t> allowed((count + 31) / 32);
    constraint->allow(allowed);
    std::vector<mslt::TokenId> ids;
    for (mslt::TokenId id = 0; id < count; ++id) {
      if ((allowed[id / 32] >> (id % 32) & 1) != 0) ids.push_back(id);
    }
    check(!ids.empty());
    const std::size_t choice = step < choices.size() ? static_cast<unsigned char>(choices[step]) : 0;
    const mslt::TokenId id = ids[choice % ids.size()];
    constraint->accept(id);
    text += tokenizer().token_bytes(id);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  const std::size_t end = input.find('\n');
  const auto schema = nlohmann::ordered_json::parse(input.substr(0, end), nullptr, false);
  if (schema.is_discarded()) return 0;
  static const auto vocabulary =
      std::make_shared<const mslt::ConstraintVocabulary>(tokenizer(), tokenizer().vocab_size());
  try {
    auto grammar = std::make_shared<const mslt::JsonGrammar>(mslt::JsonGrammar::from_schema(schema));
    const mslt::JsonConstraints constraints(vocabulary, std::move(grammar));
    follow(constraints, end == std::string_view::npos ? std::string_view() : input.substr(end + 1));
  } catch (const mslt::Error&) {
    // Named what the schema must not hold.
  }
  return 0;
}
