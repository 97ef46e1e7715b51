// The processes of a run that meet by TCP, without MPI.
#pragma once

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "parallel/address.h"
#include "parallel/transport.h"

namespace mslt {

// Meets the other ranks and keeps two connections with each: one for data, one for news. Every rank tells the others
// every few seconds that it lives, on a thread of its own. An exchange ends with an Error where a rank has told of a
// failure, its connection has ended, or it has not been heard of for `patience`. The destructor waits for the other
// ranks, unless there was a failure. Throws Error(usage) for an address that cannot be, Error(io) that says who was not
// reached or did not come, and why. What is exchanged is not encrypted.
std::unique_ptr<Transport> make_tcp_transport(const Rendezvous& rendezvous, std::chrono::milliseconds patience);

}  // namespace mslt
