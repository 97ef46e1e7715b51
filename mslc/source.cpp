// Reading files and splicing includes.
#include "mslc/source.h"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "base/file.h"
#include "mslc/lexer.h"

namespace mslt::mslc {
namespace {

constexpr std::uint64_t max_source_bytes = 8U << 20U;

// The operand of `#include`, with its quotes or brackets; none for other directives.
std::optional<std::string_view> included_name(std::string_view directive) {
  directive.remove_prefix(1);
  directive.remove_prefix(std::min(directive.find_first_not_of(" \t"), directive.size()));
  if (!directive.starts_with("include")) {
    return std::nullopt;
  }
  directive.remove_prefix(7);
  directive.remove_prefix(std::min(directive.find_first_not_of(" \t"), directive.size()));
  const std::size_t end = directive.find_last_not_of(" \t\r");
  return directive.substr(0, end == std::string_view::npos ? 0 : end + 1);
}

}  // namespace

Sources::Sources(std::filesystem::path root, std::filesystem::path kernels)
    : root_(std::move(root)), kernels_(std::move(kernels)) {}

const Sources::File& Sources::read(const std::filesystem::path& path, Diagnostics& diagnostics) {
  const std::filesystem::path key = std::filesystem::weakly_canonical(path);
  const auto known = files_.find(key);
  if (known != files_.end()) {
    return known->second;
  }
  std::string text = read_file(key, max_source_bytes);
  File& file = files_[key];
  file.name = key.lexically_relative(std::filesystem::weakly_canonical(root_)).generic_string();
  if (file.name.empty() || file.name.starts_with("..")) {
    file.name = path.generic_string();
  }
  file.text = std::move(text);
  file.tokens = lex(file.text, file.name, diagnostics);
  return file;
}

void Sources::splice(const File& file, const std::filesystem::path& folder, std::vector<std::filesystem::path>& seen,
                     std::vector<Token>& tokens, Diagnostics& diagnostics) {
  for (const Token& token : file.tokens) {
    const std::optional<std::string_view> name =
        token.kind == TokenKind::directive ? included_name(token.text) : std::nullopt;
    if (!name) {
      tokens.push_back(token);
      continue;
    }
    const bool quoted = name->size() > 2 && name->front() == '"' && name->back() == '"';
    const bool bracketed = name->size() > 2 && name->front() == '<' && name->back() == '>';
    if (bracketed) {
      continue;
    }
    if (!quoted) {
      diagnostics.error(token.at, "cannot read this include; write #include \"file.h\" or #include <metal_stdlib>");
      continue;
    }
    const std::string_view wanted = name->substr(1, name->size() - 2);
    std::filesystem::path path = folder / wanted;
    if (!std::filesystem::is_regular_file(path)) {
      path = kernels_ / wanted;
    }
    if (!std::filesystem::is_regular_file(path)) {
      diagnostics.error(token.at, "no file '{}' next to this one or in the kernels folder", wanted);
      continue;
    }
    path = std::filesystem::weakly_canonical(path);
    if (std::find(seen.begin(), seen.end(), path) != seen.end()) {
      continue;
    }
    seen.push_back(path);
    splice(read(path, diagnostics), path.parent_path(), seen, tokens, diagnostics);
  }
}

Unit Sources::finish(const File& file, const std::filesystem::path& folder, std::vector<std::filesystem::path> seen,
                     Diagnostics& diagnostics) {
  Unit unit;
  unit.file = file.name;
  unit.name = std::filesystem::path(file.name).stem().string();
  splice(file, folder, seen, unit.tokens, diagnostics);
  Token end;
  end.at = unit.tokens.empty() ? Location{unit.file, 1, 1} : unit.tokens.back().at;
  end.space_before = true;
  unit.tokens.push_back(end);
  return unit;
}

Unit Sources::load(const std::filesystem::path& path, Diagnostics& diagnostics) {
  const File& file = read(path, diagnostics);
  const std::filesystem::path canonical = std::filesystem::weakly_canonical(path);
  return finish(file, canonical.parent_path(), {canonical}, diagnostics);
}

Unit Sources::load_text(std::string_view text, std::string_view file, Diagnostics& diagnostics) {
  File& stored = texts_.emplace_back(File{std::string(file), std::string(text), {}});
  stored.tokens = lex(stored.text, stored.name, diagnostics);
  return finish(stored, kernels_, {}, diagnostics);
}

std::vector<std::filesystem::path> Sources::files() const {
  std::vector<std::filesystem::path> paths;
  for (const auto& [path, file] : files_) {
    paths.push_back(path);
  }
  return paths;
}

}  // namespace mslt::mslc
