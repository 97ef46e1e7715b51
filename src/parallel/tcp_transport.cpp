// Messages through TCP, with signs of life.
#include "parallel/tcp_transport.h"

#include <algorithm>
#include <array>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/asio/write.hpp>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/fail.h"
#include "base/joining_thread.h"
#include "parallel/peer_watch.h"
#include "parallel/rendezvous.h"

namespace mslt {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

constexpr std::chrono::milliseconds look_interval{50};  // at failures, while an exchange waits
constexpr std::chrono::seconds delivery_time{5};        // the news of a failure or of the end
constexpr std::chrono::milliseconds to_read_on{300};    // after the news of a failure
constexpr std::uint32_t longest_news = 1 << 16;

// What precedes a text of news.
struct NewsHeader {
  News news = News::alive;
  std::array<std::byte, 3> unused{};
  std::uint32_t length = 0;
};

// What one rank still has to send or to receive, and to whom it belongs.
template <class Buffer>
struct Transfers {
  std::vector<std::vector<Buffer>> of;  // by rank
  explicit Transfers(int size) : of(static_cast<std::size_t>(size)) {}
  void add(int rank, Buffer buffer) {
    if (buffer.size() > 0) of[static_cast<std::size_t>(rank)].push_back(buffer);
  }
};

class TcpTransport : public Transport {
 public:
  TcpTransport(const Rendezvous& rendezvous, std::chrono::milliseconds patience)
      : patience_(patience),
        party_(meet(rendezvous, data_io_, news_io_)),
        unsent_(party_.news.size()),
        headers_(party_.news.size()),
        texts_(party_.news.size()),
        watch_(rendezvous.rank, party_.identities, patience),
        timer_(news_io_) {
    for (int other = 0; other < size(); ++other) {
      if (other != rank()) hear(other);
    }
    show_life();
    news_io_.restart();  // the meeting has used it
    thread_.emplace([this] { serve(); });
  }

  ~TcpTransport() override {
    if (told_) {
      // What the others sent is read meanwhile: where some is left, the end of the connection overtakes the news.
      std::this_thread::sleep_for(to_read_on);
    } else {
      take_leave();
    }
    news_io_.stop();
    thread_.reset();
  }

  int rank() const override { return watch_.rank(); }
  int size() const override { return watch_.size(); }
  std::string host(int rank) const override { return watch_.host(rank); }

  void exchange(std::span<const Outgoing> outgoing, std::span<const Incoming> incoming) override {
    {
      const std::scoped_lock lock(mutex_);
      watch_.throw_failure();
    }
    Transfers<asio::const_buffer> out(size());
    Transfers<asio::mutable_buffer> in(size());
    for (const Outgoing& message : outgoing) out.add(message.to, {message.bytes.data(), message.bytes.size()});
    for (const Incoming& message : incoming) in.add(message.from, {message.bytes.data(), message.bytes.size()});
    std::size_t pending = 0;
    std::set<int> lost;
    const auto when_done = [&](int other) {
      ++pending;
      return [&pending, &lost, other](const ErrorCode& error, std::size_t /*bytes*/) {
        --pending;
        if (error) lost.insert(other);
      };
    };
    for (int other = 0; other < size(); ++other) {
      const auto place = static_cast<std::size_t>(other);
      if (!in.of[place].empty()) asio::async_read(party_.data[place], in.of[place], when_done(other));
      if (!out.of[place].empty()) asio::async_write(party_.data[place], out.of[place], when_done(other));
    }
    try {
      run_until_done(pending, lost, outgoing, incoming);
    } catch (...) {
      // Nothing may refer to the caller's memory any more.
      for (tcp::socket& socket : party_.data) {
        ErrorCode ignored;
        ignored = socket.close(ignored);
      }
      data_io_.restart();
      while (pending > 0 && data_io_.run_one() > 0) {
      }
      throw;
    }
  }

  void tell_failure(ErrorKind kind, const std::string& reason) noexcept override {
    try {
      {
        const std::scoped_lock lock(mutex_);
        if (watch_.failure() || told_) return;
        told_ = true;
      }
      deliver(News::failed, failure_text(kind, reason));
    } catch (const std::exception&) {
      return;  // the others miss this rank
    }
  }

  std::optional<PeerFailure> failure() const override {
    const std::scoped_lock lock(mutex_);
    if (told_) return std::nullopt;  // where several fail alike, each has failed by itself
    return watch_.failure();
  }

 private:
  void run_until_done(const std::size_t& pending, const std::set<int>& lost, std::span<const Outgoing> outgoing,
                      std::span<const Incoming> incoming) {
    std::optional<Clock::time_point> lost_at;
    while (pending > 0 || !lost.empty()) {
      data_io_.restart();
      if (lost.empty()) {
        data_io_.run_one_for(look_interval);
        if (pending == 0 && lost.empty()) return;
      } else {
        // The thread learns why; it waits for news as long as that takes.
        std::this_thread::sleep_for(look_interval);
      }
      const std::scoped_lock lock(mutex_);
      if (told_) fail(ErrorKind::device, "This process has told the others that it ends.");
      for (const Outgoing& message : outgoing) watch_.miss(message.to);
      for (const Incoming& message : incoming) watch_.miss(message.from);
      watch_.throw_settled_failure();
      if (lost.empty() || watch_.failure()) continue;
      if (!lost_at) lost_at = Clock::now();
      if (Clock::now() - *lost_at < delivery_time) continue;
      watch_.set_failure(*lost.begin(), ErrorKind::device, "its connection has ended.");
    }
  }

