// The text for Apple's compiler.
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <set>

#include "backend/msl/kernel_source.h"
#include "mslc/emit.h"
#include "mslc/rewrite.h"

namespace mslt::mslc {
namespace {

constexpr std::size_t max_literal = 16000;  // compilers may reject string literals over 65,536 characters

}  // namespace

std::string metal_text(const std::vector<const Syntax*>& units) {
  // Even without fast math, Apple's compiler contracts products and sums; only the pragma prevents it.
  std::string text = "#include <metal_stdlib>\n#pragma METAL fp contract(off)\nusing namespace metal;\n";
  std::set<std::string_view> written;
  for (const Syntax* syntax : units) {
    Rewrite rewrite(*syntax);
    std::set<std::string_view> here;
    for (std::size_t i = 0; i + 1 < syntax->unit.tokens.size(); ++i) {
      const Token& token = syntax->token(i);
      here.insert(token.at.file);
      const bool pragma_once = token.kind == TokenKind::directive && !is_unroll(token);
      if (written.contains(token.at.file) || pragma_once) {
        rewrite.drop(i);
      } else if (is_unroll(token)) {
        // Apple's compiler accepts both spellings; this one demands complete unrolling.
        rewrite.replace(i, "#pragma clang loop unroll(full)");
      }
    }
    for (const Instantiation& instantiation : syntax->instantiations) {
      std::string arguments;
      for (const Range argument : instantiation.arguments) {
        arguments += (arguments.empty() ? "" : ", ") + syntax->text(argument);
      }
      rewrite.drop(instantiation.whole);
      rewrite.before(instantiation.whole.begin,
                     fmt::format("template [[host_name(\"{0}\")]] kernel decltype({1}<{2}>) {1}<{2}>;",
                                 instantiation.host_name, instantiation.kernel, arguments));
    }
    written.merge(here);
    text += rewrite.text();
  }
  return text;
}

std::string emit_embed(const std::vector<const Syntax*>& units, const EmitOptions& options) {
  const std::string source = metal_text(units);
  std::string text = generated_notice("the .metal files");
  auto out = std::back_inserter(text);
  text += "#include \"backend/msl/kernel_source.h\"\n\n#include <string>\n\n";
  text += table_namespace("mslt::msl", options);
  text += "namespace {\n\nstd::string join() {\n  std::string text;\n";
  for (std::size_t begin = 0; begin < source.size();) {
    std::size_t end = std::min(source.size(), begin + max_literal);
    if (end < source.size()) {
      end = source.rfind('\n', end) + 1;
    }
    if (end <= begin) {
      end = source.size();
    }
    fmt::format_to(out, "  text += R\"msl({})msl\";\n", source.substr(begin, end - begin));
    begin = end;
  }
  text +=
      "  return text;\n}\n\n}  // namespace\n\nstd::string_view metal_source();\nstd::string_view metal_source() {\n"
      "  static const std::string text = join();\n  return text;\n}\n\n}\n";
  return text;
}

std::string emit_metal(const std::vector<const Syntax*>& units) {
  const std::string source = metal_text(units);
  return fmt::format("{}\nkernel void {}() {{}}\n", source, msl::source_stamp(source));
}

}  // namespace mslt::mslc
