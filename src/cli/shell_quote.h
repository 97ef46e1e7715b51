// Arguments in the form in which they are typed into a shell.
#pragma once

#include <string>
#include <string_view>

namespace mslt::cli {

// `argument` as one word of bash, zsh or ksh: unchanged if nothing in it is special to a shell, otherwise in single
// quotes; in $'...' if it contains control characters or bytes that are not UTF-8. "./" before a leading dash keeps it
// from being read as an option; so `argument` should be a path, or a text that does not begin with a dash.
std::string shell_quote(std::string_view argument);

}  // namespace mslt::cli
