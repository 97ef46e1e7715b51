// Standard input as a stream that knows why a read failed.
#pragma once

#include <istream>
#include <streambuf>
#include <string>
#include <vector>

namespace mslt::cli {

// Reads a descriptor, also where that does not block or is interrupted by signals. Where it cannot be read, reading
// throws Error(io) that says why. One thread at a time.
class InputBuffer : public std::streambuf {
 public:
  // `is_closed`: the descriptor was closed when the program started, so that reading is a failure.
  InputBuffer(int descriptor, bool is_closed);

 protected:
  int_type underflow() override;

 private:
  int descriptor_;
  bool is_closed_;
  std::vector<char> buffer_;
};

// The stream of such a buffer, which throws what its buffer throws.
class InputStream : public std::istream {
 public:
  InputStream(int descriptor, bool is_closed);

 private:
  InputBuffer buffer_;
};

// Everything up to the end of the input. Throws what InputBuffer throws.
std::string read_all(std::istream& in);

}  // namespace mslt::cli
