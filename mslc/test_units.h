// MSL texts for tests, with the front end's diagnostics.
#pragma once

#include <string>
#include <string_view>

#include "mslc/front_end.h"

namespace mslt::mslc {

// A kernel `k` with one buffer and a thread index that contains these statements.
inline std::string in_kernel(std::string_view statements) {
  return "kernel void k(device float* x [[buffer(0)]], uint i [[thread_position_in_grid]]) {\n" +
         std::string(statements) + "\n}\n";
}

// The front end's diagnostics for one file named t.metal; empty if it follows all rules.
inline std::string diagnostics_of(std::string_view text) {
  FrontEnd front_end("/", "/nonexistent");
  front_end.add_text(text, "t.metal");
  front_end.finish();
  return front_end.diagnostics().text();
}

}  // namespace mslt::mslc
