// Rank 0 listens and tells everybody of everybody; then each rank connects to those below it.
#include "parallel/rendezvous.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <memory>
#include <optional>
#include <thread>
#include <type_traits>
#include <utility>

#include "base/fail.h"
#include "parallel/reception.h"
#include "parallel/rendezvous_file.h"

namespace mslt {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

constexpr std::chrono::milliseconds between_tries{100};   // to connect
constexpr std::chrono::seconds patience_with_refusal{5};  // a process of an older run may still listen there
constexpr std::chrono::seconds between_words{10};
constexpr std::size_t most_named = 8;

// What rank 0 tells of a rank.
struct Entry {
  Identity identity;
  std::array<char, 64> host{};  // a numeric address
  std::uint16_t port = 0;
  std::array<std::byte, 6> unused{};
};
static_assert(std::is_trivially_copyable_v<Entry>);

// Why a connection was not made.
struct Problem {
  std::string text;
  bool is_lasting = false;  // as far as can be seen: it is not worth much patience
};

// Work on a socket that refers to the caller's memory: the destructor ends it where it is not done.
class PendingWork {
 public:
  PendingWork(asio::io_context& io, tcp::socket& socket, const std::optional<ErrorCode>& result)
      : io_(io), socket_(socket), result_(result) {}
  PendingWork(const PendingWork&) = delete;
  PendingWork& operator=(const PendingWork&) = delete;
  ~PendingWork() {
    if (result_) return;
    ErrorCode ignored;
    ignored = socket_.close(ignored);
    run_until(io_, Clock::time_point::max(), [this] { return result_.has_value(); });
  }

 private:
  asio::io_context& io_;
  tcp::socket& socket_;
  const std::optional<ErrorCode>& result_;
};

tcp::socket handed_to(asio::io_context& io, tcp::socket& socket) {
  socket.set_option(tcp::no_delay(true));
  const tcp::endpoint::protocol_type protocol = socket.local_endpoint().protocol();
  tcp::socket moved(io, protocol, socket.release());
  return moved;
}

std::string own_host() {
  return Identity::own().host.data();
}

bool is_same_process(const Identity& a, const Identity& b) {
  return a.host == b.host && a.processes == b.processes && a.process == b.process;
}

// "rank 1", or "ranks 1, 2", with a few of many.
std::string names_of(std::span<const int> ranks) {
  const std::span<const int> named = ranks.first(std::min(ranks.size(), most_named));
  const std::size_t others = ranks.size() - named.size();
  return fmt::format("rank{} {}{}", ranks.size() == 1 ? "" : "s", fmt::join(named, ", "),
                     others > 0 ? fmt::format(" and {} more", others) : "");
}

// An IPv4 address as such where it came in IPv6's clothes.
std::string plain(const std::string& host) {
  constexpr std::string_view prefix = "::ffff:";
  return host.starts_with(prefix) ? host.substr(prefix.size()) : host;
}

double seconds(std::chrono::milliseconds time) {
  return std::chrono::duration<double>(time).count();
}

class Meeting {
 public:
  Meeting(const Rendezvous& rendezvous, asio::io_context& data, asio::io_context& news)
      : rendezvous_(rendezvous),
        data_(data),
        news_(news),
        end_(Clock::now() + rendezvous.patience),
        next_word_(Clock::now() + rendezvous.quiet) {
    for (int rank = 0; rank < rendezvous.size; ++rank) {
      party_.data.emplace_back(data);
      party_.news.emplace_back(news);
    }
    entries_.resize(party_.data.size());
    entry(rendezvous.rank).identity = Identity::own();
  }

  Party hold() {
    if (rendezvous_.rank == 0) {
      receive_all();
    } else {
      join();
    }
    for (const Entry& each : entries_) party_.identities.push_back(each.identity);
    return std::move(party_);
  }

 private:
  bool has_file() const { return !rendezvous_.file.empty(); }
  Entry& entry(int rank) { return entries_[static_cast<std::size_t>(rank)]; }
  std::string where() const { return has_file() ? rendezvous_.file.string() : text_of(rendezvous_.address); }

