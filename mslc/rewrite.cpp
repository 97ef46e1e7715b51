// Rewriting of tokens.
#include "mslc/rewrite.h"

#include <fmt/format.h>

#include <iterator>

namespace mslt::mslc {
namespace {

// Jumps of at most this many lines are written as line ends.
constexpr std::uint32_t max_blank_lines = 8;

// Prints tokens, tracking the compiler's current line.
class Printer {
 public:
  void place(const Token& token) {
    const bool jump = token.at.file != file_ || token.at.line < line_ || token.at.line > line_ + max_blank_lines;
    if (jump) {
      text_ += line_start_ ? "" : "\n";
      fmt::format_to(std::back_inserter(text_), "#line {} \"{}\"\n", token.at.line, token.at.file);
      file_ = token.at.file;
      line_ = token.at.line;
      line_start_ = true;
    }
    for (; line_ < token.at.line; ++line_) {
      text_ += '\n';
      line_start_ = true;
    }
    if (line_start_) {
      text_.append(token.at.column - 1, ' ');
    } else if (token.space_before) {
      text_ += ' ';
    }
    line_start_ = false;
  }
  void print(std::string_view text) {
    text_ += text;
    // Directives and comments are never printed here, so line ends only occur in a spliced line.
    for (const char c : text) {
      line_ += c == '\n' ? 1 : 0;
    }
  }
  std::string take() {
    text_ += line_start_ ? "" : "\n";
    return std::move(text_);
  }

 private:
  std::string text_;
  std::string_view file_;
  std::uint32_t line_ = 0;
  bool line_start_ = true;
};

// half and bfloat literals have suffixes unknown to C++.
std::string converted_literal(std::string_view text) {
  const bool hexadecimal = text.starts_with("0x") || text.starts_with("0X");
  if (!hexadecimal && (text.ends_with("bf") || text.ends_with("BF"))) {
    return fmt::format("bfloat({}f)", text.substr(0, text.size() - 2));
  }
  if (text.ends_with('h') || text.ends_with('H')) {
    return fmt::format("half({}f)", text.substr(0, text.size() - 1));
  }
  return {};
}

}  // namespace

Rewrite::Rewrite(const Syntax& syntax) : syntax_(syntax), edits_(syntax.unit.tokens.size()) {}

void Rewrite::drop(Range range) {
  for (std::size_t i = range.begin; i < range.end; ++i) {
    drop(i);
  }
}

void Rewrite::replace(std::size_t index, std::string text) {
  edits_[index].replaced = true;
  edits_[index].replacement = std::move(text);
}

std::string Rewrite::text() const {
  Printer printer;
  for (std::size_t i = 0; i + 1 < edits_.size(); ++i) {
    const Token& token = syntax_.token(i);
    const Edit& edit = edits_[i];
    if (edit.dropped && edit.before.empty() && edit.after.empty()) {
      continue;
    }
    printer.place(token);
    printer.print(edit.before);
    if (!edit.dropped) {
      printer.print(edit.replaced ? std::string_view(edit.replacement) : token.text);
    }
    printer.print(edit.after);
  }
  return printer.take();
}

bool is_unroll(const Token& token) {
  return token.kind == TokenKind::directive && token.text.find("unroll") != std::string_view::npos;
}

void rewrite_common(const Syntax& syntax, Rewrite& rewrite) {
  const Unit& unit = syntax.unit;
  for (std::size_t i = 0; i + 1 < unit.tokens.size(); ++i) {
    const Token& token = unit.token(i);
    if (token.kind == TokenKind::directive || token.is("kernel")) {
      rewrite.drop(i);
    } else if (token.kind == TokenKind::floating) {
      if (std::string text = converted_literal(token.text); !text.empty()) {
        rewrite.replace(i, std::move(text));
      }
    }
  }
  for (const Range attribute : syntax.attributes) {
    rewrite.drop(attribute);
  }
  for (const Range declaration : syntax.usings) {
    if (unit.token(declaration.begin + 1).is("namespace") && unit.token(declaration.begin + 2).is("metal")) {
      rewrite.drop(declaration);
    }
  }
  for (const Instantiation& instantiation : syntax.instantiations) {
    rewrite.drop(instantiation.whole);
  }
}

void drop_address_spaces(const Syntax& syntax, Rewrite& rewrite) {
  const Unit& unit = syntax.unit;
  const auto in_declaration = [&](std::size_t i) {
    const Token& token = unit.token(i);
    return token.is_name() || token.is("::");
  };
  for (std::size_t i = 0; i + 1 < unit.tokens.size(); ++i) {
    const Token& token = unit.token(i);
    if (token.is("device") || token.is("threadgroup") || token.is("thread")) {
      rewrite.drop(i);
    } else if (token.is("constant")) {
      bool is_const = false;
      for (std::size_t k = i + 1; k + 1 < unit.tokens.size() && in_declaration(k); ++k) {
        is_const = is_const || unit.token(k).is("const");
      }
      for (std::size_t k = i; k > 0 && in_declaration(k - 1); --k) {
        is_const = is_const || unit.token(k - 1).is("const");
      }
      if (is_const) {
        rewrite.drop(i);
      } else {
        rewrite.replace(i, "const");
      }
    }
  }
}

}  // namespace mslt::mslc
