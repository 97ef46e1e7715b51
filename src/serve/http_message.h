// Requests and responses as the routes see them, without sockets or threads.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mslt::serve {

using HttpHeaders = std::vector<std::pair<std::string, std::string>>;

struct HttpRequest {
  std::string method;        // in capitals
  std::string path;          // the target up to '?'
  HttpHeaders headers = {};  // names in small letters
  std::string body = {};

  // The value of the first header with this name, in small letters; empty if there is none.
  std::string_view header(std::string_view name) const;
};

struct HttpResponse {
  int status = 200;
  std::string content_type = "application/json";
  std::string body = {};
  HttpHeaders headers = {};  // besides Content-Type, Content-Length, Connection and Date
};

// A part of a streamed body.
struct HttpPiece {
  std::string bytes = {};  // empty: nothing is ready; wake() tells when there is
  bool last = false;
};

// One request that waits for its response. All functions may be called from any thread and return at once; the
// functions given to it run on the network thread, one at a time. After the response is complete or the client has
// gone, calls do nothing.
class HttpExchange {
 public:
  virtual ~HttpExchange() = default;

  virtual const HttpRequest& request() const = 0;
  // Answers as a whole.
  virtual void respond(HttpResponse response) = 0;
  // Answers in pieces. `pull` is called when the client can take more, so a slow client slows nobody down; while it
  // gives nothing, `ping` is sent from time to time. `head.body` is ignored.
  virtual void stream(HttpResponse head, std::string ping, std::function<HttpPiece()> pull) = 0;
  // Makes a stream pull again.
  virtual void wake() = 0;
  // Called once if the client goes away or the server ends before the response is complete; soon, if that has
  // happened already. A client that can still read but has ended its sending counts as gone.
  virtual void on_abandon(std::function<void()> action) = 0;
  // Called once if the response is not complete by then.
  virtual void on_deadline(std::chrono::steady_clock::time_point deadline, std::function<void()> action) = 0;
  // Runs on the network thread, which must not be kept long.
  virtual void post(std::function<void()> action) = 0;
  // Runs on a thread of the pool that also runs the handler.
  virtual void run_in_background(std::function<void()> action) = 0;
};

// The usual words for a status: "Not Found".
std::string_view reason_phrase(int status);

}  // namespace mslt::serve
