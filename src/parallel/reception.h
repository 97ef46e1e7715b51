// Where the processes of a run that come by TCP are let in, and what they say first.
#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <string>
#include <string_view>

#include "parallel/address.h"
#include "parallel/peer_watch.h"

namespace mslt {

// What a connection is for.
enum class Channel : std::uint8_t { news, data };

// The first bytes of a connection. All machines of a run have the same byte order; where not, the magic differs.
struct Hello {
  static constexpr std::uint64_t magic = 0x3274656d746c736d;  // "msltmet2"

  std::uint64_t magic_number = magic;
  std::array<char, 128> token{};
  std::int32_t size = 0;
  std::int32_t rank = 0;
  std::uint16_t port = 0;  // where this rank listens
  Channel channel = Channel::news;
  std::array<std::byte, 5> unused{};
  Identity identity;
};

// What is said to it.
struct Answer {
  enum class Verdict : char { welcome = '!', other_run = '~', refused = '?' };

  Verdict verdict = Verdict::welcome;
  std::array<char, 255> reason{};  // of a refusal: a sentence without its full stop

  std::string_view text() const;
};

// Puts a text into a field of fixed size, cut where it is too long.
template <std::size_t N>
void copy_text(std::string_view text, std::array<char, N>& field) {
  field = {};
  text.copy(field.data(), N - 1);
}

// Runs what was begun in `io` until `is_done` or the time is over; returns whether it is done.
template <class Done>
bool run_until(boost::asio::io_context& io, std::chrono::steady_clock::time_point end, Done is_done) {
  while (!is_done()) {
    if (io.stopped()) io.restart();
    if (io.run_one_until(end) == 0 && std::chrono::steady_clock::now() >= end) return is_done();
  }
  return true;
}

// Has the acceptor, closed before, listen at the endpoint; of IPv6, for IPv4 as well. Returns why it does not, if so.
boost::system::error_code listen_at(boost::asio::ip::tcp::acceptor& acceptor,
                                    const boost::asio::ip::tcp::endpoint& endpoint);

// A process that has come.
struct Guest {
  Guest(boost::asio::ip::tcp::socket connected, std::chrono::steady_clock::time_point when)
      : socket(std::move(connected)), came(when) {}
  // Whether it has not closed its end meanwhile.
  bool is_there();
  // Says it; false where the guest does not hear it.
  bool answer(Answer::Verdict verdict, std::string_view reason = {});

  boost::asio::ip::tcp::socket socket;
  std::chrono::steady_clock::time_point came;
  Hello hello;
};

// Lets those in who know the token, and nobody else. Who says nothing holds up nobody, and is sent away after a while.
// One thread at a time.
class Reception {
 public:
  // Listens at the address, or with `listener`, a socket that does so and stays its owner's. Throws Error(io).
  Reception(boost::asio::io_context& io, const Address& address, std::string token, int listener = -1);
  Reception(const Reception&) = delete;
  Reception& operator=(const Reception&) = delete;
  // Handlers refer to this object.
  ~Reception();

  std::uint16_t port() const { return acceptor_.local_endpoint().port(); }
  const std::string& token() const { return token_; }

  // The next one that knows the token; null when the time is over.
  std::shared_ptr<Guest> next(std::chrono::steady_clock::time_point end);

 private:
  void listen(const Address& address);
  void take_over(int listener);
  void accept();
  void greet(const std::shared_ptr<Guest>& guest);
  void judge(const std::shared_ptr<Guest>& guest);
  void send_oldest_away();

  boost::asio::io_context& io_;
  boost::asio::ip::tcp::acceptor acceptor_;
  std::string token_;
  std::list<std::shared_ptr<Guest>> waiting_;  // that have not said who they are, by their coming
  std::deque<std::shared_ptr<Guest>> arrived_;
  bool is_over_ = false;
};

}  // namespace mslt
