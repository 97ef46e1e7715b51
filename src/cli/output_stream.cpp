// Writing to a descriptor until everything is written.
#include "cli/output_stream.h"

#include <poll.h>
#include <unistd.h>

#include <cerrno>

#include "base/fail.h"
#include "base/system_error.h"

namespace mslt::cli {
namespace {

constexpr std::size_t output_buffer_bytes = std::size_t{1} << 16;

}  // namespace

OutputBuffer::OutputBuffer(int descriptor, WriteFailure failure, bool is_closed)
    : descriptor_(descriptor), failure_(failure), is_closed_(is_closed), buffer_(output_buffer_bytes) {
  setp(buffer_.data(), buffer_.data() + buffer_.size());
}

OutputBuffer::int_type OutputBuffer::overflow(int_type character) {
  write_pending();
  if (!traits_type::eq_int_type(character, traits_type::eof())) sputc(traits_type::to_char_type(character));
  return traits_type::not_eof(character);
}

std::streamsize OutputBuffer::xsputn(const char* text, std::streamsize size) {
  if (size < epptr() - pptr()) return std::streambuf::xsputn(text, size);
  write_pending();
  write(std::string_view(text, static_cast<std::size_t>(size)));
  return size;
}

int OutputBuffer::sync() {
  write_pending();
  return 0;
}

void OutputBuffer::write_pending() {
  raise_failure();
  const std::string_view pending(pbase(), static_cast<std::size_t>(pptr() - pbase()));
  setp(buffer_.data(), buffer_.data() + buffer_.size());
  write(pending);
}

void OutputBuffer::write(std::string_view bytes) {
  if (is_closed_ && !bytes.empty()) return report(EBADF);
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written >= 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
      pollfd ready{descriptor_, POLLOUT, 0};
      ::poll(&ready, 1, -1);
    } else if (errno != EINTR) {
      return report(errno);
    }
  }
}

void OutputBuffer::report(int error) {
  if (failure_ == WriteFailure::ignore) return;
  error_ = error;
  raise_failure();
}

void OutputBuffer::raise_failure() const {
  if (error_ == 0) return;
  if (error_ == EPIPE) throw OutputClosed();
  if (error_ == EBADF) fail(ErrorKind::io, "Cannot write standard output: it is closed or not open for writing.");
  fail(ErrorKind::io, "Cannot write standard output: {}.", explain_errno(error_));
}

OutputStream::OutputStream(int descriptor, WriteFailure failure, bool is_closed)
    : std::ostream(nullptr), buffer_(descriptor, failure, is_closed) {
  rdbuf(&buffer_);
  if (failure == WriteFailure::raise) exceptions(std::ios::badbit);
}

void finish_output(std::ostream& out) {
  // Not out.flush(), which skips a stream that failed before.
  if (out.rdbuf()->pubsync() != 0 || !out) fail(ErrorKind::io, "Cannot write standard output.");
}

}  // namespace mslt::cli
