// How the processes of a run find each other without MPI: at an address, or through a file.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/peer_watch.h"

namespace mslt {

// Where rank 0 listens. Unless the host is this machine's own loopback ("localhost", "127.0.0.1", "::1"), it and the
// other ranks listen on all of their addresses.
struct Address {
  std::string host;
  std::uint16_t port = 0;
};

// "HOST:PORT" or "[HOST]:PORT"; nothing where the text is neither.
std::optional<Address> address_from(std::string_view text);

struct Rendezvous {
  int rank = 0;
  int size = 1;
  // Where the address is empty, rank 0 listens on a port that the system chooses and writes its host, port and a token
  // into this file, which all ranks see and only their user can read. It removes the file when all have come.
  Address address;
  std::filesystem::path file;
  bool on_one_host = false;  // with a file: all processes run on this host, and listen on loopback only
  // Who tells another token is not let in: at most 127 bytes. With a file, that token comes first.
  std::string token;
  std::chrono::milliseconds patience{120'000};  // for the other ranks to come
};

// The connections of a rank, in the order of ranks; its own are not open.
struct Party {
  std::vector<Identity> identities;
  std::vector<boost::asio::ip::tcp::socket> data;
  std::vector<boost::asio::ip::tcp::socket> news;
};

// Connects all ranks with each other; returns when this one is connected with all. The sockets of data belong to
// `data`, those of news to `news`. Throws Error(usage) for an address that cannot be, Error(io) that says who was not
// reached or did not come, and why.
Party meet(const Rendezvous& rendezvous, boost::asio::io_context& data, boost::asio::io_context& news);

}  // namespace mslt
