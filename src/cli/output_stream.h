// Standard output and standard error as streams that report why a write failed.
#pragma once

#include <cstddef>
#include <exception>
#include <iosfwd>
#include <ostream>
#include <streambuf>
#include <string_view>
#include <vector>

namespace mslt::cli {

// Thrown if the reader of standard output closed it. Not an Error: nothing failed, and the program ends quietly.
class OutputClosed : public std::exception {
 public:
  const char* what() const noexcept override { return "Standard output is closed by its reader."; }
};

// What happens to bytes that cannot be written: an exception, or nothing.
enum class WriteFailure { raise, ignore };

// Buffers bytes and writes them to a descriptor, even if it accepts them piecemeal, is non-blocking, or signals
// interrupt it. With WriteFailure::raise, a failed write throws Error(io) with the reason, or OutputClosed; the bytes
// are lost, and every later write or flush throws again. One thread at a time.
class OutputBuffer : public std::streambuf {
 public:
  // `is_closed`: the descriptor was closed when the program started, so writing fails.
  OutputBuffer(int descriptor, WriteFailure failure, bool is_closed);

 protected:
  int_type overflow(int_type character) override;
  std::streamsize xsputn(const char* text, std::streamsize size) override;
  int sync() override;

 private:
  void write_pending();
  void write(std::string_view bytes);
  void report(int error);
  void raise_failure() const;

  int descriptor_;
  WriteFailure failure_;
  bool is_closed_;
  int error_ = 0;  // of the first failure, if failures are raised
  std::vector<char> buffer_;
};

// The stream of such a buffer. If failures are raised, it throws the exceptions of its buffer.
class OutputStream : public std::ostream {
 public:
  OutputStream(int descriptor, WriteFailure failure, bool is_closed);

 private:
  OutputBuffer buffer_;
};

// Writes the buffered rest of `out`. Throws as OutputBuffer does, and Error(io) for a failed stream of another kind.
void finish_output(std::ostream& out);

}  // namespace mslt::cli
