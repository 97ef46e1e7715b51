// Standard output and standard error as streams that know why a write failed.
#pragma once

#include <cstddef>
#include <exception>
#include <iosfwd>
#include <ostream>
#include <streambuf>
#include <string_view>
#include <vector>

namespace mslt::cli {

// Thrown where the reader of standard output has gone. Not an Error: nothing failed, and the program ends quietly.
class OutputClosed : public std::exception {
 public:
  const char* what() const noexcept override { return "Standard output is closed by its reader."; }
};

// What becomes of bytes that cannot be written: an exception, or nothing at all.
enum class WriteFailure { raise, ignore };

// Buffers bytes and writes them to a descriptor, also where that takes them piecemeal, is interrupted by signals, or
// does not block. With WriteFailure::raise, whatever makes it write throws Error(io) that says why standard output
// cannot be written, or OutputClosed; the bytes are lost, and every later write or flush throws again. One thread at a
// time.
class OutputBuffer : public std::streambuf {
 public:
  // `is_closed`: the descriptor was closed when the program started, so that writing is a failure.
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
  int error_ = 0;  // of the first failure, where failures are raised
  std::vector<char> buffer_;
};

// The stream of such a buffer. Where failures are raised, the stream throws what its buffer throws.
class OutputStream : public std::ostream {
 public:
  OutputStream(int descriptor, WriteFailure failure, bool is_closed);

 private:
  OutputBuffer buffer_;
};

// Writes whatever `out` still holds. Throws what OutputBuffer throws, and Error(io) for a stream of another kind that
// failed.
void finish_output(std::ostream& out);

}  // namespace mslt::cli
