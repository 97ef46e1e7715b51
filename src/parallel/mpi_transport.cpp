// Messages through MPI, with signs of life. The one source that sees MPI.
#include "parallel/mpi_transport.h"

#include <mpi.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <condition_variable>
#include <cstdint>
#include <cstring>
#include <deque>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/joining_thread.h"

namespace mslt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int data_tag = 1;
constexpr std::chrono::milliseconds between_looks{100};  // at the processes of this host
constexpr std::chrono::milliseconds grace{500};          // for messages sent before a failure
constexpr std::chrono::seconds to_deliver{5};            // the news of a failure
constexpr std::size_t longest_reason = 2000;

enum class News : std::uint8_t { alive, failed, leaving };

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  fail(ErrorKind::device, "{} failed: {}.", call, std::string_view(text.data(), static_cast<std::size_t>(length)));
}

// Who a rank is, as the others are told; trivially copyable.
struct Identity {
  std::array<char, 256> host{};
  std::array<char, 64> processes{};  // in which process ids have the same meaning; empty where that is unknown
  std::int64_t process = 0;

  static Identity own() {
    Identity identity;
    ::gethostname(identity.host.data(), identity.host.size() - 1);
    if (::readlink("/proc/self/ns/pid", identity.processes.data(), identity.processes.size() - 1) < 0) {
      identity.processes = {};
    }
    identity.process = ::getpid();
    return identity;
  }
};

// Between MPI_Init and MPI_Finalize.
class MpiSession {
 public:
  MpiSession() {
    int provided = MPI_THREAD_SINGLE;
    check(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided), "MPI_Init_thread");
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_SERIALIZED) {
      fail(ErrorKind::device, "This MPI cannot be used by two threads in turn; build it with support of threads.");
    }
  }
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession() {
    if (ends_well_) MPI_Finalize();
  }
  void end_well() { ends_well_ = true; }

 private:
  bool ends_well_ = false;
};

