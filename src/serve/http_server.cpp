// Listening, accepting, and the threads of the server.
#include "serve/http_server.h"

#include <atomic>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/ip/v6_only.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/steady_timer.hpp>
#include <chrono>
#include <optional>
#include <vector>

#include "base/fail.h"
#include "base/joining_thread.h"
#include "serve/http_connection.h"

namespace mslt::serve {
namespace {

using boost::asio::ip::tcp;
using ErrorCode = boost::system::error_code;

constexpr std::chrono::milliseconds tick_time{250};
// After the system refused a socket, for want of descriptors say.
constexpr std::chrono::milliseconds accept_pause{100};
constexpr int backlog = 4096;

tcp::endpoint endpoint_of(const HttpOptions& options, boost::asio::io_context& network) {
  ErrorCode error;
  tcp::resolver resolver(network);
  const auto found = resolver.resolve(options.host, std::to_string(options.port), tcp::resolver::passive, error);
  if (error || found.empty()) {
    fail(ErrorKind::usage, "--host {} is no address of this machine: {}. 127.0.0.1 is this machine alone, 0.0.0.0 all.",
         options.host, error.message());
  }
  return found.begin()->endpoint();
}

}  // namespace

struct HttpServer::State {
  State(const HttpOptions& options, Handler handler, Refusal refusal)
      : shared(options, std::move(handler), std::move(refusal)), acceptor(shared.network), ticker(shared.network) {
    const tcp::endpoint endpoint = endpoint_of(options, shared.network);
    try {
      acceptor.open(endpoint.protocol());
      acceptor.set_option(boost::asio::socket_base::reuse_address(true));
      acceptor.bind(endpoint);
      acceptor.listen(backlog);
      local = acceptor.local_endpoint();
    } catch (const boost::system::system_error& error) {
      fail(ErrorKind::io, "The server cannot listen on --host {} --port {}: {}. --port 0 takes any free port.",
           options.host, options.port, error.code().message());
    }
  }

  void run() {
    accept();
    tick();
    while (true) {
      // Nothing in here throws but for want of memory, which ends one connection's turn and not the server.
      try {
        shared.network.run();
        return;
      } catch (const std::exception&) {
        continue;
      }
    }
  }

  void accept() {
    acceptor.async_accept([this](const ErrorCode& error, tcp::socket socket) {
      if (!acceptor.is_open()) return;
      if (error) {
        pause.emplace(shared.network, accept_pause);
        pause->async_wait([this](const ErrorCode& cancelled) {
          if (!cancelled) accept();
        });
        return;
      }
      take(std::move(socket));
      accept();
    });
  }

  void take(tcp::socket socket) {
    const bool is_full = shared.connections.size() >= shared.options.max_connections;
    // A few more may wait to hear that they are too many.
    if (shared.connections.size() >= shared.options.max_connections + shared.options.max_connections / 8 + 8) return;
    const auto connection = std::make_shared<HttpConnection>(shared, std::move(socket));
    shared.connections.insert(connection);
    if (is_full) {
      connection->refuse(503, "There are too many connections; try again later.");
    } else {
      connection->start();
    }
  }

  void tick() {
    ticker.expires_after(tick_time);
    ticker.async_wait([this](const ErrorCode& cancelled) {
      if (cancelled || !acceptor.is_open()) return;
      const auto now = std::chrono::steady_clock::now();
      for (const auto& connection : all()) connection->tick(now);
      tick();
    });
  }

  // Connections take themselves out of the set.
  std::vector<std::shared_ptr<HttpConnection>> all() const {
    return {shared.connections.begin(), shared.connections.end()};
  }

  HttpShared shared;
  tcp::acceptor acceptor;
  tcp::endpoint local;
  boost::asio::steady_timer ticker;
  std::optional<boost::asio::steady_timer> pause;
  std::optional<JoiningThread> thread;
  std::atomic<bool> is_stopped{false};
};

HttpServer::HttpServer(const HttpOptions& options, Handler handler, Refusal refusal)
    : state_(std::make_unique<State>(options, std::move(handler), std::move(refusal))) {
  state_->thread.emplace([state = state_.get()] { state->run(); });
}

HttpServer::~HttpServer() {
  stop();
}

std::uint16_t HttpServer::port() const {
  return state_->local.port();
}

bool HttpServer::is_loopback() const {
  return state_->local.address().is_loopback();
}

std::size_t HttpServer::connections() const {
  return state_->shared.connection_count;
}

std::size_t HttpServer::exchanges() const {
  return state_->shared.exchange_count;
}

void HttpServer::close_after_responses() {
  state_->shared.closing = true;
}

void HttpServer::stop() {
  if (state_->is_stopped.exchange(true)) return;
  boost::asio::post(state_->shared.network, [state = state_.get()] {
    ErrorCode ignored;
    ignored = state->acceptor.close(ignored);
    state->ticker.cancel();
    state->pause.reset();
    for (const auto& connection : state->all()) connection->close();
  });
  // Without connections the network's thread has nothing left to do and ends. Then the handlers end, and what they
  // still asked of the network is done here.
  state_->thread.reset();
  state_->shared.pool.join();
  HttpShared& shared = state_->shared;
  {
    const std::scoped_lock lock(shared.late_mutex);
    shared.pool_has_ended = true;
  }
  shared.network.restart();
  while (shared.network.poll() > 0 || shared.run_late()) {
  }
}

}  // namespace mslt::serve
