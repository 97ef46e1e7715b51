// Tokens that are found verbatim in text, before it is split into pre-tokens.
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
  bool normalized = false;   // searched in normalised text, in normalised form, after the others
  bool single_word = false;  // only if no word character (\w) is next to it
  bool lstrip = false;       // includes the white space before it
  bool rstrip = false;       // includes the white space after it
  bool ordinary = false;     // is in the model's vocabulary of characters, so that plain text may make it
  bool operator==(const AddedToken&) const = default;
};

// Repeatedly finds the leftmost of a set of strings in a text, and the longest of those that start there, like the
// tokenizers package. Immutable once filled; safe to share between threads.
class AddedTokenMatcher {
 public:
  bool empty() const { return tokens_.empty(); }
  // `text` is the string to find and must not be empty; the flags are the token's.
  void insert(std::string_view text, const AddedToken& token);

  struct Match {
    std::size_t begin = 0;  // including white space taken by the token
    std::size_t end = 0;
    TokenId id = 0;
  };
  // Calls `found` for each token from left to right. With SpecialTokens::as_text, special tokens are skipped together
  // with the other tokens inside them. O(text × longest string).
  void for_each(std::string_view text, SpecialTokens special, const std::function<void(const Match&)>& found) const;

  // What is certain about a text that may go on.
  struct Certain {
    std::size_t last_end = 0;     // end of the last token found for any continuation; 0: none
    bool ends_with_word = false;  // whether a word character precedes last_end
    std::size_t limit = 0;        // no token starts (or takes white space) in [last_end, limit)
    // Positions in [begin, end], both included, where the text must not be cut: the bytes there were examined and
    // skipped as a whole.
    struct Range {
      std::size_t begin = 0;
      std::size_t end = 0;
    };
    std::vector<Range> passed_over;
  };
  Certain certain(std::string_view text, SpecialTokens special) const;
  // Whether a token only matches between words, so the text before matters.
  bool has_single_word() const { return has_single_word_; }

 private:
  // A trie with linked lists of children.
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
    bool may_grow = false;    // a longer token might be there if the text went on
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
