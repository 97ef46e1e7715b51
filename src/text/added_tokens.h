// Tokens that are found in text as they stand, before it is cut into pre-tokens.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "mslt/tokenizer.h"

namespace mslt {

struct AddedToken {
  std::string text;
  TokenId id = 0;
  bool special = true;       // not produced from plain text
  bool normalized = false;   // looked for in normalised text, itself normalised, after those that are not
  bool single_word = false;  // only where no word character (\w) stands beside it
  bool lstrip = false;       // takes the white space before it
  bool rstrip = false;       // and after it
  bool operator==(const AddedToken&) const = default;
};

// Finds the leftmost of a set of strings in a text, and of those that start there the longest, over and over, as the
// tokenizers package does. Immutable once filled; safe to share between threads.
class AddedTokenMatcher {
 public:
  bool empty() const { return tokens_.empty(); }
  // `text` is what is looked for and must not be empty; the flags are the token's.
  void insert(std::string_view text, const AddedToken& token);

  struct Match {
    std::size_t begin = 0;  // with the white space that the token takes
    std::size_t end = 0;
    TokenId id = 0;
  };
  // Calls `found` for each token from left to right. With SpecialTokens::as_text special ones are passed over, together
  // with what other tokens they hold. O(text × longest string).
  void for_each(std::string_view text, SpecialTokens special, const std::function<void(const Match&)>& found) const;

  // What is certain of a text that may go on.
  struct Certain {
    std::size_t last_end = 0;     // of the last token that will be found, whatever follows; 0: none
    bool ends_with_word = false;  // whether a word character stands before last_end
    std::size_t limit = 0;        // no token starts (or takes white space) in [last_end, limit)
    // Places between the two, both included, where the text must not be cut: what stands there was looked at and passed
    // over as a whole.
    struct Range {
      std::size_t begin = 0;
      std::size_t end = 0;
    };
    std::vector<Range> passed_over;
  };
  Certain certain(std::string_view text, SpecialTokens special) const;
  // Whether a token is only found between words, so that what stands before a text matters.
  bool has_single_word() const { return has_single_word_; }

 private:
  // A trie whose children are a linked list.
  struct Node {
    std::uint32_t first_child = 0;
    std::uint32_t next_sibling = 0;
    std::uint32_t token = 0;  // 1 + its index; 0: none ends here
    unsigned char byte = 0;
  };
  struct Found {
    std::size_t begin = 0;
    std::size_t end = 0;
    std::uint32_t token = 0;  // 1 + its index; 0: none, and begin == end == the text's size
    bool may_grow = false;    // a longer one might stand there if the text went on
  };

  std::uint32_t child(std::uint32_t node, unsigned char byte) const;
  Found find(std::string_view text, std::size_t from) const;
  bool is_apart(std::string_view text, const Found& found) const;

  std::vector<AddedToken> tokens_;
  std::vector<Node> nodes_ = std::vector<Node>(1);
  std::string first_bytes_;  // distinct
  bool has_single_word_ = false;
  bool has_lstrip_ = false;
};

}  // namespace mslt
