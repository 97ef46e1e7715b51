// HttpConnection: one client's socket. Everything here runs on the network thread.
#pragma once

#include <atomic>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/thread_pool.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "serve/http_server.h"

namespace mslt::serve {

class HttpConnection;

// What all connections share. Outlives them.
struct HttpShared {
  HttpOptions options;
  HttpServer::Handler handler;
  HttpServer::Refusal refusal;
  boost::asio::io_context network{1};
  boost::asio::thread_pool pool;
  std::set<std::shared_ptr<HttpConnection>> connections = {};
  std::size_t body_bytes = 0;  // of requests that are being received
  std::atomic<std::size_t> connection_count{0};
  std::atomic<std::size_t> exchange_count{0};
  std::atomic<bool> closing{false};
  std::mutex late_mutex;
  bool pool_has_ended = false;                   // guarded by late_mutex, as the next
  std::vector<std::function<void()>> late = {};  // work for the pool that came after its end

  HttpShared(const HttpOptions& given, HttpServer::Handler handle, HttpServer::Refusal refuse)
      : options(given), handler(std::move(handle)), refusal(std::move(refuse)), pool(given.handler_threads) {}

  // Runs what came late for the pool; whether there was any.
  bool run_late();
};

// Reads requests one after the other, hands each to the handler, and writes its response before it looks at the next.
// It goes on reading meanwhile, up to a limit, so that it notices a client that leaves.
class HttpConnection : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(HttpShared& shared, boost::asio::ip::tcp::socket socket);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;
  HttpConnection& operator=(const HttpConnection&) = delete;

  void start();
  // Answers with a status at once and ends the connection, for one too many.
  void refuse(int status, const std::string& message);
  // Looks at the clocks; called several times a second.
  void tick(std::chrono::steady_clock::time_point now);
  // Ends the connection and abandons the exchange.
  void close();

 private:
  class Exchange;
  struct Input;
  enum class Phase { reading, answering, lingering, closed };

  void read();
  void on_read(bool ended, bool failed, std::size_t bytes);
  void parse();
  void count_body(std::size_t bytes);
  void dispatch();
  void answer(const std::shared_ptr<Exchange>& exchange, HttpResponse response);
  void start_stream(const std::shared_ptr<Exchange>& exchange, HttpResponse head, std::string ping,
                    std::function<HttpPiece()> pull);
  void pull();
  void add_piece(std::string_view bytes);
  void send_head(const HttpResponse& response, bool has_length);
  void write();
  void write_some();
  void on_written(bool failed, std::size_t bytes);
  void finish();
  void linger();

  HttpShared& shared_;
  boost::asio::ip::tcp::socket socket_;
  std::unique_ptr<Input> input_;
  std::shared_ptr<Exchange> exchange_;
  Phase phase_ = Phase::reading;
  bool is_reading_ = false;
  bool input_ended_ = false;
  bool is_writing_ = false;
  bool is_streaming_ = false;
  bool is_complete_ = false;  // the response's last byte is in output_
  bool is_chunked_ = false;   // the stream's framing
  bool keep_alive_ = true;    // after this response
  bool continued_ = false;    // 100 Continue was sent
  std::size_t counted_body_ = 0;
  std::string output_;
  std::size_t output_written_ = 0;
  std::chrono::steady_clock::time_point since_;     // of the phase, or of the request's first byte
  std::chrono::steady_clock::time_point progress_;  // when the client last took a byte
  bool has_begun_ = false;                          // a request's first byte has come
};

}  // namespace mslt::serve
