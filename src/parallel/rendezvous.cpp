// Rank 0 listens and tells everybody of everybody; then each rank connects to those below it.
#include "parallel/rendezvous.h"

#include <fmt/ranges.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <boost/asio/connect.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <charconv>
#include <cstring>
#include <deque>
#include <list>
#include <memory>
#include <random>
#include <thread>
#include <utility>

#include "base/fail.h"
#include "base/file.h"

namespace mslt {
namespace {

namespace asio = boost::asio;
namespace fs = std::filesystem;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

constexpr int backlog = 4096;
constexpr std::size_t most_guests = 4096;                 // that have not said who they are
constexpr std::chrono::milliseconds between_tries{100};   // to connect
constexpr std::chrono::seconds patience_with_refusal{5};  // a process of an older run may still listen there
constexpr std::uint64_t magic = 0x3174656d746c736d;       // "msltmet1"
constexpr std::uint64_t longest_file = 1024;

enum class Channel : std::uint8_t { news, data };

// The first bytes of a connection. All machines of a run have the same byte order; where not, the magic differs.
struct Hello {
  std::uint64_t magic_number = magic;
  std::array<char, 128> token{};
  std::int32_t size = 0;
  std::int32_t rank = 0;
  std::uint16_t port = 0;  // where this rank listens
  Channel channel = Channel::news;
  std::array<std::byte, 5> unused{};
  Identity identity;
};
static_assert(std::is_trivially_copyable_v<Hello>);

// What rank 0 tells of a rank.
struct Entry {
  Identity identity;
  std::array<char, 64> host{};  // a numeric address
  std::uint16_t port = 0;
  std::array<std::byte, 6> unused{};
};
static_assert(std::is_trivially_copyable_v<Entry>);

bool is_loopback(const std::string& host) {
  ErrorCode error;
  const asio::ip::address address = asio::ip::make_address(host, error);
  return error ? host == "localhost" : address.is_loopback();
}

std::string text_of(const Address& address) {
  const bool is_long = address.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", is_long ? "[" : "", address.host, is_long ? "]" : "", address.port);
}

template <std::size_t N>
void copy_text(std::string_view text, std::array<char, N>& field) {
  std::ranges::copy(text.substr(0, N - 1), field.begin());
}

std::string random_token() {
  std::random_device random;
  return fmt::format("{:08x}{:08x}{:08x}{:08x}", random(), random(), random(), random());
}

// Runs what was begun in `io` until `is_done` or the time is over.
template <class Done>
bool run_until(asio::io_context& io, Clock::time_point end, Done is_done) {
  while (!is_done()) {
    if (io.stopped()) io.restart();
    if (io.run_one_until(end) == 0 && Clock::now() >= end) return is_done();
  }
  return true;
}

// Bytes in or out by a time; empty where it was too late.
template <class Begin>
std::optional<ErrorCode> transfer(asio::io_context& io, tcp::socket& socket, Clock::time_point end, Begin begin) {
  std::optional<ErrorCode> result;
  begin([&result](const ErrorCode& error, std::size_t /*bytes*/) { result = error; });
  if (run_until(io, end, [&] { return result.has_value(); })) return result;
  ErrorCode ignored;
  ignored = socket.close(ignored);
  run_until(io, Clock::time_point::max(), [&] { return result.has_value(); });
  return std::nullopt;
}

std::optional<ErrorCode> receive(asio::io_context& io, tcp::socket& socket, asio::mutable_buffer to,
                                 Clock::time_point end) {
  return transfer(io, socket, end, [&](auto done) { asio::async_read(socket, to, done); });
}

std::optional<ErrorCode> send(asio::io_context& io, tcp::socket& socket, asio::const_buffer from,
                              Clock::time_point end) {
  return transfer(io, socket, end, [&](auto done) { asio::async_write(socket, from, done); });
}

// Why a connection was not made.
struct Problem {
  std::string text;
  bool is_lasting = false;  // as far as can be seen: it is not worth much patience
};

// A member that has come.
struct Guest {
  explicit Guest(tcp::socket connected) : socket(std::move(connected)) {}
  tcp::socket socket;
  Hello hello;
};

// Lets members in, and nobody else. Who says nothing holds up nobody.
class Reception {
 public:
  Reception(asio::io_context& io, const Address& address, std::string token)
      : io_(io), acceptor_(io), token_(std::move(token)) {
    listen(address);
    accept();
  }
  Reception(const Reception&) = delete;
  Reception& operator=(const Reception&) = delete;
  // Handlers refer to this object.
  ~Reception() {
    is_over_ = true;
    ErrorCode ignored;
    ignored = acceptor_.close(ignored);
    for (const auto& guest : waiting_) ignored = guest->socket.close(ignored);
    io_.restart();
    io_.poll();
  }

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }

