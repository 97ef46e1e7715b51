// Reading requests, writing responses, and the clocks of one connection.
#include "serve/http_connection.h"

#include <fmt/format.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/core/string.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cctype>
#include <ctime>
#include <exception>
#include <optional>

namespace mslt::serve {
namespace {

namespace http = boost::beast::http;
using Clock = std::chrono::steady_clock;
using ErrorCode = boost::system::error_code;

// Of requests that came before their turn.
constexpr std::size_t read_ahead_bytes = 64u << 10;
constexpr std::size_t read_bytes = 16u << 10;
constexpr std::chrono::seconds linger_time{2};

bool is_over(Clock::time_point now, Clock::time_point since, double seconds) {
  return std::chrono::duration<double>(now - since).count() > seconds;
}

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[40];
  return {text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts)};
}

std::string small_letters(boost::beast::string_view name) {
  std::string result(name.data(), name.size());
  std::transform(result.begin(), result.end(), result.begin(),
                 [](unsigned char letter) { return static_cast<char>(std::tolower(letter)); });
  return result;
}

int status_of(const ErrorCode& error) {
  if (error == http::error::body_limit) return 413;
  if (error == http::error::header_limit) return 431;
  return 400;
}

}  // namespace

bool HttpShared::run_late() {
  std::vector<std::function<void()>> actions;
  {
    const std::scoped_lock lock(late_mutex);
    actions.swap(late);
  }
  for (const auto& action : actions) action();
  return !actions.empty();
}

struct HttpConnection::Input {
  explicit Input(std::size_t limit) : buffer(limit) {}

  boost::beast::flat_buffer buffer;
  std::optional<http::request_parser<http::string_body>> parser;
};

// Lives as long as somebody may still answer. Its connection may be gone or at a later exchange by then.
class HttpConnection::Exchange final : public HttpExchange, public std::enable_shared_from_this<Exchange> {
 public:
  Exchange(HttpShared& shared, std::weak_ptr<HttpConnection> connection, HttpRequest request)
      : shared_(shared), connection_(std::move(connection)), request_(std::move(request)) {}

  const HttpRequest& request() const override { return request_; }

  void respond(HttpResponse response) override {
    post([self = shared_from_this(), response = std::move(response)]() mutable {
      if (const auto connection = self->connection_.lock()) connection->answer(self, std::move(response));
    });
  }

  void stream(HttpResponse head, std::string ping, std::function<HttpPiece()> pull) override {
    post([self = shared_from_this(), head = std::move(head), ping = std::move(ping), pull = std::move(pull)]() mutable {
      if (const auto connection = self->connection_.lock()) {
        connection->start_stream(self, std::move(head), std::move(ping), std::move(pull));
      }
    });
  }

  void wake() override {
    post([self = shared_from_this()] {
      const auto connection = self->connection_.lock();
      if (connection && connection->exchange_ == self) connection->pull();
    });
  }

  void on_abandon(std::function<void()> action) override {
    post([self = shared_from_this(), action = std::move(action)]() mutable {
      const auto connection = self->connection_.lock();
      if (connection && connection->exchange_ == self) {
        self->abandon_ = std::move(action);
        if (connection->input_ended_) connection->close();
      } else if (!self->is_answered_) {
        action();
      }
    });
  }

  void on_deadline(Clock::time_point deadline, std::function<void()> action) override {
    post([self = shared_from_this(), deadline, action = std::move(action)]() mutable {
      const auto connection = self->connection_.lock();
      if (!connection || connection->exchange_ != self) return;
      self->deadline_ = deadline;
      self->late_ = std::move(action);
    });
  }

  void post(std::function<void()> action) override { boost::asio::post(shared_.network, std::move(action)); }
  void run_in_background(std::function<void()> action) override {
    const std::scoped_lock lock(shared_.late_mutex);
    if (shared_.pool_has_ended) {
      shared_.late.push_back(std::move(action));
    } else {
      boost::asio::post(shared_.pool, std::move(action));
    }
  }

