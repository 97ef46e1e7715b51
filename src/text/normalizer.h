// Rewriting text before it is split, by a list of steps like the normalizers of tokenizer.json.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/expression.h"
#include "text/normalize.h"

namespace mslt {

struct NormalizerStep {
  enum class Kind : std::uint8_t {
    form,       // one of Unicode's forms
    lowercase,  // each character's full lower case
    prepend,    // `content` before a non-empty text
    replace,    // each match of `expression`, or if absent of `literal`, by `content`
    strip,      // removes white space at the start and the end
  };

  Kind kind = Kind::form;
  NormalizationForm form = NormalizationForm::nfc;
  std::string content;
  std::string literal = {};
  std::shared_ptr<const Expression> expression;
  bool strips_left = false;
  bool strips_right = false;
};

// Each occurrence of `from`, which must not be empty, replaced from left to right.
std::string replace_text(std::string_view text, std::string_view from, std::string_view to);

// Immutable; safe to share between threads.
class Normalizer {
 public:
  explicit Normalizer(std::vector<NormalizerStep> steps = {}) : steps_(std::move(steps)) {}

  const std::vector<NormalizerStep>& steps() const { return steps_; }
  bool empty() const { return steps_.empty(); }
  // Whether it does only NFC.
  bool is_nfc() const;
  // Whether cutting a text before an ASCII character gives the same result in two parts, of which the second continues
  // the first, as in one.
  bool is_local() const;
  // Whether it puts something before texts.
  bool prepends() const;

  // The rewritten text; without what is put before texts if it `continues` one. Bytes that are not valid UTF-8 pass
  // through. Throws Error(input) if an expression takes too many steps.
  std::string apply(std::string_view text, bool continues = false) const;

 private:
  std::vector<NormalizerStep> steps_;
};

}  // namespace mslt