  // The next member; null when the time is over.
  std::shared_ptr<Guest> next(Clock::time_point end) {
    run_until(io_, end, [this] { return !arrived_.empty(); });
    if (arrived_.empty()) return nullptr;
    std::shared_ptr<Guest> guest = std::move(arrived_.front());
    arrived_.pop_front();
    return guest;
  }

 private:
  void listen(const Address& address) {
    ErrorCode error;
    if (is_loopback(address.host)) {
      ErrorCode is_name;
      asio::ip::address own = asio::ip::make_address(address.host, is_name);
      if (is_name) own = asio::ip::address_v4::loopback();
      try_endpoint({own, address.port}, error);
    } else {
      try_endpoint({tcp::v6(), address.port}, error);
      if (error == asio::error::address_family_not_supported || error == boost::system::errc::address_not_available) {
        try_endpoint({tcp::v4(), address.port}, error);
      }
    }
    if (error) {
      fail(ErrorKind::io, "Rank 0 cannot listen on {}: {}. --rendezvous names another address or a file.",
           text_of(address), error.message());
    }
  }

  void try_endpoint(const tcp::endpoint& endpoint, ErrorCode& error) {
    ErrorCode ignored;
    ignored = acceptor_.close(ignored);
    error = acceptor_.open(endpoint.protocol(), error);
    if (!error) error = acceptor_.set_option(asio::socket_base::reuse_address(true), error);
    if (!error && endpoint.address().is_v6()) ignored = acceptor_.set_option(asio::ip::v6_only(false), ignored);
    if (!error) error = acceptor_.bind(endpoint, error);
    if (!error) error = acceptor_.listen(backlog, error);
  }

  void accept() {
    acceptor_.async_accept([this](const ErrorCode& error, tcp::socket socket) {
      if (is_over_) return;
      if (!error) {
        if (waiting_.size() == most_guests) {
          ErrorCode ignored;
          ignored = waiting_.front()->socket.close(ignored);
        }
        greet(std::make_shared<Guest>(std::move(socket)));
      } else {
        std::this_thread::sleep_for(between_tries);  // for want of descriptors, say
      }
      accept();
    });
  }

  void greet(const std::shared_ptr<Guest>& guest) {
    waiting_.push_back(guest);
    Hello& hello = guest->hello;
    asio::async_read(guest->socket, asio::buffer(&hello, sizeof hello),
                     [this, guest](const ErrorCode& error, std::size_t /*bytes*/) {
                       if (is_over_) return;
                       std::erase(waiting_, guest);
                       if (!error && is_member(guest->hello)) arrived_.push_back(guest);
                     });
  }

  bool is_member(const Hello& hello) const {
    std::array<char, 128> token{};
    copy_text(token_, token);
    return hello.magic_number == magic && hello.token == token;
  }

