// Token constraints to JSON texts of a schema.
//
// A schema is compiled to a pushdown automaton over bytes. States that occur are kept, with the tokens that they allow,
// so most steps only copy a mask.
//
// Supported keywords (JSON Schema 2020-12): type, properties, required, additionalProperties, items, prefixItems,
// minItems, maxItems, enum, const, anyOf, oneOf (as anyOf), allOf of schemas that can be merged, $ref within the schema
// (recursive too), minLength, maxLength, pattern, format (date, time, date-time, uuid, email, hostname, ipv4), minimum,
// maximum, exclusiveMinimum, exclusiveMaximum, and OpenAPI's nullable. Annotations are ignored.
//
// Every text that a constraint permits to end is valid, but not every valid text is permitted:
// - Properties come in the schema's order, then required ones that `properties` lacks, then additional ones. An object
//   with `properties` has additional ones only if additionalProperties says so.
// - White space is at most one space after each comma and colon. Tuples hold what prefixItems lists, unless items or
//   minItems ask for more.
// - Integers have at most 18 digits, other numbers as many before the point, 17 after it, and two in the exponent.
// - Strings with a pattern or a format, and names of additional properties beside declared ones, are escaped only where
//   they must be.
// - Recursion stops at 64 open references and elements.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <nlohmann/json_fwd.hpp>

#include "mslt/engine.h"
#include "mslt/tokenizer.h"

namespace mslt {

// The tokens of a vocabulary, arranged for constraints. Immutable; may be shared by threads.
class ConstraintVocabulary {
 public:
  // `vocab_size`: ids that the model has. Special tokens and those without bytes are never allowed.
  ConstraintVocabulary(const Tokenizer& tokenizer, std::int64_t vocab_size);
  ConstraintVocabulary(const ConstraintVocabulary&) = delete;
  ConstraintVocabulary& operator=(const ConstraintVocabulary&) = delete;
  ~ConstraintVocabulary();

  struct Trie;
  const Trie& trie() const { return *trie_; }

 private:
  std::unique_ptr<const Trie> trie_;
};

// A compiled schema. Immutable; may be shared by threads.
class JsonGrammar {
 public:
  // Throws Error(input) naming, by its JSON pointer, a keyword that is not supported or has no meaning, a limit that
  // the schema exceeds, or that no text satisfies it.
  static JsonGrammar from_schema(const nlohmann::ordered_json& schema);
  // Any JSON object.
  static JsonGrammar any_object();

  JsonGrammar(JsonGrammar&&) noexcept;
  JsonGrammar& operator=(JsonGrammar&&) noexcept;
  ~JsonGrammar();

  struct Automaton;
  const Automaton& automaton() const { return *automaton_; }

 private:
  explicit JsonGrammar(std::unique_ptr<const Automaton> automaton);
  std::unique_ptr<const Automaton> automaton_;
};

// Makes constraints that share what they learn of the states of one grammar. Threads may share it.
class JsonConstraints {
 public:
  JsonConstraints(std::shared_ptr<const ConstraintVocabulary> vocabulary, std::shared_ptr<const JsonGrammar> grammar);
  JsonConstraints(const JsonConstraints&) = delete;
  JsonConstraints& operator=(const JsonConstraints&) = delete;
  ~JsonConstraints();

  // A constraint at the start of a text; it may outlive this. accept() throws Error(input) for a token that allow()
  // does not permit. allow() clears all bits only where the text must end or the vocabulary lacks the bytes to go on.
  std::unique_ptr<TokenConstraint> make() const;

  struct States;

 private:
  std::shared_ptr<States> states_;
};

// What makes constraints to a schema, or, given null, to any JSON object; throws as JsonGrammar::from_schema. Keeps the
// compiled forms of the last few schemas. Threads may share it.
std::function<std::function<std::unique_ptr<TokenConstraint>()>(const nlohmann::ordered_json& schema)>
json_constraint_maker(const Tokenizer& tokenizer, std::int64_t vocab_size);

}  // namespace mslt
