// Arguments as they are typed into a shell.
#pragma once

#include <string>
#include <string_view>

namespace mslt::cli {

// `argument` as one word of bash, zsh or ksh: unchanged where nothing in it means something to a shell, otherwise in
// single quotes; in $'...' where it holds control characters or bytes that are not UTF-8. A leading dash is kept from
// being read as an option by "./" before it; so `argument` should be a path or a text that does not begin with one.
std::string shell_quote(std::string_view argument);

}  // namespace mslt::cli