class MpiTransport : public Transport {
 public:
  explicit MpiTransport(std::chrono::milliseconds patience) : patience_(patience) {
    check(MPI_Comm_dup(MPI_COMM_WORLD, &data_), "MPI_Comm_dup");
    check(MPI_Comm_dup(MPI_COMM_WORLD, &news_), "MPI_Comm_dup");
    MPI_Comm_rank(data_, &rank_);
    MPI_Comm_size(data_, &size_);
    identities_.resize(static_cast<std::size_t>(size_));
    const Identity own = Identity::own();
    check(MPI_Allgather(&own, sizeof own, MPI_BYTE, identities_.data(), sizeof own, MPI_BYTE, data_), "MPI_Allgather");
    peers_.resize(identities_.size());
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      const Identity& identity = identities_[i];
      peers_[i].heard = Clock::now();
      peers_[i].is_here = identity.host == own.host && identity.processes == own.processes;
    }
    check(MPI_Barrier(data_), "MPI_Barrier");
    thread_.emplace([this] { show_life(); });
  }

  ~MpiTransport() override {
    {
      const std::scoped_lock lock(stopping_mutex_);
      stopping_ = true;
    }
    stop_.notify_one();
    thread_.reset();
    if (!told_ && take_leave()) session_.end_well();
  }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  std::string host(int rank) const override { return identities_.at(static_cast<std::size_t>(rank)).host.data(); }

  void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) override {
    std::vector<MPI_Request> requests;
    {
      const std::scoped_lock lock(mutex_);
      watch();
      throw_failure();
      requests.reserve(outgoing.size() + incoming.size());
      for (const Incoming& message : incoming) {
        check(MPI_Irecv(message.bytes.data(), static_cast<int>(message.bytes.size()), MPI_BYTE, message.from, data_tag,
                        data_, &requests.emplace_back()),
              "MPI_Irecv");
      }
      for (const Outgoing& message : outgoing) {
        check(MPI_Isend(message.bytes.data(), static_cast<int>(message.bytes.size()), MPI_BYTE, message.to, data_tag,
                        data_, &requests.emplace_back()),
              "MPI_Isend");
      }
    }
    const Clock::time_point begin = Clock::now();
    while (!is_done(requests)) {
      {
        // After an error, requests that are left behind refer to memory that the caller may free: from there on nothing
        // calls MPI.
        const std::scoped_lock lock(mutex_);
        watch();
        if (told_) fail(ErrorKind::device, "This process has told the others that it ends.");
        if (!failure_) miss_silent(outgoing, incoming);
        // What the ranks sent before they failed still arrives: where all find the same fault, each finds it itself.
        if (failure_ && Clock::now() - failed_ > grace) throw_failure();
      }
      pause(begin);
    }
  }

  void tell_failure(ErrorKind kind, const std::string& reason) noexcept override {
    const std::scoped_lock lock(mutex_);
    if (failure_ || told_) return;
    told_ = true;
    try {
      send_all(News::failed, kind, reason);
      const Clock::time_point end = Clock::now() + to_deliver;
      while (!is_delivered() && Clock::now() < end) pause(Clock::time_point());
    } catch (const std::exception&) {
      return;  // the others miss this rank
    }
  }

  std::optional<PeerFailure> failure() const override {
    const std::scoped_lock lock(mutex_);
    return failure_;
  }

 private:
  struct Peer {
    Clock::time_point heard;
    bool is_here = false;  // a process of this host, which can be looked at
    bool has_left = false;
  };
  struct Sent {
    std::vector<std::byte> bytes;
    MPI_Request request = MPI_REQUEST_NULL;
  };

  bool is_done(std::vector<MPI_Request>& requests) {
    const std::scoped_lock lock(mutex_);
    int done = 0;
    check(MPI_Testall(static_cast<int>(requests.size()), requests.data(), &done, MPI_STATUSES_IGNORE), "MPI_Testall");
    return done != 0;
  }

  // Awake while an answer is near, asleep where the others need the processor.
  static void pause(Clock::time_point begin) {
    if (Clock::now() - begin < std::chrono::milliseconds(1)) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
    }
  }

  // The rest is called with the mutex held.

  void throw_failure() const {
    if (!failure_) return;
    fail(failure_->kind, "Rank {} on {}: {}", failure_->rank, host(failure_->rank), failure_->reason);
  }

  void set_failure(int rank, ErrorKind kind, std::string reason) {
    failure_ = {rank, kind, std::move(reason)};
    failed_ = Clock::now();
  }

  // Takes in the news, and looks for processes that have ended.
  void watch() {
    while (true) {
      int found = 0;
      MPI_Status status;
      check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, news_, &found, &status), "MPI_Iprobe");
      if (found == 0) break;
      int length = 0;
      MPI_Get_count(&status, MPI_BYTE, &length);
      std::string text(static_cast<std::size_t>(length), '\0');
      check(MPI_Recv(text.data(), length, MPI_BYTE, status.MPI_SOURCE, status.MPI_TAG, news_, MPI_STATUS_IGNORE),
            "MPI_Recv");
      take_in(status.MPI_SOURCE, static_cast<News>(status.MPI_TAG), text);
    }
    const Clock::time_point now = Clock::now();
    if (failure_ || now < next_look_) return;
    next_look_ = now + between_looks;
    for (int other = 0; other < size_; ++other) {
      const Peer& peer = peers_[static_cast<std::size_t>(other)];
      if (other == rank_ || !peer.is_here || peer.has_left) continue;
      const std::int64_t process = identities_[static_cast<std::size_t>(other)].process;
      if (::kill(static_cast<pid_t>(process), 0) == 0 || errno != ESRCH) continue;
      set_failure(other, ErrorKind::device, fmt::format("the process {} has ended without a word.", process));
      return;
    }
  }

  void take_in(int from, News news, std::string_view text) {
    Peer& peer = peers_[static_cast<std::size_t>(from)];
    peer.heard = Clock::now();
    if (news == News::leaving) peer.has_left = true;
    if (news != News::failed || failure_ || text.empty()) return;
    set_failure(from, static_cast<ErrorKind>(text.front()), std::string(text.substr(1)));
  }

  void miss_silent(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) {
    const Clock::time_point now = Clock::now();
    const auto miss = [&](int other) {
      if (failure_ || now - peers_[static_cast<std::size_t>(other)].heard < patience_) return;
      set_failure(other, ErrorKind::device,
                  fmt::format("it has given no sign of life for {:g} seconds: the process hangs or is stopped, or its "
                              "host or network is down.",
                              std::chrono::duration<double>(patience_).count()));
    };
    for (const Outgoing& message : outgoing) miss(message.to);
    for (const Incoming& message : incoming) miss(message.from);
  }

  void send_all(News news, ErrorKind kind = {}, std::string_view reason = {}) {
    for (int other = 0; other < size_; ++other) {
      if (other == rank_) continue;
      Sent& sent = sent_.emplace_back();
      if (news == News::failed) {
        sent.bytes.push_back(static_cast<std::byte>(kind));
        for (const char c : reason.substr(0, longest_reason)) sent.bytes.push_back(static_cast<std::byte>(c));
      }
      check(MPI_Isend(sent.bytes.data(), static_cast<int>(sent.bytes.size()), MPI_BYTE, other, static_cast<int>(news),
                      news_, &sent.request),
            "MPI_Isend");
    }
  }

  bool is_delivered() {
    std::erase_if(sent_, [](Sent& sent) {
      int done = 0;
      check(MPI_Test(&sent.request, &done, MPI_STATUS_IGNORE), "MPI_Test");
      return done != 0;
    });
    return sent_.empty();
  }

  // The thread's work.
  void show_life() {
    std::unique_lock stopping(stopping_mutex_);
    const std::chrono::milliseconds pace = std::min(patience_ / 6, std::chrono::milliseconds(2000));
    while (!stop_.wait_for(stopping, pace, [&] { return stopping_; })) {
      const std::scoped_lock lock(mutex_);
      if (failure_ || told_) return;
      try {
        watch();
        if (failure_) return;
        // A rank that takes nothing in gets no more.
        if (is_delivered()) send_all(News::alive);
      } catch (const std::exception& error) {
        set_failure(rank_, ErrorKind::device, error.what());
      }
    }
  }

  // Ends together with the others. Returns whether all are there.
  bool take_leave() {
    const std::scoped_lock lock(mutex_);
    if (failure_) return false;
    try {
      send_all(News::leaving);
      const auto stays = [&](int other) {
        return other != rank_ && !peers_[static_cast<std::size_t>(other)].has_left;
      };
      const Clock::time_point begin = Clock::now();
      while (!failure_ && Clock::now() - begin < patience_) {
        watch();
        bool all = is_delivered();
        for (int other = 0; other < size_; ++other) all = all && !stays(other);
        if (all) return true;
        pause(begin);
      }
    } catch (const std::exception&) {
      return false;
    }
    return false;
  }

  MpiSession session_;
  std::chrono::milliseconds patience_;
  MPI_Comm data_ = MPI_COMM_NULL;
  MPI_Comm news_ = MPI_COMM_NULL;
  int rank_ = 0;
  int size_ = 1;
  std::vector<Identity> identities_;
  mutable std::mutex mutex_;  // MPI is used by one thread at a time
  std::vector<Peer> peers_;
  std::deque<Sent> sent_;
  Clock::time_point next_look_;
  std::optional<PeerFailure> failure_;
  Clock::time_point failed_;  // when that was learnt
  bool told_ = false;
  std::mutex stopping_mutex_;
  std::condition_variable stop_;
  bool stopping_ = false;
  std::optional<JoiningThread> thread_;
};

}  // namespace

bool has_mpi() {
  return true;
}

std::unique_ptr<Transport> make_mpi_transport(std::chrono::milliseconds patience) {
  return std::make_unique<MpiTransport>(patience);
}

}  // namespace mslt
