// The steps of normalizers, one after another.
#include "text/normalizer.h"

#include <algorithm>

#include "text/lowercase_table.h"
#include "text/unicode_tables.h"
#include "text/utf8.h"

namespace mslt {
namespace {

void append_lowercase(std::string& output, char32_t code_point) {
  // The only full mapping to more than one character.
  constexpr char32_t dotted_capital_i = 0x130;
  constexpr char32_t dot_above = 0x307;
  if (code_point == dotted_capital_i) {
    append_utf8(output, 'i');
    append_utf8(output, dot_above);
    return;
  }
  append_utf8(output, lowercase_of(code_point));
}

std::string lowercase_text(std::string_view text) {
  std::string output;
  output.reserve(text.size());
  for (std::size_t position = 0; position < text.size();) {
    const Utf8Result character = decode_utf8(text, position);
    if (character.status == Utf8Status::valid) {
      append_lowercase(output, character.code_point);
    } else {
      output.append(text, position, character.length);
    }
    position += character.length;
  }
  return output;
}

std::string replace_matches(std::string_view text, const Expression& expression, std::string_view content) {
  std::string output;
  ExpressionMatcher matcher(expression);
  matcher.start(text);
  std::size_t copied = 0;
  while (const auto match = matcher.next()) {
    output.append(text, copied, match->begin - copied);
    output += content;
    copied = match->end;
  }
  output.append(text, copied, text.size() - copied);
  return output;
}

bool is_white_space(char32_t code_point) {
  return (unicode::class_of(code_point) & (unicode::space | unicode::newline)) != 0;
}

std::string_view without_space(std::string_view text, bool left, bool right) {
  while (left && !text.empty()) {
    const Utf8Result character = decode_utf8(text, 0);
    if (!is_white_space(character.code_point)) break;
    text.remove_prefix(character.length);
  }
  while (right && !text.empty()) {
    if (!is_white_space(character_before(text, text.size()))) break;
    const std::size_t start = start_of_character_before(text, text.size());
    text = text.substr(0, start);
  }
  return text;
}

}  // namespace

std::string replace_text(std::string_view text, std::string_view from, std::string_view to) {
  std::string output;
  std::size_t copied = 0;
  for (std::size_t at = 0; (at = text.find(from, at)) != std::string_view::npos; copied = at) {
    output.append(text, copied, at - copied);
    output += to;
    at += from.size();
  }
  output.append(text, copied, text.size() - copied);
  return output;
}

bool Normalizer::is_nfc() const {
  return steps_.size() == 1 && steps_.front().kind == NormalizerStep::Kind::form &&
         steps_.front().form == NormalizationForm::nfc;
}

bool Normalizer::is_local() const {
  using Kind = NormalizerStep::Kind;
  bool has_form = false;
  bool replaces = false;
  for (const NormalizerStep& step : steps_) {
    has_form = has_form || step.kind == Kind::form;
    if (step.kind == Kind::replace) {
      // A single character, by something: no match spans a cut, and no part becomes empty.
      const bool is_simple =
          !step.literal.empty() && !step.content.empty() && decode_utf8(step.literal, 0).length == step.literal.size();
      if (!is_simple) return false;
      replaces = true;
    }
    if (step.kind == Kind::strip) return false;
  }
  // A form may join what another step puts there.
  return !(has_form && (replaces || prepends()));
}

bool Normalizer::prepends() const {
  return std::ranges::find(steps_, NormalizerStep::Kind::prepend, &NormalizerStep::kind) != steps_.end();
}

std::string Normalizer::apply(std::string_view text, bool continues) const {
  std::string output(text);
  for (const NormalizerStep& step : steps_) {
    switch (step.kind) {
      case NormalizerStep::Kind::form:
        output = normalize(output, step.form);
        break;
      case NormalizerStep::Kind::lowercase:
        output = lowercase_text(output);
        break;
      case NormalizerStep::Kind::prepend:
        if (!continues && !output.empty()) output.insert(0, step.content);
        break;
      case NormalizerStep::Kind::replace:
        output = step.expression ? replace_matches(output, *step.expression, step.content)
                                 : replace_text(output, step.literal, step.content);
        break;
      case NormalizerStep::Kind::strip:
        output = std::string(without_space(output, step.strips_left, step.strips_right));
        break;
    }
  }
  return output;
}

}  // namespace mslt
