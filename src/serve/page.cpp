// Filling in the page.
#include "serve/page.h"

#include <fmt/format.h>

namespace mslt::serve {

std::string page_with_nonce(std::string_view nonce) {
  constexpr std::string_view place = "{{nonce}}";
  const std::string_view source = page_source();
  std::string page;
  std::size_t from = 0;
  for (std::size_t at = source.find(place); at != std::string_view::npos; at = source.find(place, from)) {
    page += source.substr(from, at - from);
    page += nonce;
    from = at + place.size();
  }
  page += source.substr(from);
  return page;
}

std::string page_policy(std::string_view nonce) {
  return fmt::format(
      "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; img-src data:; "
      "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
      nonce);
}

}  // namespace mslt::serve
