// Reading what Apple's compiler says of the kernels.
#pragma once

#include <string>
#include <string_view>

namespace mslt::msl::metal {

// The errors of a compiler's log over `source`, each line naming its .metal file and line as the #line directives of
// `source` have it; where the log counts lines of the whole text ("program_source:1234:5:") they are looked up.
// Warnings and notes go; a log without errors is given whole. At most `most` errors, then how many more there are.
std::string compile_errors(std::string_view log, std::string_view source, std::size_t most = 8);

}  // namespace mslt::msl::metal
