// What a rank knows of the others' lives: who they are, signs of life, and the first failure. Shared by transports.
#pragma once

#include <array>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/transport.h"

namespace mslt {

// Who a rank is, as the others are told; trivially copyable.
struct Identity {
  std::array<char, 256> host{};
  std::array<char, 64> processes{};  // in which process ids have the same meaning; empty where that is unknown
  std::int64_t process = 0;

  static Identity own();
};

// What ranks tell each other beside the data.
enum class News : std::uint8_t { alive, failed, leaving };

// The text of News::failed.
std::string failure_text(ErrorKind kind, std::string_view reason);

// One thread at a time.
class PeerWatch {
 public:
  using Clock = std::chrono::steady_clock;

  // A rank that has not been heard of for `patience` counts as hanging.
  PeerWatch(int rank, std::vector<Identity> identities, std::chrono::milliseconds patience);

  int rank() const { return rank_; }
  int size() const { return static_cast<int>(identities_.size()); }
  std::string host(int rank) const { return identities_.at(static_cast<std::size_t>(rank)).host.data(); }
  // How often a rank tells that it lives.
  std::chrono::milliseconds pace() const;

  // Takes in what another rank tells; `text` is that of failure_text where it failed.
  void hear(int from, News news, std::string_view text);
  // The connection to a rank has ended; after its leave that is as it should be.
  void lose(int other);
  // Looks, ten times a second, whether processes of this host have ended.
  void look();
  // Takes a rank that was silent for too long as hanging.
  void miss(int other);
  // The same for all that have not left. To be called at the pace; after a longer pause, in which this process stood
  // still itself and heard nobody, all get their time anew.
  void miss_all();
  void set_failure(int rank, ErrorKind kind, std::string reason);

  bool has_left(int other) const { return peers_[static_cast<std::size_t>(other)].has_left; }
  bool have_all_left() const;
  const std::optional<PeerFailure>& failure() const { return failure_; }
  // Throws the failure as an Error, if there is one.
  void throw_failure() const;
  // The same once messages sent before the failure have had time to arrive: where all ranks find the same fault, each
  // finds it itself.
  void throw_settled_failure() const;

 private:
  struct Peer {
    Clock::time_point heard;
    bool is_here = false;  // a process of this host, which can be looked at
    bool has_left = false;
  };

  int rank_;
  std::vector<Identity> identities_;
  std::chrono::milliseconds patience_;
  std::vector<Peer> peers_;
  Clock::time_point next_look_;
  Clock::time_point missed_all_;  // the last call
  std::optional<PeerFailure> failure_;
  Clock::time_point failed_;  // when that was learnt
};

}  // namespace mslt