  // The thread's work: everything below, except deliver and take_leave.

  void serve() {
    const auto guard = asio::make_work_guard(news_io_);
    while (true) {
      try {
        news_io_.run();
        return;
      } catch (const std::exception& error) {
        const std::scoped_lock lock(mutex_);
        watch_.set_failure(rank(), ErrorKind::device, error.what());
      }
    }
  }

  void show_life() {
    timer_.expires_after(watch_.pace());
    timer_.async_wait([this](const ErrorCode& error) {
      if (error) return;
      {
        const std::scoped_lock lock(mutex_);
        watch_.miss_all();
      }
      for (int other = 0; other < size(); ++other) {
        // A rank that takes nothing in gets no more.
        if (unsent_[static_cast<std::size_t>(other)].empty()) tell(other, News::alive, {});
      }
      show_life();
    });
  }

  void hear(int from) {
    const auto place = static_cast<std::size_t>(from);
    NewsHeader& header = headers_[place];
    asio::async_read(party_.news[place], asio::buffer(&header, sizeof header),
                     [this, from, place, &header](const ErrorCode& error, std::size_t /*bytes*/) {
                       if (error || header.length > longest_news) return lose(from);
                       std::string& text = texts_[place];
                       text.resize(header.length);
                       asio::async_read(party_.news[place], asio::buffer(text),
                                        [this, from, &header, &text](const ErrorCode& failure, std::size_t /*bytes*/) {
                                          if (failure) return lose(from);
                                          {
                                            const std::scoped_lock lock(mutex_);
                                            watch_.hear(from, header.news, text);
                                            // What it does not read would cut its connection off.
                                            if (header.news == News::failed) lost_.insert(from);
                                          }
                                          changed_.notify_all();
                                          hear(from);
                                        });
                     });
  }

  void lose(int other) {
    {
      const std::scoped_lock lock(mutex_);
      watch_.lose(other);
      lost_.insert(other);
    }
    changed_.notify_all();
  }

  void tell(int other, News news, std::string_view text) {
    if (other == rank()) return;
    {
      const std::scoped_lock lock(mutex_);
      if (lost_.contains(other)) return;
    }
    const NewsHeader header{.news = news, .length = static_cast<std::uint32_t>(text.size())};
    std::string message(sizeof header, '\0');
    std::memcpy(message.data(), &header, sizeof header);
    std::deque<std::string>& unsent = unsent_[static_cast<std::size_t>(other)];
    unsent.push_back(message.append(text));
    if (unsent.size() == 1) send_next(other);
  }

  void send_next(int other) {
    const auto place = static_cast<std::size_t>(other);
    asio::async_write(party_.news[place], asio::buffer(unsent_[place].front()),
                      [this, other, place](const ErrorCode& error, std::size_t /*bytes*/) {
                        // Whether the rank has ended is known when all that it said is read.
                        if (error) {
                          unsent_[place].clear();
                        } else {
                          unsent_[place].pop_front();
                        }
                        if (!unsent_[place].empty()) return send_next(other);
                        {
                          const std::scoped_lock lock(mutex_);
                          undelivered_.erase(other);
                        }
                        changed_.notify_all();
                      });
  }

  // Tells all others and waits until that is on its way.
  void deliver(News news, const std::string& text) {
    {
      const std::scoped_lock lock(mutex_);
      for (int other = 0; other < size(); ++other) {
        if (other != rank() && !lost_.contains(other)) undelivered_.insert(other);
      }
    }
    asio::post(news_io_, [this, news, text] {
      for (int other = 0; other < size(); ++other) tell(other, news, text);
    });
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, delivery_time, [this] {
      return std::ranges::all_of(undelivered_, [this](int other) { return lost_.contains(other); });
    });
  }

  // Ends together with the others: a connection that is closed while something comes may lose what went.
  void take_leave() {
    try {
      if (failure()) return;
      deliver(News::leaving, {});
      std::unique_lock lock(mutex_);
      changed_.wait_for(lock, patience_, [this] { return watch_.failure() || watch_.have_all_left(); });
    } catch (const std::exception&) {
      return;  // the others see the connections end
    }
  }

  std::chrono::milliseconds patience_;
  asio::io_context data_io_;  // of the caller's thread
  asio::io_context news_io_;  // of the thread
  Party party_;
  // Of the thread, by rank.
  std::vector<std::deque<std::string>> unsent_;
  std::vector<NewsHeader> headers_;
  std::vector<std::string> texts_;
  mutable std::mutex mutex_;  // of what follows
  std::condition_variable changed_;
  PeerWatch watch_;
  std::set<int> lost_;         // ranks whose news have ended
  std::set<int> undelivered_;  // ranks that are still being told
  bool told_ = false;
  asio::steady_timer timer_;
  std::optional<JoiningThread> thread_;
};

}  // namespace

std::unique_ptr<Transport> make_tcp_transport(const Rendezvous& rendezvous, std::chrono::milliseconds patience) {
  return std::make_unique<TcpTransport>(rendezvous, patience);
}

}  // namespace mslt
