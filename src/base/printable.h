// Text from outside as it may be shown on a terminal.
#pragma once

#include <string>
#include <string_view>

namespace mslt {

// `text` with what does not belong in a line of a message written out: bytes that are not UTF-8 and control characters
// as \xNN, line feeds as \n, tabs as \t, and characters that turn the direction of the text around as \u{NNNN}. The
// result is valid UTF-8. Pure.
std::string printable(std::string_view text);

// The same for a message of several lines: line feeds stay.
std::string printable_lines(std::string_view text);

// `text` itself where it is UTF-8, so that JSON can hold it; otherwise printable(text).
std::string utf8_text(std::string_view text);

}  // namespace mslt
