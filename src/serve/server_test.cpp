// Tests of the server over sockets: well-behaved clients, and all others.
#include <gtest/gtest.h>

#include <thread>

#include "serve/http_server.h"
#include "serve/routes.h"
#include "serve/test_client.h"
#include "serve/test_engine.h"

namespace mslt::serve {
namespace {

std::string post(const std::string& path, const std::string& body, const std::string& headers = {}) {
  return "POST " + path + " HTTP/1.1\r\nHost: h\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + headers +
         "\r\n" + body;
}

std::string get(const std::string& path, const std::string& headers = {}) {
  return "GET " + path + " HTTP/1.1\r\nHost: h\r\n" + headers + "\r\n";
}

int status_of(const std::string& response) {
  return response.size() > 12 ? std::stoi(response.substr(9, 3)) : 0;
}

// The payload of a chunked body.
std::string unchunked(const std::string& body) {
  std::string result;
  std::size_t at = 0;
  while (at < body.size()) {
    const std::size_t line = body.find("\r\n", at);
    const std::size_t length = std::stoul(body.substr(at, line - at), nullptr, 16);
    if (length == 0) break;
    result += body.substr(line + 2, length);
    at = line + 2 + length + 2;
  }
  return result;
}

class ServerTest : public testing::Test {
 protected:
  void start() {
    options_.port = 0;
    routes_.emplace(model_, engine_, route_options_);
    server_.emplace(
        options_, [this](std::shared_ptr<HttpExchange> exchange) { routes_->handle(exchange); },
        [this](int status, const std::string& message) { return routes_->refusal(status, message); });
  }
  std::uint16_t port() { return server_->port(); }
  std::string ask(const std::string& request) {
    TestClient client(port());
    client.send(request);
    return client.read_response();
  }
  // Waits until the server has no connections.
  bool is_left_alone() {
    for (int i = 0; i < 2000 && server_->connections() > 0; ++i) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return server_->connections() == 0;
  }

