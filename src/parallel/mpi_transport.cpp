// Messages through MPI, with signs of life. The one source that sees MPI.
#include "parallel/mpi_transport.h"

#include <mpi.h>

#include <array>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/joining_thread.h"
#include "parallel/peer_watch.h"

namespace mslt {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int data_tag = 1;
constexpr std::chrono::seconds to_deliver{5};  // the news of a failure

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) return;
  std::array<char, MPI_MAX_ERROR_STRING + 1> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  fail(ErrorKind::device, "{} failed: {}.", call, std::string_view(text.data(), static_cast<std::size_t>(length)));
}

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
    std::vector<Identity> identities(static_cast<std::size_t>(size_));
    const Identity own = Identity::own();
    check(MPI_Allgather(&own, sizeof own, MPI_BYTE, identities.data(), sizeof own, MPI_BYTE, data_), "MPI_Allgather");
    watch_.emplace(rank_, std::move(identities), patience);
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
  std::string host(int rank) const override { return watch_->host(rank); }

  void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) override {
    std::vector<MPI_Request> requests;
    {
      const std::scoped_lock lock(mutex_);
      watch();
      watch_->throw_failure();
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
        for (const Outgoing& message : outgoing) watch_->miss(message.to);
        for (const Incoming& message : incoming) watch_->miss(message.from);
        watch_->throw_settled_failure();
      }
      pause(begin);
    }
  }

  void tell_failure(ErrorKind kind, const std::string& reason) noexcept override {
    const std::scoped_lock lock(mutex_);
    if (watch_->failure() || told_) return;
    told_ = true;
    try {
      send_all(News::failed, failure_text(kind, reason));
      const Clock::time_point end = Clock::now() + to_deliver;
      while (!is_delivered() && Clock::now() < end) pause(Clock::time_point());
    } catch (const std::exception&) {
      return;  // the others miss this rank
    }
  }

  std::optional<PeerFailure> failure() const override {
    const std::scoped_lock lock(mutex_);
    return watch_->failure();
  }

 private:
  struct Sent {
    std::string text;
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
      watch_->hear(status.MPI_SOURCE, static_cast<News>(status.MPI_TAG), text);
    }
    watch_->look();
  }

  void send_all(News news, std::string_view text = {}) {
    for (int other = 0; other < size_; ++other) {
      if (other == rank_) continue;
      Sent& sent = sent_.emplace_back();
      sent.text = text;
      check(MPI_Isend(sent.text.data(), static_cast<int>(sent.text.size()), MPI_BYTE, other, static_cast<int>(news),
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
    while (!stop_.wait_for(stopping, watch_->pace(), [&] { return stopping_; })) {
      const std::scoped_lock lock(mutex_);
      if (watch_->failure() || told_) return;
      try {
        watch();
        watch_->miss_all();
        if (watch_->failure()) return;
        // A rank that takes nothing in gets no more.
        if (is_delivered()) send_all(News::alive);
      } catch (const std::exception& error) {
        watch_->set_failure(rank_, ErrorKind::device, error.what());
      }
    }
  }

  // Ends together with the others. Returns whether all are there.
  bool take_leave() {
    const std::scoped_lock lock(mutex_);
    if (watch_->failure()) return false;
    try {
      send_all(News::leaving);
      const Clock::time_point begin = Clock::now();
      while (!watch_->failure() && Clock::now() - begin < patience_) {
        watch();
        if (is_delivered() && watch_->have_all_left()) return true;
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
  std::optional<PeerWatch> watch_;
  mutable std::mutex mutex_;  // MPI is used by one thread at a time
  std::deque<Sent> sent_;
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
