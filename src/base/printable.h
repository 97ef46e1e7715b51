// Untrusted text made safe for a terminal.
#pragma once

#include <string>
#include <string_view>

namespace mslt {

// `text` with escapes for everything that does not belong in a line of a message: bytes that are not UTF-8 and control
// characters as \xNN, line feeds as \n, tabs as \t, and characters that change the direction of text as \u{NNNN}. The
// result is valid UTF-8. Pure.
std::string printable(std::string_view text);

// The same for a message of several lines: keeps line feeds.
std::string printable_lines(std::string_view text);

// `text` itself if it is UTF-8, so JSON can hold it; otherwise printable(text).
std::string utf8_text(std::string_view text);

}  // namespace mslt