  tcp::socket& place_of(int rank, Channel channel) {
    return (channel == Channel::data ? party_.data : party_.news)[static_cast<std::size_t>(rank)];
  }

  // Ranks above this one of which a connection is missing.
  std::vector<int> missing() {
    std::vector<int> ranks;
    for (int rank = rendezvous_.rank + 1; rank < rendezvous_.size; ++rank) {
      if (!place_of(rank, Channel::data).is_open() || !place_of(rank, Channel::news).is_open()) ranks.push_back(rank);
    }
    return ranks;
  }

  // Waiting.

  // To be called ten times a second; `awaited` says who is awaited and why.
  template <class Awaited>
  void look_around(const Awaited& awaited) {
    if (rendezvous_.look) rendezvous_.look();
    const Clock::time_point now = Clock::now();
    if (!rendezvous_.tell || now < next_word_) return;
    next_word_ = now + between_words;
    const auto left = std::chrono::ceil<std::chrono::seconds>(end_ - now);
    rendezvous_.tell(fmt::format("Rank {} waits for {} (for {} s more).", rendezvous_.rank, awaited(),
                                 std::max<std::int64_t>(0, left.count())));
  }

  // The outcome of what `begin` starts on the socket; nothing where it was too late, and the socket is closed then.
  template <class Awaited, class Begin>
  std::optional<ErrorCode> outcome(asio::io_context& io, tcp::socket& socket, Clock::time_point end,
                                   const Awaited& awaited, const Begin& begin) {
    std::optional<ErrorCode> result;
    begin([&result](const ErrorCode& error, const auto& /*more*/) { result = error; });
    const PendingWork work(io, socket, result);
    while (true) {
      const Clock::time_point tick = std::min(end, Clock::now() + between_tries);
      if (run_until(io, tick, [&] { return result.has_value(); })) return result;
      if (Clock::now() >= end) return std::nullopt;
      look_around(awaited);
    }
  }

  // Waits for both connections of each rank above this one.
  void take_in(Reception& reception) {
    const int own = rendezvous_.rank;
    while (true) {
      const std::vector<int> ranks = missing();
      if (ranks.empty()) return;
      const std::shared_ptr<Guest> guest = reception.next(std::min(end_, Clock::now() + between_tries));
      if (guest) {
        welcome(*guest, own);
        continue;
      }
      look_around([&] {
        return fmt::format("{} at {}: {} of {} processes are here", names_of(ranks), where(),
                           static_cast<std::size_t>(rendezvous_.size) - ranks.size(), rendezvous_.size);
      });
      if (Clock::now() < end_) continue;
      fail(ErrorKind::io,
           "Of {} processes, {} did not come to rank {} at {} within {:g} seconds. Every process needs the same "
           "address, which it reaches through the network and firewalls.",
           rendezvous_.size, names_of(ranks), own, where(), seconds(rendezvous_.patience));
    }
  }

  [[noreturn]] static void refuse(Guest& guest, const std::string& reason) {
    guest.answer(Answer::Verdict::refused, reason);
    fail(ErrorKind::usage, "{}.", reason);
  }

  void welcome(Guest& guest, int own) {
    const Hello& hello = guest.hello;
    // One that has given up comes again.
    if (!guest.is_there()) return;
    const std::string name = fmt::format("Rank {} on {}", hello.rank, hello.identity.host.data());
    if (hello.size != rendezvous_.size) {
      refuse(guest, fmt::format("{} was told of {} processes, rank {} of {}", name, hello.size, own, rendezvous_.size));
    }
    const bool is_awaited =
        hello.rank > own && hello.rank < rendezvous_.size && hello.channel <= Channel::data &&
        (!place_of(hello.rank, hello.channel).is_open() || is_same_process(entry(hello.rank).identity, hello.identity));
    if (!is_awaited) {
      refuse(guest, fmt::format("{} came twice or is none of {} processes: each needs a rank of its own", name,
                                rendezvous_.size));
    }
    ErrorCode error;
    const std::string host = guest.socket.remote_endpoint(error).address().to_string();
    if (!guest.answer(Answer::Verdict::welcome)) return;
    if (own == 0) {
      Entry& told = entry(hello.rank);
      told = {};
      told.identity = hello.identity;
      told.port = hello.port;
      copy_text(plain(host), told.host);
    }
    place_of(hello.rank, hello.channel) = handed_to(hello.channel == Channel::data ? data_ : news_, guest.socket);
  }