  void tick(Clock::time_point now) {
    if (late_ && now >= deadline_) std::exchange(late_, nullptr)();
  }

  bool can_be_abandoned() const { return abandon_ != nullptr; }

  // The response is complete: forgets the functions, which hold on to others.
  void complete() {
    is_answered_ = true;
    forget();
  }

  void abandon() {
    const auto action = std::move(abandon_);
    forget();
    if (action) action();
  }

  std::string ping = {};
  std::function<HttpPiece()> pull = {};

 private:
  void forget() {
    abandon_ = nullptr;
    late_ = nullptr;
    pull = nullptr;
  }

  HttpShared& shared_;
  std::weak_ptr<HttpConnection> connection_;
  HttpRequest request_;
  bool is_answered_ = false;
  std::function<void()> abandon_ = {};
  std::function<void()> late_ = {};
  Clock::time_point deadline_ = {};
};

HttpConnection::HttpConnection(HttpShared& shared, boost::asio::ip::tcp::socket socket)
    : shared_(shared),
      socket_(std::move(socket)),
      input_(std::make_unique<Input>(shared.options.max_header_bytes + read_ahead_bytes)),
      since_(Clock::now()),
      progress_(since_) {
  ++shared_.connection_count;
}

HttpConnection::~HttpConnection() {
  --shared_.connection_count;
}

void HttpConnection::start() {
  ErrorCode ignored;
  ignored = socket_.set_option(boost::asio::ip::tcp::no_delay(true), ignored);
  ignored = socket_.set_option(boost::asio::socket_base::keep_alive(true), ignored);
  read();
}

void HttpConnection::refuse(int status, const std::string& message) {
  phase_ = Phase::answering;
  keep_alive_ = false;
  is_complete_ = true;
  count_body(0);
  const HttpResponse response = shared_.refusal(status, message);
  send_head(response, true);
  output_ += response.body;
  write();
  read();
}

void HttpConnection::read() {
  if (is_reading_ || input_ended_ || phase_ == Phase::closed) return;
  auto& buffer = input_->buffer;
  if (phase_ == Phase::answering && buffer.size() >= read_ahead_bytes) return;
  const std::size_t room = std::min(read_bytes, buffer.max_size() - buffer.size());
  if (room == 0) return;
  is_reading_ = true;
  socket_.async_read_some(buffer.prepare(room), [self = shared_from_this()](const ErrorCode& error, std::size_t bytes) {
    self->is_reading_ = false;
    self->on_read(error == boost::asio::error::eof, bool(error), bytes);
  });
}

void HttpConnection::on_read(bool ended, bool failed, std::size_t bytes) {
  if (phase_ == Phase::closed) return;
  if (failed && !ended) {
    close();
    return;
  }
  if (phase_ == Phase::lingering) {
    if (ended) {
      close();
    } else {
      read();
    }
    return;
  }
  input_->buffer.commit(bytes);
  input_ended_ = ended;
  if (phase_ == Phase::reading) {
    parse();
  } else if (ended && exchange_ && exchange_->can_be_abandoned()) {
    close();
  } else {
    read();
  }
}

