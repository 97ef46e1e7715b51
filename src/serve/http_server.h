// HttpServer: HTTP/1.1 over TCP for thousands of connections, with one thread for the network and a few for handlers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "serve/http_message.h"

namespace mslt::serve {

struct HttpOptions {
  std::string host = "127.0.0.1";
  std::uint16_t port = 8080;  // 0: any free one
  std::size_t max_connections = 1024;
  std::size_t max_body_bytes = 8u << 20;
  std::size_t max_header_bytes = 16u << 10;
  std::size_t max_all_bodies_bytes = 128u << 20;  // of requests that are being received, together
  std::size_t handler_threads = 2;
  double read_seconds = 30.0;   // from a request's first byte to its last
  double idle_seconds = 75.0;   // between requests
  double write_seconds = 30.0;  // without a byte taken by the client
  double ping_seconds = 10.0;   // between signs of life in a stream
};

// Serves from construction to destruction. Keeps connections alive, answers pipelined requests in order, and refuses
// what is malformed, too large or too slow by itself, with the body that `refusal` makes. All functions may be called
// from any thread but the network thread.
class HttpServer {
 public:
  // Runs on a thread of the pool; answers now or later. What it throws becomes an answer of status 500.
  using Handler = std::function<void(std::shared_ptr<HttpExchange>)>;
  // The response to what never becomes a request.
  using Refusal = std::function<HttpResponse(int status, const std::string& message)>;

  // Throws Error(usage) if the host is unknown, Error(io) if the address cannot be listened on.
  HttpServer(const HttpOptions& options, Handler handler, Refusal refusal);
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;
  // As stop().
  ~HttpServer();

  std::uint16_t port() const;
  bool is_loopback() const;
  std::size_t connections() const;
  // Requests whose response is not yet written completely.
  std::size_t exchanges() const;
  // From now on each response ends its connection.
  void close_after_responses();
  // Ends all connections, abandons what they wait for, and returns when no function of an exchange runs any more.
  void stop();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mslt::serve
