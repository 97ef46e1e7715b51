// Standard input as a stream that reports why a read failed.
#pragma once

#include <istream>
#include <streambuf>
#include <string>
#include <vector>

namespace mslt::cli {

// Reads a descriptor, even if it is non-blocking or signals interrupt it. If it cannot be read, reading throws
// Error(io) with the reason. One thread at a time.
class InputBuffer : public std::streambuf {
 public:
  // `is_closed`: the descriptor was closed when the program started, so reading fails.
  InputBuffer(int descriptor, bool is_closed);

 protected:
  int_type underflow() override;

 private:
  int descriptor_;
  bool is_closed_;
  std::vector<char> buffer_;
};

// The stream of such a buffer; throws the exceptions of its buffer.
class InputStream : public std::istream {
 public:
  InputStream(int descriptor, bool is_closed);

 private:
  InputBuffer buffer_;
};

// Everything up to the end of the input. Throws as InputBuffer does.
std::string read_all(std::istream& in);

}  // namespace mslt::cli
