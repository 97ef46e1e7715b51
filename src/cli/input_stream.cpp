// Reading a descriptor to its end.
#include "cli/input_stream.h"

#include <poll.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstddef>

#include "base/fail.h"
#include "base/system_error.h"

namespace mslt::cli {
namespace {

constexpr std::size_t buffer_bytes = std::size_t{1} << 16;

[[noreturn]] void fail_read(int error) {
  if (error == EISDIR) {
    fail(ErrorKind::io, "Cannot read standard input: it is a folder. Redirect or pipe a text into the command.");
  }
  if (error == EBADF) {
    fail(ErrorKind::io, "Standard input is closed or not open for reading. Redirect or pipe a text into the command.");
  }
  fail(ErrorKind::io, "Cannot read standard input: {}.", explain_errno(error));
}

}  // namespace

InputBuffer::InputBuffer(int descriptor, bool is_closed)
    : descriptor_(descriptor), is_closed_(is_closed), buffer_(buffer_bytes) {}

InputBuffer::int_type InputBuffer::underflow() {
  if (is_closed_) fail_read(EBADF);
  while (true) {
    const ssize_t count = ::read(descriptor_, buffer_.data(), buffer_.size());
    if (count == 0) return traits_type::eof();
    if (count > 0) {
      setg(buffer_.data(), buffer_.data(), buffer_.data() + count);
      return traits_type::to_int_type(*gptr());
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd ready{descriptor_, POLLIN, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      fail_read(errno);
    }
  }
}

InputStream::InputStream(int descriptor, bool is_closed) : std::istream(nullptr), buffer_(descriptor, is_closed) {
  rdbuf(&buffer_);
  exceptions(std::ios::badbit);
}

std::string read_all(std::istream& in) {
  std::string text;
  std::array<char, std::size_t{1} << 14> block{};
  // Reads from the buffer directly: a stream would turn its exceptions into a bit.
  while (const std::streamsize count = in.rdbuf()->sgetn(block.data(), block.size())) {
    text.append(block.data(), static_cast<std::size_t>(count));
  }
  return text;
}

}  // namespace mslt::cli