  HttpOptions options_;
  RouteOptions route_options_;
  ServedModel model_ = test_model();
  TestEngine engine_{model_.tokenizer};
  std::optional<Routes> routes_;
  std::optional<HttpServer> server_;
};

const std::string short_request = R"({"prompt": "abcd", "max_tokens": 6})";
const std::string short_stream = R"({"prompt": "abcd", "max_tokens": 6, "stream": true})";
const std::string endless_stream = R"({"prompt": "abcd", "max_tokens": 2000000000, "stream": true})";

TEST_F(ServerTest, AnswersOnOneConnectionAgainAndAgain) {
  start();
  TestClient client(port());
  for (int i = 0; i < 3; ++i) {
    client.send(post("/v1/completions", short_request));
    const std::string response = client.read_response();
    EXPECT_EQ(status_of(response), 200);
    EXPECT_NE(response.find(R"("text":"abcdab")"), std::string::npos) << response;
  }
  client.send(get("/health", "Connection: close\r\n"));
  EXPECT_NE(client.read_to_end().find(R"({"status":"ok"})"), std::string::npos);
  EXPECT_EQ(server_->exchanges(), 0u);
}

TEST_F(ServerTest, AnswersPipelinedRequestsInOrder) {
  start();
  TestClient client(port());
  std::string all;
  for (const char* letter : {"x", "y", "z"}) {
    all += post("/v1/completions", std::string(R"({"prompt": ")") + letter + R"(", "max_tokens": 3})");
    all += get("/health");
  }
  client.send(all);
  for (const char* text : {"xxx", "yyy", "zzz"}) {
    EXPECT_NE(client.read_response().find(text), std::string::npos);
    EXPECT_NE(client.read_response().find("ok"), std::string::npos);
  }
}

TEST_F(ServerTest, StreamsInChunks) {
  start();
  TestClient client(port());
  client.send(post("/v1/completions", short_stream) + get("/health"));
  const std::string head = client.read_until("\r\n\r\n");
  EXPECT_NE(head.find("Content-Type: text/event-stream"), std::string::npos);
  EXPECT_NE(head.find("Transfer-Encoding: chunked"), std::string::npos);
  const std::string body = unchunked(client.read_until("\r\n0\r\n\r\n"));
  EXPECT_TRUE(body.ends_with("data: [DONE]\n\n"));
  std::string text;
  for (std::size_t at = body.find("\"text\":\""); at != std::string::npos; at = body.find("\"text\":\"", at + 1)) {
    text += body.substr(at + 8, body.find('"', at + 8) - at - 8);
  }
  EXPECT_EQ(text, "abcdab");
  // The request behind it is answered after it.
  EXPECT_EQ(status_of(client.read_response()), 200);
}

TEST_F(ServerTest, StreamsToOldClientsUntilTheEnd) {
  start();
  TestClient client(port());
  client.send("POST /v1/completions HTTP/1.0\r\nContent-Length: " + std::to_string(short_stream.size()) + "\r\n\r\n" +
              short_stream);
  const std::string response = client.read_to_end();
  EXPECT_EQ(response.find("chunked"), std::string::npos);
  EXPECT_TRUE(response.ends_with("data: [DONE]\n\n"));
}

TEST_F(ServerTest, CancelsAQueuedRequestWhoseClientLeaves) {
  start();
  engine_.hold(true);
  TestClient leaving(port());
  TestClient staying(port());
  leaving.send(post("/v1/completions", short_request));
  staying.send(post("/v1/completions", short_request));
  ASSERT_TRUE(engine_.wait_for_submitted(2));
  leaving.close();
  EXPECT_TRUE(engine_.wait_for_cancelled(1));
  engine_.hold(false);
  EXPECT_NE(staying.read_response().find("abcdab"), std::string::npos);
  EXPECT_EQ(engine_.cancelled, 1);
}

TEST_F(ServerTest, CancelsStreamsThatAreCutAndNoOthers) {
  engine_.pace = std::chrono::milliseconds(1);
  start();
  TestClient cut(port());
  TestClient half_open(port());
  for (TestClient* client : {&cut, &half_open}) {
    client->send(post("/v1/completions", endless_stream));
    EXPECT_NE(client->read_until("\"text\":\"").find("200 OK"), std::string::npos);
  }
  cut.cut();
  EXPECT_TRUE(engine_.wait_for_cancelled(1));
  EXPECT_NE(half_open.read_until("data: "), "");
  half_open.end_sending();
  EXPECT_TRUE(engine_.wait_for_cancelled(2));
  EXPECT_NE(ask(post("/v1/completions", short_request)).find("abcdab"), std::string::npos);
  EXPECT_NE(ask(get("/metrics")).find("mslt_http_abandoned_total 2\n"), std::string::npos);
}

TEST_F(ServerTest, AnswersWhatWasAskedBeforeSendingEnded) {
  start();
  TestClient client(port());
  client.send(get("/health") + get("/v1/models"));
  client.end_sending();
  const std::string all = client.read_to_end();
  EXPECT_NE(all.find("ok"), std::string::npos);
  EXPECT_NE(all.find("max_model_len"), std::string::npos);
}

TEST_F(ServerTest, RefusesGarbageAndWhatIsTooLarge) {
  options_.max_body_bytes = 1000;
  start();
  const std::string line = "GET / HTTP/1.1\r\n";
  for (const std::string& garbage :
       {std::string("\x16\x03\x01\x02\x00\x01\x00\x01", 8), std::string("hello\r\n\r\n"),
        std::string(1000, 'A') + "\r\n", std::string("GET  /  HTTP/9.9\r\n\r\n"), line + "no colon\r\n\r\n",
        line + "Content-Length: -1\r\n\r\n", line + "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        line + "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"}) {
    TestClient client(port());
    client.send(garbage);
    client.end_sending();
    const std::string response = client.read_to_end();
    EXPECT_TRUE(response.empty() || status_of(response) == 400) << garbage << response;
  }
  EXPECT_EQ(status_of(ask(line + "A: " + std::string(20'000, 'a') + "\r\n\r\n")), 431);
  EXPECT_EQ(status_of(ask(post("/v1/completions", std::string(2000, ' ')))), 413);
  EXPECT_EQ(status_of(ask("POST /v1/completions HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7d0\r\n" +
                          std::string(2000, ' '))),
            413);
  EXPECT_EQ(status_of(ask(get("/health"))), 200);
}

TEST_F(ServerTest, TakesBodiesInChunksAndAfterConsent) {
  start();
  TestClient client(port());
  client.send("POST /v1/completions HTTP/1.1\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n");
  EXPECT_NE(client.read_until("\r\n\r\n").find("100 Continue"), std::string::npos);
  client.send("5\r\n{\"pro\r\n");
  client.send("1a\r\nmpt\": \"abcd\", \"n\": 2      \r\n1\r\n}\r\n0\r\n\r\n");
  EXPECT_EQ(status_of(client.read_response()), 200);
}

TEST_F(ServerTest, LimitsTheTimeOfEachStep) {
  options_.read_seconds = 0.1;
  options_.idle_seconds = 0.1;
  route_options_.request_seconds = 0.1;
  start();
  EXPECT_EQ(status_of(ask("GET / HT")), 408);
  TestClient idle(port());
  EXPECT_EQ(idle.read_to_end(), "");
  engine_.hold(true);
  const std::string late = ask(post("/v1/completions", short_request));
  EXPECT_EQ(status_of(late), 504);
  EXPECT_TRUE(engine_.wait_for_cancelled(1));
  TestClient client(port());
  client.send(post("/v1/completions", short_stream));
  EXPECT_NE(client.read_until("timeout").find("data: {\"error\""), std::string::npos);
  EXPECT_TRUE(engine_.wait_for_cancelled(2));
}

TEST_F(ServerTest, ShowsThatASilentStreamLives) {
  options_.ping_seconds = 0.05;
  start();
  engine_.hold(true);
  TestClient client(port());
  client.send(post("/v1/chat/completions", R"({"messages": [{"role": "u", "content": "a"}], "stream": true,
    "max_tokens": 2})"));
  EXPECT_NE(client.read_until(": ping\n\n").find("assistant"), std::string::npos);
  EXPECT_NE(client.read_until(": ping\n\n"), "");
  engine_.hold(false);
  EXPECT_NE(client.read_until("[DONE]").find("finish_reason"), std::string::npos);
}

TEST_F(ServerTest, EndsAnswersWhoseClientDoesNotRead) {
  options_.write_seconds = 0.3;
  engine_.pace = std::chrono::microseconds(10);
  start();
  TestClient slow(port(), 4096);
  slow.send(post("/v1/completions", endless_stream));
  EXPECT_TRUE(engine_.wait_for_cancelled(1));
  EXPECT_TRUE(is_left_alone());
}

TEST_F(ServerTest, KeepsLittleForAClientThatReadsSlowly) {
  options_.write_seconds = 1000.0;
  start();
  TestClient slow(port(), 4096);
  // More than sockets hold. While it cannot be sent, the text of many tokens becomes one event.
  slow.send(post("/v1/completions", R"({"prompt": "abcd", "max_tokens": 90000, "stream": true})"));
  ASSERT_TRUE(engine_.wait_for_submitted(1));
  while (engine_.statistics().finished == 0) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  const std::string all = slow.read_until("[DONE]");
  EXPECT_NE(all.find("\"finish_reason\":\"length\""), std::string::npos);
  EXPECT_LT(all.size(), 90'000u * 100);
  EXPECT_EQ(engine_.cancelled, 0);
}

TEST_F(ServerTest, SaysThatItIsFull) {
  options_.max_connections = 2;
  engine_.capacity = 1;
  start();
  engine_.hold(true);
  TestClient first(port());
  first.send(post("/v1/completions", short_request));
  ASSERT_TRUE(engine_.wait_for_submitted(1));
  const std::string refused = ask(post("/v1/completions", short_request));
  EXPECT_EQ(status_of(refused), 429);
  EXPECT_NE(refused.find("Retry-After: "), std::string::npos);
  TestClient second(port());
  second.send(get("/health"));
  EXPECT_EQ(status_of(second.read_response()), 200);
  EXPECT_EQ(status_of(ask(get("/health"))), 503);
  engine_.hold(false);
  EXPECT_EQ(status_of(first.read_response()), 200);
  first.close();
  second.close();
  ASSERT_TRUE(is_left_alone());
  // A queue that holds a part of the answers takes none.
  engine_.hold(true);
  EXPECT_EQ(status_of(ask(post("/v1/completions", R"({"prompt": "a", "n": 2})"))), 429);
  EXPECT_EQ(engine_.cancelled, 1);
}

TEST_F(ServerTest, RefusesAsOpenAiDoes) {
  start();
  EXPECT_EQ(status_of(ask(get("/v2"))), 404);
  const std::string method = ask(get("/v1/completions"));
  EXPECT_EQ(status_of(method), 405);
  EXPECT_NE(method.find("Allow: POST"), std::string::npos);
  EXPECT_EQ(status_of(ask(get("/v1/models/other"))), 404);
  EXPECT_EQ(status_of(ask(get("/v1/models/t%69ny"))), 200);
  const std::string bad = ask(post("/v1/completions", "{"));
  EXPECT_EQ(status_of(bad), 400);
  EXPECT_NE(bad.find(R"("type":"invalid_request_error","param":null,"code":null)"), std::string::npos) << bad;
  const std::string refused = ask(post("/v1/chat/completions", R"({"messages": [{"role": "bad", "content": "a"}]})"));
  EXPECT_EQ(status_of(refused), 400);
  EXPECT_NE(refused.find("unknown role"), std::string::npos);
  engine_.fail_after = 2;
  EXPECT_EQ(status_of(ask(post("/v1/completions", short_request))), 500);
  TestClient client(port());
  client.send(post("/v1/completions", short_stream));
  EXPECT_NE(client.read_until("0\r\n\r\n").find("The device failed."), std::string::npos);
}

TEST_F(ServerTest, AsksForAKey) {
  route_options_.api_keys = {"first", "second"};
  start();
  const std::string without = ask(get("/v1/models"));
  EXPECT_EQ(status_of(without), 401);
  EXPECT_NE(without.find("invalid_api_key"), std::string::npos);
  for (const char* wrong : {"Bearer ", "Bearer firs", "Bearer firstfirst", "Bearer SECOND", "first", "Basic first"}) {
    EXPECT_EQ(status_of(ask(get("/metrics", std::string("Authorization: ") + wrong + "\r\n"))), 401) << wrong;
  }
  EXPECT_EQ(status_of(ask(get("/v1/models", "Authorization: Bearer second\r\n"))), 200);
  EXPECT_EQ(status_of(ask(get("/health"))), 200);
  EXPECT_EQ(status_of(ask(get("/"))), 200);
}

TEST_F(ServerTest, LetsOneOriginIn) {
  route_options_.api_keys = {"key"};
  route_options_.cors_origin = "https://a.example";
  start();
  const std::string allowed = "Access-Control-Allow-Origin: https://a.example\r\n";
  const std::string preflight = ask("OPTIONS /v1/completions HTTP/1.1\r\nOrigin: https://b.example\r\n\r\n");
  EXPECT_EQ(status_of(preflight), 204);
  EXPECT_NE(preflight.find(allowed), std::string::npos);
  EXPECT_EQ(preflight.find("b.example"), std::string::npos);
  EXPECT_EQ(preflight.find("Allow-Credentials"), std::string::npos);
  EXPECT_NE(ask(get("/v1/models")).find(allowed), std::string::npos);
  const std::string key = "Authorization: Bearer key\r\n";
  TestClient client(port());
  client.send(post("/v1/completions", short_stream, key));
  EXPECT_NE(client.read_until("\r\n\r\n").find(allowed), std::string::npos);
  const std::string foreign = "Sec-Fetch-Site: cross-site\r\nOrigin: ";
  EXPECT_EQ(status_of(ask(post("/v1/completions", short_request, key + foreign + "https://b.example\r\n"))), 403);
  EXPECT_EQ(status_of(ask(post("/v1/completions", short_request, key + foreign + "https://a.example\r\n"))), 200);
}

TEST_F(ServerTest, LetsNoOriginInByDefault) {
  start();
  EXPECT_EQ(ask(get("/v1/models", "Origin: https://a.example\r\n")).find("Access-Control"), std::string::npos);
  EXPECT_EQ(status_of(ask(post("/v1/completions", short_request, "Sec-Fetch-Site: cross-site\r\n"))), 403);
}

TEST_F(ServerTest, FinishesRunningAnswersWhileItDrains) {
  start();
  engine_.hold(true);
  TestClient running(port());
  running.send(post("/v1/completions", short_request));
  ASSERT_TRUE(engine_.wait_for_submitted(1));
  routes_->drain();
  server_->close_after_responses();
  EXPECT_EQ(status_of(ask(post("/v1/completions", short_request))), 503);
  EXPECT_EQ(status_of(ask(get("/health"))), 503);
  EXPECT_GE(server_->exchanges(), 1u);
  engine_.hold(false);
  const std::string response = running.read_to_end();
  EXPECT_NE(response.find("abcdab"), std::string::npos);
  EXPECT_NE(response.find("Connection: close"), std::string::npos);
  running.close();
  EXPECT_TRUE(is_left_alone());
}

TEST_F(ServerTest, CancelsAllWhenItStops) {
  start();
  engine_.hold(true);
  TestClient first(port());
  TestClient second(port());
  first.send(post("/v1/completions", short_request));
  second.send(post("/v1/completions", endless_stream));
  ASSERT_TRUE(engine_.wait_for_submitted(2));
  server_->stop();
  EXPECT_EQ(engine_.cancelled, 2);
  EXPECT_EQ(server_->connections(), 0u);
  EXPECT_EQ(first.read_to_end(), "");
}

TEST_F(ServerTest, TokenizesAndBack) {
  start();
  const std::string tokens = ask(post("/tokenize", R"({"content": "xyz"})"));
  const std::size_t at = tokens.find("{");
  const Json body = Json::parse(tokens.substr(at));
  EXPECT_EQ(body["count"], 3);
  const std::string text = ask(post("/detokenize", Json{{"tokens", body["tokens"]}}.dump()));
  EXPECT_NE(text.find(R"("content":"xyz")"), std::string::npos);
  EXPECT_EQ(status_of(ask(post("/detokenize", R"({"tokens": ["a"]})"))), 400);
}

TEST_F(ServerTest, CountsWhatItDoes) {
  start();
  ask(post("/v1/completions", short_request));
  ask(post("/v1/completions", "{"));
  ask(get("/nothing"));
  const std::string text = ask(get("/metrics"));
  EXPECT_NE(text.find("mslt_http_responses_total{route=\"/v1/completions\",status=\"200\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("mslt_http_responses_total{route=\"/v1/completions\",status=\"400\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("mslt_http_responses_total{route=\"other\",status=\"404\"} 1\n"), std::string::npos);
  EXPECT_NE(text.find("mslt_time_to_first_token_seconds_count 1\n"), std::string::npos);
  EXPECT_NE(text.find("mslt_time_between_tokens_seconds_bucket{le=\"+Inf\"} 5\n"), std::string::npos);
}

TEST_F(ServerTest, ShowsAPageThatRunsOnlyItsOwnScripts) {
  start();
  const std::string page = ask(get("/"));
  const std::size_t at = page.find("script-src 'nonce-");
  ASSERT_NE(at, std::string::npos);
  const std::string nonce = page.substr(at + 18, 24);
  EXPECT_NE(page.find("nonce=\"" + nonce + "\""), std::string::npos);
  EXPECT_EQ(page.find("{{nonce}}"), std::string::npos);
  EXPECT_NE(ask(get("/")).substr(at + 18, 24), nonce);
  TestClient client(port());
  client.send("HEAD / HTTP/1.1\r\nConnection: close\r\n\r\n");
  EXPECT_TRUE(client.read_to_end().ends_with("\r\n\r\n"));
}

TEST(HttpServerTest, NamesAddressesThatItCannotListenOn) {
  const auto error_of = [](const HttpOptions& options) -> std::string {
    try {
      const HttpServer server(options, nullptr, nullptr);
    } catch (const Error& error) {
      return error.what();
    }
    return "";
  };
  HttpOptions options;
  options.port = 0;
  options.host = "256.1.1.1";
  EXPECT_NE(error_of(options).find("--host 256.1.1.1"), std::string::npos);
  options.host = "127.0.0.1";
  const HttpServer first(options, nullptr, nullptr);
  options.port = first.port();
  EXPECT_NE(error_of(options).find("--port"), std::string::npos);
}

}  // namespace
}  // namespace mslt::serve
