// Fuzzes mslc: any text is either diagnosed with a position inside it, or translated by every emitter.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "mslc/emit.h"
#include "mslc/front_end.h"
#include "mslt/error.h"

namespace {

void require(bool condition) {
  if (!condition) {
    std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  try {
    // Quoted includes are searched in a folder that does not exist.
    mslt::mslc::FrontEnd front_end("/nonexistent", "/nonexistent/kernels");
    front_end.add_text(text, "fuzz.metal");
    front_end.finish();
    if (!front_end.diagnostics().empty()) {
      require(!front_end.diagnostics().text().empty());
      return 0;
    }
    const mslt::mslc::EmitOptions options;
    require(!mslt::mslc::emit_metadata(front_end.entries(), options).empty());
    require(!mslt::mslc::emit_embed(front_end.syntaxes(), options).empty());
    for (const auto& unit : front_end.units()) {
      require(!mslt::mslc::emit_host(unit->syntax, unit->entries, options).empty());
      require(!mslt::mslc::emit_cuda(unit->syntax, unit->entries, options).empty());
      require(!mslt::mslc::emit_clcpp(unit->syntax, unit->entries, options).empty());
    }
  } catch (const mslt::Error& error) {
    require(error.kind() == mslt::ErrorKind::input || error.kind() == mslt::ErrorKind::io);
  }
  return 0;
}
