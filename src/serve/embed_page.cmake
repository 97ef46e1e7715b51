# Writes a C++ source with the bytes of the web page: cmake -DPAGE=page.html -DSOURCE=page_source.cpp -P embed_page.cmake
file(READ ${PAGE} bytes HEX)
string(REGEX REPLACE "(................................)" "\\1\n" bytes "${bytes}")
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1, " bytes "${bytes}")
file(WRITE ${SOURCE} "// The bytes of page.html; written by the build.
#include \"serve/page.h\"

namespace mslt::serve {
namespace {

constexpr unsigned char bytes[] = {
${bytes}};

}  // namespace

std::string_view page_source() {
  return {reinterpret_cast<const char*>(bytes), sizeof bytes};
}

}  // namespace mslt::serve
")
