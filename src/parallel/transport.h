// How the processes of a training exchange bytes: what a Communicator is built on.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>

#include "mslt/error.h"

namespace mslt {

// Bytes for another rank, and bytes expected from one. The memory must stay until the exchange is done.
struct Outgoing {
  int to = 0;
  std::span<const std::byte> bytes;
};
struct Incoming {
  int from = 0;
  std::span<std::byte> bytes;  // as many as the other rank sends
};

// Why a run on several processes ends: what the first process that failed, or was missed, said or did.
struct PeerFailure {
  int rank = 0;
  ErrorKind kind = ErrorKind::device;
  std::string reason;  // one or more sentences, without rank and host
};

// The processes of a training, numbered from 0. One thread at a time exchanges; another one may tell and ask of
// failures meanwhile.
class Transport {
 public:
  Transport() = default;
  Transport(const Transport&) = delete;
  Transport& operator=(const Transport&) = delete;
  virtual ~Transport() = default;

  virtual int rank() const = 0;
  virtual int size() const = 0;
  // The host that a rank runs on, for messages.
  virtual std::string host(int rank) const = 0;

  // Sends and receives; returns when all of it is done. Messages between two ranks arrive in the order of the calls,
  // and within a call in the order of the list; each has fewer than 2³¹ bytes. Throws Error where another rank has
  // failed, has ended, or gives no sign of life for too long; the message names rank, host and reason.
  virtual void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) = 0;

  // Tells the other ranks that this one ends because of an error: their exchanges throw it. Does nothing where they
  // know of a failure already. An exchange of this process ends with an error then. Throws nothing.
  virtual void tell_failure(ErrorKind kind, const std::string& reason) noexcept = 0;
  // The failure of another rank that this one has learnt of.
  virtual std::optional<PeerFailure> failure() const = 0;
};

}  // namespace mslt
