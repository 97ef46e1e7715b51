// The look that all HTML reports share.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mslt {

using HtmlRows = std::vector<std::pair<std::string, std::string>>;

// A page without external resources or scripts, up to where its content begins; it follows the reader's light or dark
// preference, and prints. `more_style` is CSS behind that of all pages.
std::string html_page_begin(std::string_view title, std::string_view more_style = {});
std::string html_page_end();

// Names and values. Both are escaped.
std::string html_table(const HtmlRows& rows);
// A box; the title is escaped, the body is HTML.
std::string html_panel(std::string_view title, const std::string& body);
// A number and what it says, both escaped, for the boxes in a <div class="figures">.
std::string html_figure(const std::string& value, std::string_view label);

}  // namespace mslt
