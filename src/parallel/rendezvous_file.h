// The file through which rank 0 tells the other ranks where it listens.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

#include "parallel/address.h"

namespace mslt {

// Where rank 0 is, and what it lets in.
struct Place {
  Address address;
  std::string token;
};

// A token that nobody guesses.
std::string random_token();

// What the file says; nothing where it is not there or is no such file.
std::optional<Place> read_place(const std::filesystem::path& file);

// Written by rank 0 and removed by the destructor, unless another run's stands there by then. Only its user can read
// it.
class RendezvousFile {
 public:
  // Replaces one of a run before. Throws Error(usage) where another file stands there, Error(io) where it cannot be
  // written.
  RendezvousFile(std::filesystem::path path, const Place& place);
  RendezvousFile(const RendezvousFile&) = delete;
  RendezvousFile& operator=(const RendezvousFile&) = delete;
  ~RendezvousFile();

 private:
  std::filesystem::path path_;
  std::string text_;
};

}  // namespace mslt
