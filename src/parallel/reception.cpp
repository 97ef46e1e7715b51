// Accepting connections, and who may stay.
#include "parallel/reception.h"

#include <fcntl.h>
#include <string.h>

#include <algorithm>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <cerrno>
#include <thread>
#include <type_traits>
#include <utility>

#include "base/fail.h"
#include "base/system_error.h"

namespace mslt {
namespace {

namespace asio = boost::asio;
using asio::ip::tcp;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

static_assert(std::is_trivially_copyable_v<Hello> && std::is_trivially_copyable_v<Answer>);

constexpr int backlog = 4096;
// Far below the least limit on descriptors, and more than come between two looks.
constexpr std::size_t most_silent = 64;
constexpr std::chrono::seconds to_speak{5};
constexpr std::chrono::milliseconds without_descriptors{100};

}  // namespace

std::string_view Answer::text() const {
  return {reason.data(), ::strnlen(reason.data(), reason.size())};
}

ErrorCode listen_at(tcp::acceptor& acceptor, const tcp::endpoint& endpoint) {
  ErrorCode error;
  error = acceptor.open(endpoint.protocol(), error);
  if (!error) error = acceptor.set_option(asio::socket_base::reuse_address(true), error);
  ErrorCode ignored;
  if (!error && endpoint.address().is_v6()) ignored = acceptor.set_option(asio::ip::v6_only(false), ignored);
  if (!error) error = acceptor.bind(endpoint, error);
  if (!error) error = acceptor.listen(backlog, error);
  return error;
}

bool Guest::is_there() {
  ErrorCode error;
  char next = 0;
  error = socket.non_blocking(true, error);
  socket.receive(asio::buffer(&next, 1), tcp::socket::message_peek, error);
  const bool is_silent = error == asio::error::would_block || error == asio::error::try_again;
  ErrorCode ignored;
  ignored = socket.non_blocking(false, ignored);
  return !error || is_silent;
}

bool Guest::answer(Answer::Verdict verdict, std::string_view reason) {
  Answer answer{.verdict = verdict};
  copy_text(reason, answer.reason);
  ErrorCode error;
  asio::write(socket, asio::buffer(&answer, sizeof answer), error);
  return !error;
}

Reception::Reception(asio::io_context& io, const Address& address, std::string token, int listener)
    : io_(io), acceptor_(io), token_(std::move(token)) {
  if (listener >= 0) {
    take_over(listener);
  } else {
    listen(address);
  }
  accept();
}

Reception::~Reception() {
  is_over_ = true;
  ErrorCode ignored;
  ignored = acceptor_.close(ignored);
  for (const auto& guest : waiting_) ignored = guest->socket.close(ignored);
  io_.restart();
  io_.poll();
}

std::shared_ptr<Guest> Reception::next(Clock::time_point end) {
  while (!waiting_.empty() && Clock::now() - waiting_.front()->came > to_speak) send_oldest_away();
  run_until(io_, end, [this] { return !arrived_.empty(); });
  if (arrived_.empty()) return nullptr;
  std::shared_ptr<Guest> guest = std::move(arrived_.front());
  arrived_.pop_front();
  return guest;
}

void Reception::listen(const Address& address) {
  ErrorCode error;
  if (is_loopback(address.host)) {
    ErrorCode is_name;
    asio::ip::address own = asio::ip::make_address(address.host, is_name);
    if (is_name) own = asio::ip::address_v4::loopback();
    error = listen_at(acceptor_, {own, address.port});
  } else {
    error = listen_at(acceptor_, {tcp::v6(), address.port});
    if (error == asio::error::address_family_not_supported || error == boost::system::errc::address_not_available) {
      ErrorCode ignored;
      ignored = acceptor_.close(ignored);
      error = listen_at(acceptor_, {tcp::v4(), address.port});
    }
  }
  if (error) {
    fail(ErrorKind::io, "Rank 0 cannot listen on {}: {}. --rendezvous names another address or a file.",
         text_of(address), error.message());
  }
}

void Reception::take_over(int listener) {
  const int copy = ::fcntl(listener, F_DUPFD_CLOEXEC, 0);
  if (copy < 0) fail_io("take over", "a socket that listens", errno);
  acceptor_.assign(tcp::v4(), copy);
}

void Reception::accept() {
  acceptor_.async_accept([this](const ErrorCode& error, tcp::socket socket) {
    if (is_over_) return;
    if (error) {
      // For want of descriptors, say.
      send_oldest_away();
      std::this_thread::sleep_for(without_descriptors);
    } else {
      if (waiting_.size() == most_silent) send_oldest_away();
      greet(std::make_shared<Guest>(std::move(socket), Clock::now()));
    }
    accept();
  });
}

void Reception::greet(const std::shared_ptr<Guest>& guest) {
  waiting_.push_back(guest);
  Hello& hello = guest->hello;
  asio::async_read(guest->socket, asio::buffer(&hello, sizeof hello),
                   [this, guest](const ErrorCode& error, std::size_t /*bytes*/) {
                     if (is_over_) return;
                     std::erase(waiting_, guest);
                     if (!error) judge(guest);
                   });
}

void Reception::judge(const std::shared_ptr<Guest>& guest) {
  if (guest->hello.magic_number != Hello::magic) return;
  guest->hello.identity.host.back() = '\0';
  std::array<char, 128> token{};
  copy_text(token_, token);
  if (guest->hello.token == token) {
    arrived_.push_back(guest);
  } else {
    guest->answer(Answer::Verdict::other_run);
  }
}

void Reception::send_oldest_away() {
  if (waiting_.empty()) return;
  ErrorCode ignored;
  ignored = waiting_.front()->socket.close(ignored);
  waiting_.pop_front();
}

}  // namespace mslt