  // Rank 0.

  void receive_all() {
    Place place{rendezvous_.address, rendezvous_.token};
    std::optional<RendezvousFile> file;
    if (has_file()) {
      place.address.host = rendezvous_.on_one_host ? "127.0.0.1" : own_host();
      place.address.port = 0;
      place.token = random_token();
    }
    Reception reception(io_, place.address, place.token, rendezvous_.listener);
    if (has_file()) {
      place.address.port = reception.port();
      file.emplace(rendezvous_.file, place);
    }
    take_in(reception);
    // A rank that came over loopback is on this host: the others reach it where they reach this one.
    for (int rank = 1; rank < rendezvous_.size; ++rank) {
      tcp::socket& to = place_of(rank, Channel::news);
      std::vector<Entry> told = entries_;
      const asio::ip::address here = to.local_endpoint().address();
      for (Entry& each : told) {
        if (is_loopback(each.host.data()) && !here.is_loopback()) copy_text(here.to_string(), each.host);
      }
      ErrorCode error;
      asio::write(to, asio::buffer(told.data(), told.size() * sizeof(Entry)), error);
      if (error) {
        fail(ErrorKind::io, "Rank {} on {} has ended: {}.", rank, entry(rank).identity.host.data(), error.message());
      }
    }
  }

  // Other ranks.

  void join() {
    Problem problem;
    Clock::time_point end = end_;
    std::chrono::milliseconds patience = rendezvous_.patience;
    while (true) {
      Problem found = problem;
      if (try_to_join(found)) break;
      if (!problem.is_lasting) problem = found;
      if (problem.is_lasting && patience > patience_with_refusal) {
        patience = patience_with_refusal;
        end = std::min(end, Clock::now() + patience);
      }
      if (Clock::now() >= end) {
        fail(ErrorKind::io,
             "Rank {} cannot join rank 0 at {} ({:g} seconds): {}. --rendezvous names the address of rank 0, or a file "
             "that all processes see.",
             rendezvous_.rank, where(), seconds(patience), problem.text);
      }
      look_around([&] { return fmt::format("rank 0 at {}: {}", where(), problem.text); });
      std::this_thread::sleep_for(between_tries);
    }
    learn_of_others();
    for (int other = 1; other < rendezvous_.rank; ++other) call_other(other);
    take_in(*reception_);
    reception_.reset();
  }

  bool try_to_join(Problem& problem) {
    std::optional<Place> place;
    if (has_file()) {
      place = read_place(rendezvous_.file);
    } else {
      place = {rendezvous_.address, rendezvous_.token};
    }
    if (!place) {
      if (problem.text.empty()) problem.text = "rank 0 has not written the file";
      return false;
    }
    const bool is_local = is_loopback(place->address.host);
    if (!reception_ || reception_->token() != place->token) {
      reception_.reset();
      reception_.emplace(io_, Address{is_local ? place->address.host : "", 0}, place->token);
    }
    const Clock::time_point end = std::min(end_, Clock::now() + rendezvous_.patience_of_try);
    return call(place->address, 0, Channel::news, end, problem) && call(place->address, 0, Channel::data, end, problem);
  }

  // After rank 0 has let this one in.
  void learn_of_others() {
    tcp::socket& leader = place_of(0, Channel::news);
    const auto result = outcome(
        news_, leader, end_ + between_tries,
        [&] { return fmt::format("the others of {} processes; rank 0 at {} is here", rendezvous_.size, where()); },
        [&](auto done) {
          asio::async_read(leader, asio::buffer(entries_.data(), entries_.size() * sizeof(Entry)), done);
        });
    if (!result || *result) {
      fail(ErrorKind::io, "Rank 0 at {} has ended before all {} processes had come; it says why.", where(),
           rendezvous_.size);
    }
  }

