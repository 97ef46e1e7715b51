// Reading the messages of Apple's compiler about the kernels.
#pragma once

#include <string>
#include <string_view>

namespace mslt::msl::metal {

// The errors of a compiler's log for `source`, each line naming its .metal file and line according to the #line
// directives of `source`. Line numbers of the whole text ("program_source:1234:5:") are translated. Warnings and notes
// are dropped; a log without errors is returned whole. At most `most` errors, then the number of further ones.
std::string compile_errors(std::string_view log, std::string_view source, std::size_t most = 8);

}  // namespace mslt::msl::metal
