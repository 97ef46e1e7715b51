// Splitting text into pre-tokens by a list of steps, like the pre-tokenizers of tokenizer.json.
#pragma once

#include <cstddef>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "text/expression.h"
#include "text/split.h"

namespace mslt {

// The treatment of a split's matches and the text between them.
enum class SplitBehaviour : std::uint8_t {
  removed,               // matches are dropped
  isolated,              // matches and the parts between are pieces
  merged_with_previous,  // a match belongs to the part before it
  merged_with_next,      // or to the part after it
  contiguous,            // neighbouring matches are one piece
};

struct PreTokenizerStep {
  enum class Kind : std::uint8_t {
    split,         // each piece by `expression`, or if absent by `pattern`, which matches all of a text
    prefix_space,  // adds a space before each piece that does not start with one
    metaspace,     // replaces each space by `sign`, adds one as `prefix` says, and may split before each
  };
  enum class Prefix : std::uint8_t { never, text, piece };

  Kind kind = Kind::split;
  SplitPattern pattern = SplitPattern::none;
  std::shared_ptr<const Expression> expression;
  SplitBehaviour behaviour = SplitBehaviour::isolated;
  bool invert = false;  // swaps matches and the rest
  std::string sign = {};
  Prefix prefix = Prefix::never;  // before pieces that do not start with one: none, that at a text's start, or all
  bool splits = false;
};

// The steps that make up the pre-tokenizers of the tokenizers package.
PreTokenizerStep split_by_pattern(SplitPattern pattern);
PreTokenizerStep split_by_expression(std::string_view pattern, SplitBehaviour behaviour, bool invert);
PreTokenizerStep split_by_text(std::string_view text, SplitBehaviour behaviour, bool invert);
PreTokenizerStep digits_step(bool individual);                // Digits
PreTokenizerStep punctuation_step(SplitBehaviour behaviour);  // Punctuation
PreTokenizerStep white_space_split_step();                    // WhitespaceSplit
PreTokenizerStep words_step();                                // Whitespace
PreTokenizerStep prefix_space_step();
PreTokenizerStep metaspace_step(std::string_view sign, PreTokenizerStep::Prefix prefix, bool splits);

// The pieces of a text: views of it, or of copies with an added space.
struct Pieces {
  std::vector<std::string_view> views;
  std::deque<std::string> copies;
};

// Immutable; safe to share between threads.
class PreTokenizer {
 public:
  // Without steps a text is one piece.
  explicit PreTokenizer(std::vector<PreTokenizerStep> steps = {});

  const std::vector<PreTokenizerStep>& steps() const { return steps_; }
  // The pattern, if the only step is a split by one pattern, possibly after a prefix_space.
  std::optional<SplitPattern> single_pattern() const { return single_pattern_; }
  // Whether the first step is a prefix_space.
  bool starts_with_space() const { return starts_with_space_; }
  // Whether a step adds a space at the start of texts, but not where they go on after an added token.
  bool prefixes_only_texts() const;
  // Whether a text may be cut between `left` and `right`, a space or its sign: the pieces of both sides are those of
  // the whole, but for one that spans the cut and is cut in two. May be false more often than necessary.
  bool keeps_apart(char32_t left, char32_t right) const;
  // Whether a step replaces spaces by this.
  bool replaces_spaces_by(std::string_view sign) const;

  // Puts the pieces into `pieces`. `continues`: the text continues one that was cut off, so no space is added at its
  // start. Throws Error(input) if an expression takes too many steps.
  void split(std::string_view text, bool continues, Pieces& pieces) const;

  // The largest position below `limit` where `text` may be cut so that the pieces of both sides are those of the whole,
  // for any text from `limit` on; 0 if none is found. The part after the cut continues the part before. `continues`
  // refers to the start of the text.
  std::size_t safe_cut(std::string_view text, std::size_t limit, bool continues) const;

 private:
  class Splitter;
  bool may_cut_between(char32_t left, char32_t right) const;
  std::size_t cut_in_window(std::string_view text, std::size_t window, std::size_t limit, bool continues) const;

  std::vector<PreTokenizerStep> steps_;
  std::vector<std::shared_ptr<const Expression>> expressions_;  // of each split step, also of those by pattern
  std::optional<SplitPattern> single_pattern_;
  bool starts_with_space_ = false;
  bool adds_spaces_later_ = false;
};

}  // namespace mslt
