// Writing a unit's tokens back as text with some of them changed, each on the line that it came from.
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
  // Prints `text`, which holds no line end, before or after the token; before wins over what stood there already.
  void before(std::size_t index, std::string text) { edits_[index].before = std::move(text) + edits_[index].before; }
  void after(std::size_t index, const std::string& text) { edits_[index].after += text; }

  // The text with `#line N "file"` wherever the place jumps, so that compilers and sanitizers name the .metal file.
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

// Whether the token is `#pragma unroll`, and what stands for it where the line may hold more.
bool is_unroll(const Token& token);
inline constexpr const char* unroll_pragma = "_Pragma(\"unroll\")";

// What every C++ target has in common: includes, pragmas, attributes, `using namespace metal`, instantiations and the
// word `kernel` go; 1.0h becomes half(1.0f).
void rewrite_common(const Syntax& syntax, Rewrite& rewrite);
// Drops device, threadgroup and thread; constant becomes const, or nothing where const stands beside it.
void drop_address_spaces(const Syntax& syntax, Rewrite& rewrite);

}  // namespace mslt::mslc
