// Masks of the vocabulary for the states of a grammar.
#include "grammar/json_constraint.h"

#include <algorithm>
#include <deque>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "grammar/lazy_automaton.h"
#include "grammar/vocabulary_trie.h"

namespace mslt {

// What constraints of one grammar share. The mutex also guards automata that only older constraints still use.
struct JsonConstraints::States {
  std::shared_ptr<const ConstraintVocabulary> vocabulary;
  std::shared_ptr<const JsonGrammar> grammar;
  std::mutex mutex;
  std::shared_ptr<LazyAutomaton> newest;
};

namespace {

class JsonConstraint final : public TokenConstraint {
 public:
  explicit JsonConstraint(std::shared_ptr<JsonConstraints::States> states) : states_(std::move(states)) {
    const std::lock_guard lock(states_->mutex);
    automaton_ = states_->newest;
    state_ = automaton_->start();
  }

  void allow(std::span<std::uint32_t> allowed) const override {
    const std::lock_guard lock(states_->mutex);
    renew();
    std::fill(allowed.begin(), allowed.end(), 0U);
    const auto known = automaton_->mask(state_);
    if (!known.empty()) {
      std::copy_n(known.begin(), std::min(known.size(), allowed.size()), allowed.begin());
      return;
    }
    std::vector<std::uint32_t> mask((states_->vocabulary->trie().bytes.size() + 31) / 32);
    const bool is_whole = walk(mask);
    std::copy_n(mask.begin(), std::min(mask.size(), allowed.size()), allowed.begin());
    if (is_whole) automaton_->set_mask(state_, std::move(mask));
  }

  void accept(TokenId token) override {
    const std::lock_guard lock(states_->mutex);
    renew();
    const auto& bytes = states_->vocabulary->trie().bytes;
    LazyAutomaton::StateId state = token < bytes.size() && !bytes[token].empty() ? state_ : LazyAutomaton::dead;
    if (state != LazyAutomaton::dead) {
      std::int64_t unlimited = std::numeric_limits<std::int64_t>::max();
      for (const char byte : bytes[token]) {
        state = automaton_->next(state, static_cast<std::uint8_t>(byte), unlimited);
        if (state == LazyAutomaton::dead) break;
      }
    }
    if (state == LazyAutomaton::dead) {
      fail(ErrorKind::input, "The token {} cannot follow in a text that satisfies the JSON schema.", token);
    }
    state_ = state;
  }

  bool may_end() const override {
    const std::lock_guard lock(states_->mutex);
    return automaton_->accepts(state_);
  }

  bool must_end() const override {
    const std::lock_guard lock(states_->mutex);
    return automaton_->is_last(state_);
  }

 private:
  // Lets go of an automaton that has grown too large.
  void renew() const {
    if (!automaton_->is_full()) return;
    if (states_->newest->is_full()) {
      states_->newest = std::make_shared<LazyAutomaton>(states_->grammar->automaton());
    }
    state_ = states_->newest->copy_state(*automaton_, state_);
    automaton_ = states_->newest;
  }

  // Whether the budget sufficed for all tokens.
  bool walk(std::vector<std::uint32_t>& mask) const {
    const ConstraintVocabulary::Trie& trie = states_->vocabulary->trie();
    std::vector<LazyAutomaton::StateId> path(trie.max_depth + std::size_t{1});
    path[0] = state_;
    std::int64_t budget = LazyAutomaton::walk_budget;
    const std::size_t count = trie.nodes.size() - 1;
    for (std::size_t i = 0; i < count;) {
      const auto& node = trie.nodes[i];
      const LazyAutomaton::StateId state = automaton_->next(path[node.depth], node.byte, budget);
      if (state == LazyAutomaton::dead) {
        i = node.end;
        continue;
      }
      path[node.depth + 1] = state;
      ++i;
      for (std::uint32_t token = node.first_token; token < trie.nodes[i].first_token; ++token) {
        const TokenId id = trie.tokens[token];
        mask[id / 32] |= 1U << (id % 32);
      }
    }
    return budget >= 0;
  }

  std::shared_ptr<JsonConstraints::States> states_;
  // A full automaton is replaced by the next call that walks.
  mutable std::shared_ptr<LazyAutomaton> automaton_;
  mutable LazyAutomaton::StateId state_ = 0;
};

// The last few schemas.
class RecentSchemas {
 public:
  RecentSchemas(const Tokenizer& tokenizer, std::int64_t vocab_size)
      : vocabulary_(std::make_shared<ConstraintVocabulary>(tokenizer, vocab_size)) {}

  std::shared_ptr<const JsonConstraints> find(const nlohmann::ordered_json& schema) {
    std::string key;
    try {
      key = schema.dump();
    } catch (const nlohmann::json::exception&) {
      fail(ErrorKind::input, "The JSON schema holds a text that is not UTF-8.");
    }
    {
      const std::lock_guard lock(mutex_);
      for (const auto& [text, constraints] : recent_) {
        if (text == key) return constraints;
      }
    }
    auto grammar = std::make_shared<const JsonGrammar>(schema.is_null() ? JsonGrammar::any_object()
                                                                        : JsonGrammar::from_schema(schema));
    auto made = std::make_shared<const JsonConstraints>(vocabulary_, std::move(grammar));
    const std::lock_guard lock(mutex_);
    recent_.emplace_front(std::move(key), made);
    if (recent_.size() > max_recent) recent_.pop_back();
    return made;
  }

 private:
  static constexpr std::size_t max_recent = 8;

  std::shared_ptr<const ConstraintVocabulary> vocabulary_;
  std::mutex mutex_;
  std::deque<std::pair<std::string, std::shared_ptr<const JsonConstraints>>> recent_;
};

}  // namespace

JsonConstraints::JsonConstraints(std::shared_ptr<const ConstraintVocabulary> vocabulary,
                                 std::shared_ptr<const JsonGrammar> grammar)
    : states_(std::make_shared<States>()) {
  states_->vocabulary = std::move(vocabulary);
  states_->grammar = std::move(grammar);
  states_->newest = std::make_shared<LazyAutomaton>(states_->grammar->automaton());
}
JsonConstraints::~JsonConstraints() = default;

std::unique_ptr<TokenConstraint> JsonConstraints::make() const {
  return std::make_unique<JsonConstraint>(states_);
}

std::function<std::function<std::unique_ptr<TokenConstraint>()>(const nlohmann::ordered_json& schema)>
json_constraint_maker(const Tokenizer& tokenizer, std::int64_t vocab_size) {
  return [recent = std::make_shared<RecentSchemas>(tokenizer, vocab_size)](const nlohmann::ordered_json& schema) {
    return [constraints = recent->find(schema)] {
      return constraints->make();
    };
  };
}

}  // namespace mslt
