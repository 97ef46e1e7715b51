// A client of raw bytes, for tests of the server.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

namespace mslt::serve {

class TestClient {
 public:
  explicit TestClient(std::uint16_t port, int receive_buffer = 0) : socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    if (receive_buffer > 0) ::setsockopt(socket_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket_, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) close();
  }
  TestClient(const TestClient&) = delete;
  TestClient& operator=(const TestClient&) = delete;
  ~TestClient() { close(); }

  // Whether all was taken.
  bool send(std::string_view bytes) {
    while (!bytes.empty()) {
      const ssize_t sent = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      bytes.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }
  // All bytes until `end` has come, which it includes, or the connection ends, or nothing comes for 20 s.
  std::string read_until(std::string_view end) {
    std::string result;
    std::size_t searched = 0;
    while (true) {
      const std::size_t found = received_.find(end, searched);
      searched = received_.size() - std::min(received_.size(), end.size());
      if (!end.empty() && found != std::string::npos) {
        result = received_.substr(0, found + end.size());
        received_.erase(0, found + end.size());
        return result;
      }
      if (!receive()) return std::exchange(received_, {});
    }
  }
  std::string read_to_end() { return read_until(""); }
  // A response with a Content-Length.
  std::string read_response() {
    std::string response = read_until("\r\n\r\n");
    const std::size_t at = response.find("Content-Length: ");
    const std::size_t length = at == std::string::npos ? 0 : std::stoul(response.substr(at + 16));
    while (received_.size() < length && receive()) {
    }
    response += received_.substr(0, length);
    received_.erase(0, length);
    return response;
  }
  void end_sending() { ::shutdown(socket_, SHUT_WR); }
  // The other side gets a reset.
  void cut() {
    const linger none{.l_onoff = 1, .l_linger = 0};
    ::setsockopt(socket_, SOL_SOCKET, SO_LINGER, &none, sizeof none);
    close();
  }
  void close() {
    if (socket_ >= 0) ::close(std::exchange(socket_, -1));
  }

 private:
  bool receive() {
    pollfd waiting{socket_, POLLIN, 0};
    if (::poll(&waiting, 1, 20'000) != 1) {
      ADD_FAILURE() << "The server is silent.";
      return false;
    }
    char buffer[4096];
    const ssize_t got = ::recv(socket_, buffer, sizeof buffer, 0);
    if (got <= 0) return false;
    received_.append(buffer, static_cast<std::size_t>(got));
    return true;
  }

  int socket_;
  std::string received_;
};

}  // namespace mslt::serve
