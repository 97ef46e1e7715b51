// The web page that the server shows at /.
#pragma once

#include <string>
#include <string_view>

namespace mslt::serve {

// The bytes of page.html. Each {{nonce}} in it stands for the number that its scripts and styles must carry.
std::string_view page_source();

// The page with `nonce` in its place.
std::string page_with_nonce(std::string_view nonce);

// The Content-Security-Policy under which the page runs: its own script and style, and requests to this server.
std::string page_policy(std::string_view nonce);

}  // namespace mslt::serve