void HttpConnection::parse() {
  auto& buffer = input_->buffer;
  while (phase_ == Phase::reading && buffer.size() > 0) {
    auto& parser = input_->parser;
    if (!parser) {
      // Some clients send a line end after a body.
      const auto* bytes = static_cast<const char*>(buffer.data().data());
      if (bytes[0] == '\r' || bytes[0] == '\n') {
        buffer.consume(1);
        continue;
      }
      parser.emplace();
      parser->eager(true);
      parser->header_limit(static_cast<std::uint32_t>(shared_.options.max_header_bytes));
      parser->body_limit(shared_.options.max_body_bytes);
      continued_ = false;
    }
    if (!std::exchange(has_begun_, true)) since_ = Clock::now();
    ErrorCode error;
    const std::size_t used = parser->put(buffer.data(), error);
    buffer.consume(used);
    count_body(parser->get().body().size());
    if (error && error != http::error::need_more) {
      const int status = status_of(error);
      refuse(status, status == 413 ? fmt::format("The body is larger than {} bytes.", shared_.options.max_body_bytes)
                     : status == 431
                         ? fmt::format("The headers are larger than {} bytes.", shared_.options.max_header_bytes)
                         : fmt::format("This is not a valid HTTP/1.1 request: {}.", error.message()));
      return;
    }
    if (parser->is_done()) {
      dispatch();
      return;
    }
    if (shared_.body_bytes > shared_.options.max_all_bodies_bytes) {
      refuse(503, "Too many large requests arrive at once; try again later.");
      return;
    }
    if (parser->is_header_done() && !std::exchange(continued_, true) &&
        boost::beast::iequals(parser->get()[http::field::expect], "100-continue")) {
      output_ += "HTTP/1.1 100 Continue\r\n\r\n";
      write();
    }
    if (used == 0) {
      if (buffer.size() == buffer.max_size()) {
        refuse(400, "This is not a valid HTTP/1.1 request: a line is too long.");
        return;
      }
      break;
    }
  }
  if (phase_ != Phase::reading) return;
  if (input_ended_) {
    close();
  } else {
    read();
  }
}

void HttpConnection::count_body(std::size_t bytes) {
  shared_.body_bytes += bytes - counted_body_;
  counted_body_ = bytes;
}

void HttpConnection::dispatch() {
  auto& message = input_->parser->get();
  HttpRequest request;
  request.method = std::string(message.method_string());
  const boost::beast::string_view target = message.target();
  request.path = std::string(target.substr(0, target.find('?')));
  for (const auto& field : message) {
    request.headers.emplace_back(small_letters(field.name_string()), std::string(field.value()));
  }
  keep_alive_ = message.keep_alive() && !shared_.closing;
  is_chunked_ = message.version() >= 11;
  is_streaming_ = false;
  is_complete_ = false;
  request.body = std::move(message.body());
  input_->parser.reset();
  count_body(0);
  has_begun_ = false;
  phase_ = Phase::answering;
  ++shared_.exchange_count;
  exchange_ = std::make_shared<Exchange>(shared_, weak_from_this(), std::move(request));
  boost::asio::post(shared_.pool, [exchange = exchange_, &shared = shared_] {
    try {
      shared.handler(exchange);
    } catch (const std::exception& error) {
      exchange->respond(shared.refusal(500, error.what()));
    }
  });
  read();
}

void HttpConnection::answer(const std::shared_ptr<Exchange>& exchange, HttpResponse response) {
  if (exchange_ != exchange || is_streaming_ || is_complete_) return;
  is_complete_ = true;
  send_head(response, true);
  if (exchange->request().method != "HEAD") output_ += response.body;
  write();
}

void HttpConnection::start_stream(const std::shared_ptr<Exchange>& exchange, HttpResponse head, std::string ping,
                                  std::function<HttpPiece()> pull_piece) {
  if (exchange_ != exchange || is_streaming_ || is_complete_) return;
  is_streaming_ = true;
  if (!is_chunked_) keep_alive_ = false;
  exchange->ping = std::move(ping);
  exchange->pull = std::move(pull_piece);
  send_head(head, false);
  write();
}

void HttpConnection::pull() {
  if (phase_ != Phase::answering || !is_streaming_ || is_writing_ || is_complete_) return;
  const HttpPiece piece = exchange_->pull();
  if (!piece.bytes.empty()) add_piece(piece.bytes);
  if (piece.last) {
    is_complete_ = true;
    if (is_chunked_) output_ += "0\r\n\r\n";
  }
  write();
}

void HttpConnection::add_piece(std::string_view bytes) {
  if (is_chunked_) output_ += fmt::format("{:x}\r\n", bytes.size());
  output_ += bytes;
  if (is_chunked_) output_ += "\r\n";
}