  void call_other(int other) {
    const Entry& told = entry(other);
    const Address address{told.host.data(), told.port};
    for (const Channel channel : {Channel::news, Channel::data}) {
      Problem problem;
      while (!call(address, other, channel, end_, problem)) {
        if (Clock::now() >= end_) {
          fail(ErrorKind::io, "Rank {} cannot reach rank {} on {} at {}: {}.", rendezvous_.rank, other,
               told.identity.host.data(), text_of(address), problem.text);
        }
        std::this_thread::sleep_for(between_tries);
      }
    }
  }

  // Connects one channel to another rank that listens there. Throws Error(usage) where that one refuses this one.
  bool call(const Address& address, int rank, Channel channel, Clock::time_point end, Problem& problem) {
    ErrorCode error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(address.host, std::to_string(address.port), error);
    if (error) {
      problem = {fmt::format("the host {} is not known ({})", address.host, error.message()),
                 error == asio::error::host_not_found};
      return false;
    }
    const auto awaited = [&] {
      return fmt::format("rank {} at {}: {}", rank, rank == 0 ? where() : text_of(address),
                         problem.text.empty() ? "no answer yet" : problem.text);
    };
    tcp::socket socket(io_);
    const auto connected =
        outcome(io_, socket, end, awaited, [&](auto done) { asio::async_connect(socket, found, done); });
    if (!connected) {
      if (problem.text.empty()) problem.text = "nobody answers there";  // else the reason of an earlier try
      return false;
    }
    if (*connected) {
      problem = {connected->message()};
      return false;
    }
    Hello hello;
    copy_text(reception_->token(), hello.token);
    hello.size = rendezvous_.size;
    hello.rank = rendezvous_.rank;
    hello.port = reception_->port();
    hello.channel = channel;
    hello.identity = Identity::own();
    Answer answer;
    auto said = outcome(io_, socket, end, awaited,
                        [&](auto done) { asio::async_write(socket, asio::buffer(&hello, sizeof hello), done); });
    if (said && !*said) {
      said = outcome(io_, socket, end, awaited,
                     [&](auto done) { asio::async_read(socket, asio::buffer(&answer, sizeof answer), done); });
    }
    if (!said) {
      problem = {"what listens there does not answer"};
      return false;
    }
    if (*said) {
      problem = {"what listens there closed the connection: it is of another version of mslt, or no mslt", true};
      return false;
    }
    return has_been_welcomed(answer, address, rank, channel, socket, problem);
  }

  bool has_been_welcomed(const Answer& answer, const Address& address, int rank, Channel channel, tcp::socket& socket,
                         Problem& problem) {
    switch (answer.verdict) {
      case Answer::Verdict::welcome:
        place_of(rank, channel) = handed_to(channel == Channel::data ? data_ : news_, socket);
        return true;
      case Answer::Verdict::refused:
        fail(ErrorKind::usage, "Rank {} at {} refuses rank {}: {}.", rank, text_of(address), rendezvous_.rank,
             answer.text());
      case Answer::Verdict::other_run:
        problem = {
            "what listens there is of another run: its token (MSLT_RUN_TOKEN, or the launcher's name of the "
            "run) is another",
            true};
        return false;
    }
    problem = {"what listens there is no mslt", true};
    return false;
  }

  Rendezvous rendezvous_;
  asio::io_context& data_;
  asio::io_context& news_;
  asio::io_context io_;
  Clock::time_point end_;
  Clock::time_point next_word_;
  Party party_;
  std::vector<Entry> entries_;
  std::optional<Reception> reception_;  // of ranks above this one
};

}  // namespace

Party meet(const Rendezvous& rendezvous, asio::io_context& data, asio::io_context& news) {
  try {
    return Meeting(rendezvous, data, news).hold();
  } catch (const boost::system::system_error& error) {
    fail(ErrorKind::io, "Rank {} cannot meet the others: {}.", rendezvous.rank, error.code().message());
  }
}

}  // namespace mslt
