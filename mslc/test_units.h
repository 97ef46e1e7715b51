// MSL texts for tests: what the front end says of them.
#pragma once

#include <string>
#include <string_view>

#include "mslc/front_end.h"

namespace mslt::mslc {

// A kernel `k` with one buffer and a thread index around these statements.
inline std::string in_kernel(std::string_view statements) {
  return "kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {\n" +
         std::string(statements) + "\n}\n";
}

// The front end's diagnostics of one file named t.metal; empty where it keeps all rules.
inline std::string diagnostics_of(std::string_view text) {
  FrontEnd front_end("/", "/nonexistent");
  front_end.add_text(text, "t.metal");
  front_end.finish();
  return front_end.diagnostics().text();
}

}  // namespace mslt::mslc
