// From files to checked kernels: what main() and the tests call.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "mslc/diagnostics.h"
#include "mslc/kernels.h"
#include "mslc/source.h"
#include "mslc/syntax.h"

namespace mslt::mslc {

// One .metal file, read and checked.
struct CheckedUnit {
  Syntax syntax;
  std::vector<KernelEntry> entries;  // point into `syntax`
};

// Reads units and checks each against the rules. One thread at a time.
class FrontEnd {
 public:
  FrontEnd(std::filesystem::path root, std::filesystem::path kernels) : sources_(std::move(root), std::move(kernels)) {}

  // Throws Error(io) if the file cannot be read.
  void add_file(const std::filesystem::path& path) { add(sources_.load(path, diagnostics_)); }
  void add_text(std::string_view text, std::string_view file) { add(sources_.load_text(text, file, diagnostics_)); }
  // Checks rules across units. Call once, after the last unit was added.
  void finish();

  const Diagnostics& diagnostics() const { return diagnostics_; }
  const Sources& sources() const { return sources_; }
  const std::vector<std::unique_ptr<CheckedUnit>>& units() const { return units_; }
  std::vector<const Syntax*> syntaxes() const;
  std::vector<KernelEntry> entries() const;

 private:
  void add(Unit unit);

  Sources sources_;
  Diagnostics diagnostics_;
  std::vector<std::unique_ptr<CheckedUnit>> units_;
};

}  // namespace mslt::mslc
