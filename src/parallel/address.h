// Where the processes of a run find each other without MPI: at an address, or through a file.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace mslt {

// Where rank 0 listens. Unless the host is this machine's own loopback ("localhost", "127.0.0.1", "::1"), it and the
// other ranks listen on all of their addresses.
struct Address {
  std::string host;
  std::uint16_t port = 0;
};

// "HOST:PORT" or "[HOST]:PORT"; nothing where the text is neither.
std::optional<Address> address_from(std::string_view text);
// Its inverse.
std::string text_of(const Address& address);
// Whether a host, or a numeric address, is this machine's own loopback.
bool is_loopback(const std::string& host);

struct Rendezvous {
  int rank = 0;
  int size = 1;
  Address address;
  // Of rank 0: a socket that listens at the address already, whose owner closes it; -1 for none.
  int listener = -1;
  // Instead of the address: rank 0 listens on a port that the system chooses and writes its host, port and a token into
  // this file, which all ranks see and only their user can read. It removes the file when all have come.
  std::filesystem::path file;
  bool on_one_host = false;  // with a file: all processes run on this host, and listen on loopback only
  // Who tells another token is not let in: at most 127 bytes. With a file, the token is that in the file.
  std::string token;
  std::chrono::milliseconds patience{120'000};       // for the other ranks to come
  std::chrono::milliseconds patience_of_try{5'000};  // of another rank with rank 0, before it looks for it anew
  // Called ten times a second while this rank waits for others, if set; what it throws ends the wait.
  std::function<void()> look = {};
  // Told who is awaited, in one sentence, after `quiet` and then every ten seconds, if set.
  std::function<void(const std::string&)> tell = {};
  std::chrono::milliseconds quiet{2'000};
};

}  // namespace mslt
