// Connecting the processes of a run with each other.
#pragma once

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <vector>

#include "parallel/address.h"
#include "parallel/peer_watch.h"

namespace mslt {

// The connections of a rank, in the order of ranks; its own are not open.
struct Party {
  std::vector<Identity> identities;
  std::vector<boost::asio::ip::tcp::socket> data;
  std::vector<boost::asio::ip::tcp::socket> news;
};

// Connects all ranks with each other; returns when this one is connected with all. The sockets of data belong to
// `data`, those of news to `news`. Throws what make_tcp_transport throws.
Party meet(const Rendezvous& rendezvous, boost::asio::io_context& data, boost::asio::io_context& news);

}  // namespace mslt
