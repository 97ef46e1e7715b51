// Writing a unit's tokens back as text, some of them changed, each on its original line.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "mslc/syntax.h"

namespace mslt::mslc {

class Rewrite {
 public:
  explicit Rewrite(const Syntax& syntax);

  void drop(std::size_t index) { edits_[index].dropped = true; }
  void drop(Range range);
  // Prints `text` in the token's place.
  void replace(std::size_t index, std::string text);
  // Prints `text` before or after the token, beyond earlier texts at that place.
  void before(std::size_t index, std::string text) { edits_[index].before = std::move(text) + edits_[index].before; }
  void after(std::size_t index, const std::string& text) { edits_[index].after += text; }

  // The text with `#line N "file"` at every jump, so compilers and sanitizers name the .metal file.
  std::string text() const;

 private:
  struct Edit {
    bool dropped = false;
    bool replaced = false;
    std::string replacement;
    std::string before;
    std::string after;
  };

  const Syntax& syntax_;
  std::vector<Edit> edits_;
};

// Whether the token is `#pragma unroll`, and its replacement if the line may contain more.
bool is_unroll(const Token& token);
inline constexpr const char* unroll_pragma = "_Pragma(\"unroll\")";

// Changes for every C++ target: removes includes, pragmas, attributes, `using namespace metal`, instantiations and the
// word `kernel`; 1.0h becomes half(1.0f).
void rewrite_common(const Syntax& syntax, Rewrite& rewrite);
// Drops device, threadgroup and thread; constant becomes const, or nothing next to a const.
void drop_address_spaces(const Syntax& syntax, Rewrite& rewrite);

}  // namespace mslt::mslc