  asio::io_context& io_;
  tcp::acceptor acceptor_;
  std::string token_;
  std::list<std::shared_ptr<Guest>> waiting_;
  std::deque<std::shared_ptr<Guest>> arrived_;
  bool is_over_ = false;
};

tcp::socket handed_to(asio::io_context& io, tcp::socket& socket) {
  socket.set_option(tcp::no_delay(true));
  const tcp::endpoint::protocol_type protocol = socket.local_endpoint().protocol();
  tcp::socket moved(io, protocol, socket.release());
  return moved;
}

// What a rendezvous' file begins with.
constexpr std::string_view file_magic = "mslt-rendezvous ";

std::string text_in(const fs::path& file) {
  try {
    return read_file(file, longest_file);
  } catch (const Error&) {
    return {};
  }
}

// The file of a rendezvous, which rank 0 writes and removes.
class RendezvousFile {
 public:
  RendezvousFile(fs::path path, const Address& address, std::string_view token)
      : path_(std::move(path)), text_(fmt::format("{}{} {} {}\n", file_magic, address.host, address.port, token)) {
    // One of a run before is replaced.
    std::error_code missing;
    const bool is_empty = fs::is_regular_file(path_, missing) && fs::file_size(path_, missing) == 0;
    if (fs::exists(path_, missing) && !is_empty && !text_in(path_).starts_with(file_magic)) {
      fail(ErrorKind::usage, "--rendezvous names {}, which exists and is no meeting of mslt; name a file to be made.",
           path_.string());
    }
    // Only its user may know the token.
    std::string temporary = path_.string() + ".XXXXXX";
    const int descriptor = ::mkstemp(temporary.data());
    errno = 0;
    const bool is_written =
        descriptor >= 0 && ::write(descriptor, text_.data(), text_.size()) == static_cast<ssize_t>(text_.size());
    // Less was written where the disk is full.
    std::error_code failure;
    if (!is_written) failure = std::error_code(errno != 0 ? errno : ENOSPC, std::generic_category());
    if (descriptor >= 0) ::close(descriptor);
    if (is_written) fs::rename(temporary, path_, failure);
    if (!failure) return;
    ::unlink(temporary.c_str());
    fail(ErrorKind::io, "Rank 0 cannot write the file {} of --rendezvous: {}.", path_.string(), failure.message());
  }
  RendezvousFile(const RendezvousFile&) = delete;
  RendezvousFile& operator=(const RendezvousFile&) = delete;
  // Another run's may stand there by now.
  ~RendezvousFile() {
    std::error_code ignored;
    if (text_in(path_) == text_) fs::remove(path_, ignored);
  }

