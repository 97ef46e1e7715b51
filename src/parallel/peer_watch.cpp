// Judging the others by what they say and by their silence.
#include "parallel/peer_watch.h"

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/fail.h"

namespace mslt {
namespace {

constexpr std::chrono::milliseconds between_looks{100};  // at the processes of this host
constexpr std::chrono::milliseconds grace{500};          // for messages sent before a failure
constexpr std::size_t longest_reason = 2000;

std::string without_a_word(std::int64_t process) {
  return fmt::format("the process {} has ended without a word.", process);
}

}  // namespace

Identity Identity::own() {
  Identity identity;
  ::gethostname(identity.host.data(), identity.host.size() - 1);
  if (::readlink("/proc/self/ns/pid", identity.processes.data(), identity.processes.size() - 1) < 0) {
    identity.processes = {};
  }
  identity.process = ::getpid();
  return identity;
}

std::string failure_text(ErrorKind kind, std::string_view reason) {
  return std::string(1, static_cast<char>(kind)) + std::string(reason.substr(0, longest_reason));
}

PeerWatch::PeerWatch(int rank, std::vector<Identity> identities, std::chrono::milliseconds patience)
    : rank_(rank), identities_(std::move(identities)), patience_(patience), peers_(identities_.size()) {
  const Identity& own = identities_.at(static_cast<std::size_t>(rank));
  for (std::size_t i = 0; i < peers_.size(); ++i) {
    const Identity& identity = identities_[i];
    peers_[i].heard = Clock::now();
    peers_[i].is_here = identity.host == own.host && identity.processes == own.processes;
  }
}

std::chrono::milliseconds PeerWatch::pace() const {
  return std::min(patience_ / 6, std::chrono::milliseconds(2000));
}

void PeerWatch::hear(int from, News news, std::string_view text) {
  Peer& peer = peers_[static_cast<std::size_t>(from)];
  peer.heard = Clock::now();
  if (news == News::leaving) peer.has_left = true;
  if (news != News::failed || text.empty()) return;
  set_failure(from, static_cast<ErrorKind>(text.front()), std::string(text.substr(1)));
}

void PeerWatch::lose(int other) {
  if (has_left(other)) return;
  set_failure(other, ErrorKind::device, without_a_word(identities_[static_cast<std::size_t>(other)].process));
}

void PeerWatch::look() {
  const Clock::time_point now = Clock::now();
  if (failure_ || now < next_look_) return;
  next_look_ = now + between_looks;
  for (int other = 0; other < size(); ++other) {
    const Peer& peer = peers_[static_cast<std::size_t>(other)];
    if (other == rank_ || !peer.is_here || peer.has_left) continue;
    const std::int64_t process = identities_[static_cast<std::size_t>(other)].process;
    if (::kill(static_cast<pid_t>(process), 0) == 0 || errno != ESRCH) continue;
    return set_failure(other, ErrorKind::device, without_a_word(process));
  }
}

void PeerWatch::miss(int other) {
  const Peer& peer = peers_[static_cast<std::size_t>(other)];
  if (other == rank_ || Clock::now() - peer.heard < patience_) return;
  set_failure(other, ErrorKind::device,
              fmt::format("it has given no sign of life for {:g} seconds: the process hangs or is stopped, or its host "
                          "or network is down.",
                          std::chrono::duration<double>(patience_).count()));
}

void PeerWatch::miss_all() {
  const Clock::time_point now = Clock::now();
  const bool stood_still = now - missed_all_ > patience_ / 2;
  missed_all_ = now;
  for (int other = 0; other < size(); ++other) {
    Peer& peer = peers_[static_cast<std::size_t>(other)];
    if (stood_still) {
      peer.heard = now;
    } else if (!peer.has_left) {
      miss(other);
    }
  }
}

void PeerWatch::set_failure(int rank, ErrorKind kind, std::string reason) {
  if (failure_) return;
  failure_ = {rank, kind, std::move(reason)};
  failed_ = Clock::now();
}

bool PeerWatch::have_all_left() const {
  for (int other = 0; other < size(); ++other) {
    if (other != rank_ && !has_left(other)) return false;
  }
  return true;
}

void PeerWatch::throw_failure() const {
  if (!failure_) return;
  fail(failure_->kind, "Rank {} on {}: {}", failure_->rank, host(failure_->rank), failure_->reason);
}

void PeerWatch::throw_settled_failure() const {
  if (failure_ && Clock::now() - failed_ > grace) throw_failure();
}

}  // namespace mslt