void HttpConnection::send_head(const HttpResponse& response, bool has_length) {
  if (shared_.closing) keep_alive_ = false;
  output_ +=
      fmt::format("HTTP/1.1 {} {}\r\nDate: {}\r\n", response.status, reason_phrase(response.status), http_date());
  if (response.status != 204) {
    output_ += fmt::format("Content-Type: {}\r\n", response.content_type);
    if (has_length) {
      output_ += fmt::format("Content-Length: {}\r\n", response.body.size());
    } else if (is_chunked_) {
      output_ += "Transfer-Encoding: chunked\r\n";
    }
  }
  for (const auto& [name, value] : response.headers) output_ += fmt::format("{}: {}\r\n", name, value);
  output_ += keep_alive_ ? "Connection: keep-alive\r\n\r\n" : "Connection: close\r\n\r\n";
}

void HttpConnection::write() {
  if (is_writing_ || phase_ == Phase::closed) return;
  if (output_.empty()) {
    if (is_complete_) finish();
    return;
  }
  is_writing_ = true;
  progress_ = Clock::now();
  write_some();
}

void HttpConnection::write_some() {
  socket_.async_write_some(
      boost::asio::buffer(output_.data() + output_written_, output_.size() - output_written_),
      [self = shared_from_this()](const ErrorCode& error, std::size_t bytes) { self->on_written(bool(error), bytes); });
}

void HttpConnection::on_written(bool failed, std::size_t bytes) {
  if (phase_ == Phase::closed) return;
  if (failed) {
    close();
    return;
  }
  progress_ = Clock::now();
  output_written_ += bytes;
  if (output_written_ < output_.size()) {
    write_some();
    return;
  }
  is_writing_ = false;
  output_.clear();
  output_written_ = 0;
  // An interim response ends nothing.
  if (phase_ != Phase::answering) return;
  if (is_complete_) {
    finish();
  } else {
    pull();
  }
}

void HttpConnection::finish() {
  if (exchange_) {
    exchange_->complete();
    exchange_.reset();
    --shared_.exchange_count;
  }
  is_streaming_ = false;
  is_complete_ = false;
  // A large response is rare; its memory is not kept for the next one.
  output_.shrink_to_fit();
  if (!keep_alive_) {
    linger();
    return;
  }
  phase_ = Phase::reading;
  since_ = Clock::now();
  parse();
}

void HttpConnection::linger() {
  // Closing at once could destroy the response while the client still sends.
  phase_ = Phase::lingering;
  since_ = Clock::now();
  ErrorCode ignored;
  ignored = socket_.shutdown(boost::asio::ip::tcp::socket::shutdown_send, ignored);
  input_->parser.reset();
  input_->buffer.consume(input_->buffer.size());
  if (input_ended_) {
    close();
  } else {
    read();
  }
}

void HttpConnection::tick(Clock::time_point now) {
  const HttpOptions& options = shared_.options;
  switch (phase_) {
    case Phase::reading:
      if (has_begun_ && is_over(now, since_, options.read_seconds)) {
        refuse(408, "The request did not arrive in time.");
      } else if (!has_begun_ && is_over(now, since_, options.idle_seconds)) {
        close();
      }
      break;
    case Phase::answering:
      if (is_writing_) {
        if (is_over(now, progress_, options.write_seconds)) {
          close();
          return;
        }
      } else if (is_streaming_ && is_over(now, progress_, options.ping_seconds)) {
        add_piece(exchange_->ping);
        write();
      }
      if (exchange_) exchange_->tick(now);
      break;
    case Phase::lingering:
      if (now - since_ > linger_time) close();
      break;
    case Phase::closed:
      break;
  }
}

void HttpConnection::close() {
  if (phase_ == Phase::closed) return;
  const std::shared_ptr<HttpConnection> self = shared_from_this();
  phase_ = Phase::closed;
  ErrorCode ignored;
  ignored = socket_.close(ignored);
  count_body(0);
  shared_.connections.erase(self);
  if (const auto exchange = std::move(exchange_)) {
    --shared_.exchange_count;
    exchange->abandon();
  }
}

}  // namespace mslt::serve