 private:
  fs::path path_;
  std::string text_;
};

std::string own_host() {
  return Identity::own().host.data();
}

struct Place {
  Address address;
  std::string token;
};

// Reads what the file says; false while it is not there.
bool read_place(const fs::path& file, Place& place) {
  std::string text = text_in(file);
  if (!text.starts_with(file_magic)) return false;
  text.erase(0, file_magic.size());
  const std::size_t host_end = text.find(' ');
  const std::size_t port_end = text.find(' ', host_end + 1);
  if (host_end == std::string::npos || port_end == std::string::npos || text.back() != '\n') return false;
  place.address.host = text.substr(0, host_end);
  place.token = text.substr(port_end + 1, text.size() - port_end - 2);
  return std::from_chars(text.data() + host_end + 1, text.data() + port_end, place.address.port).ec == std::errc();
}

class Meeting {
 public:
  Meeting(const Rendezvous& rendezvous, asio::io_context& data, asio::io_context& news)
      : rendezvous_(rendezvous), data_(data), news_(news), end_(Clock::now() + rendezvous.patience) {
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
  std::string name(const Hello& hello) const {
    return fmt::format("Rank {} on {}", hello.rank, hello.identity.host.data());
  }

  tcp::socket& place_of(int rank, Channel channel) {
    return (channel == Channel::data ? party_.data : party_.news)[static_cast<std::size_t>(rank)];
  }

  // Rank 0.

  void receive_all() {
    Address address = rendezvous_.address;
    std::string token = rendezvous_.token;
    std::optional<RendezvousFile> file;
    if (has_file()) {
      address = {rendezvous_.on_one_host ? "127.0.0.1" : own_host(), 0};
      token = random_token();
    }
    Reception reception(io_, address, token);
    if (has_file()) {
      address.port = reception.port();
      file.emplace(rendezvous_.file, address, token);
    }
    take_in(reception, 0);
    // A rank that came over loopback is on this host: the others reach it where they reach this one.
    for (int rank = 1; rank < rendezvous_.size; ++rank) {
      tcp::socket& to = place_of(rank, Channel::news);
      std::vector<Entry> told = entries_;
      const asio::ip::address here = to.local_endpoint().address();
      for (Entry& each : told) {
        if (is_loopback(each.host.data()) && !here.is_loopback()) {
          each.host = {};
          copy_text(here.to_string(), each.host);
        }
      }
      ErrorCode error;
      asio::write(to, asio::buffer(told.data(), told.size() * sizeof(Entry)), error);
      if (error) {
        fail(ErrorKind::io, "Rank {} on {} has ended: {}.", rank, entry(rank).identity.host.data(), error.message());
      }
    }
  }

  // Waits for both connections of each rank above `own`.
  void take_in(Reception& reception, int own) {
    const auto missing = [&] {
      std::vector<int> ranks;
      for (int rank = own + 1; rank < rendezvous_.size; ++rank) {
        if (!place_of(rank, Channel::data).is_open() || !place_of(rank, Channel::news).is_open()) ranks.push_back(rank);
      }
      return ranks;
    };
    while (true) {
      const std::vector<int> ranks = missing();
      if (ranks.empty()) return;
      const std::shared_ptr<Guest> guest = reception.next(std::min(end_, Clock::now() + between_tries));
      if (!guest && rendezvous_.look) rendezvous_.look();
      if (!guest && Clock::now() < end_) continue;
      if (!guest) {
        fail(ErrorKind::io,
             "Of {} processes, rank{} {} did not come to rank {} at {} within {:g} seconds. Every process needs the "
             "same address, which it reaches through the network and firewalls.",
             rendezvous_.size, ranks.size() == 1 ? "" : "s", fmt::join(ranks, ", "), own, where(),
             std::chrono::duration<double>(rendezvous_.patience).count());
      }
      welcome(*guest, own);
    }
  }

  void welcome(Guest& guest, int own) {
    const Hello& hello = guest.hello;
    if (hello.size != rendezvous_.size) {
      fail(ErrorKind::usage, "{} was told of {} processes, rank {} of {}.", name(hello), hello.size, own,
           rendezvous_.size);
    }
    if (hello.rank <= own || hello.rank >= rendezvous_.size || hello.channel > Channel::data ||
        place_of(hello.rank, hello.channel).is_open()) {
      fail(ErrorKind::usage, "{} came twice or is none of {} processes: each needs a rank of its own.", name(hello),
           rendezvous_.size);
    }
    ErrorCode error;
    const std::string host = guest.socket.remote_endpoint(error).address().to_string();
    asio::write(guest.socket, asio::buffer("!", 1), error);
    if (error) return;  // it comes again
    if (own == 0) {
      Entry& told = entry(hello.rank);
      told = {};
      told.identity = hello.identity;
      told.port = hello.port;
      copy_text(plain(host), told.host);
    }
    place_of(hello.rank, hello.channel) = handed_to(hello.channel == Channel::data ? data_ : news_, guest.socket);
  }

  // An IPv4 address as such where it came in IPv6's clothes.
  static std::string plain(const std::string& host) {
    constexpr std::string_view prefix = "::ffff:";
    return host.starts_with(prefix) ? host.substr(prefix.size()) : host;
  }

  // Other ranks.

  void join() {
    Problem problem;
    Place place{rendezvous_.address, rendezvous_.token};
    Clock::time_point end = end_;
    std::chrono::milliseconds patience = rendezvous_.patience;
    while (true) {
      Problem found = problem;
      const bool is_known = !has_file() || read_place(rendezvous_.file, place);
      if (is_known && try_to_join(place, found)) return;
      if (!problem.is_lasting) problem = found;
      if (problem.is_lasting && patience > patience_with_refusal) {
        patience = patience_with_refusal;
        end = std::min(end, Clock::now() + patience);
      }
      if (Clock::now() >= end) {
        if (problem.text.empty()) problem.text = "rank 0 has not written the file";
        fail(ErrorKind::io,
             "Rank {} cannot join rank 0 at {} ({:g} seconds): {}. --rendezvous names the address of rank 0, or a file "
             "that all processes see.",
             rendezvous_.rank, where(), std::chrono::duration<double>(patience).count(), problem.text);
      }
      std::this_thread::sleep_for(between_tries);
    }
  }

  bool try_to_join(const Place& place, Problem& problem) {
    const bool is_local = is_loopback(place.address.host);
    if (!reception_ || reception_token_ != place.token) {
      reception_.reset();
      reception_.emplace(io_, Address{is_local ? place.address.host : "", 0}, place.token);
      reception_token_ = place.token;
    }
    for (const Channel channel : {Channel::news, Channel::data}) {
      if (!call(place.address, 0, channel, place.token, problem)) return false;
    }
    learn_of_others(place);
    return true;
  }

  // After rank 0 has let this one in.
  void learn_of_others(const Place& place) {
    tcp::socket& leader = place_of(0, Channel::news);
    std::optional<ErrorCode> result;
    asio::async_read(leader, asio::buffer(entries_.data(), entries_.size() * sizeof(Entry)),
                     [&result](const ErrorCode& outcome, std::size_t /*bytes*/) { result = outcome; });
    run_until(news_, end_ + between_tries, [&] { return result.has_value(); });
    if (!result || *result) {
      ErrorCode ignored;
      ignored = leader.close(ignored);
      run_until(news_, Clock::time_point::max(), [&] { return result.has_value(); });
      fail(ErrorKind::io, "Rank 0 at {} has ended before all {} processes had come; it says why.", where(),
           rendezvous_.size);
    }
    for (int other = 1; other < rendezvous_.rank; ++other) {
      const Entry& told = entry(other);
      const Address address{told.host.data(), told.port};
      for (const Channel channel : {Channel::news, Channel::data}) {
        Problem problem;
        while (!call(address, other, channel, place.token, problem)) {
          if (Clock::now() >= end_) {
            fail(ErrorKind::io, "Rank {} cannot reach rank {} on {} at {}: {}.", rendezvous_.rank, other,
                 told.identity.host.data(), text_of(address), problem.text);
          }
          std::this_thread::sleep_for(between_tries);
        }
      }
    }
    take_in(*reception_, rendezvous_.rank);
    reception_.reset();
  }

  // Connects one channel to another rank that listens there.
  bool call(const Address& address, int rank, Channel channel, const std::string& token, Problem& problem) {
    ErrorCode error;
    tcp::resolver resolver(io_);
    const auto found = resolver.resolve(address.host, std::to_string(address.port), error);
    if (error) {
      problem = {fmt::format("the host {} is not known ({})", address.host, error.message()),
                 error == asio::error::host_not_found};
      return false;
    }
    tcp::socket socket(io_);
    std::optional<ErrorCode> connected;
    asio::async_connect(socket, found, [&](const ErrorCode& outcome, const tcp::endpoint&) { connected = outcome; });
    if (!run_until(io_, end_, [&] { return connected.has_value(); })) {
      ErrorCode ignored;
      ignored = socket.close(ignored);
      run_until(io_, Clock::time_point::max(), [&] { return connected.has_value(); });
      if (problem.text.empty()) problem.text = "nobody answers there";  // else the reason of an earlier try
      return false;
    }
    if (*connected) {
      problem = {connected->message()};
      return false;
    }
    Hello hello;
    copy_text(token, hello.token);
    hello.size = rendezvous_.size;
    hello.rank = rendezvous_.rank;
    hello.port = reception_->port();
    hello.channel = channel;
    hello.identity = Identity::own();
    char answer = 0;
    std::optional<ErrorCode> result = send(io_, socket, asio::buffer(&hello, sizeof hello), end_);
    if (result && !*result) result = receive(io_, socket, asio::buffer(&answer, 1), end_);
    if (!result || *result) {
      problem = {result ? "what listens there closed the connection: it is of another run, another version, or no mslt"
                        : "what listens there does not answer",
                 true};
      return false;
    }
    place_of(rank, channel) = handed_to(channel == Channel::data ? data_ : news_, socket);
    return true;
  }

  Rendezvous rendezvous_;
  asio::io_context& data_;
  asio::io_context& news_;
  asio::io_context io_;
  Clock::time_point end_;
  Party party_;
  std::vector<Entry> entries_;
  std::optional<Reception> reception_;  // of ranks above this one
  std::string reception_token_;
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
