#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"
#include "tests/unit/waiting.hpp"

namespace nbdgw::test {

/// A blocking socket to the HTTP server, on which a test says what it likes. Reads time out, so that a test fails
/// instead of hanging.
class HttpClient {
 public:
  explicit HttpClient(std::uint16_t port) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    connect(reinterpret_cast<sockaddr*>(&address), sizeof address);
  }
  explicit HttpClient(const std::string& path) : fd_(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    connect(reinterpret_cast<sockaddr*>(&address), sizeof address);
  }

  void send(const std::string& bytes) {
    // The server may have closed already, on purpose.
    ::send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  }
  void end() { ::shutdown(fd_.get(), SHUT_WR); }

  /// The next response; false: the connection was closed instead.
  bool receive(bool with_body = true) {
    std::size_t end = 0;
    while ((end = stream_.find("\r\n\r\n")) == std::string::npos)
      if (!more()) return false;
    head = stream_.substr(0, end + 2);
    stream_.erase(0, end + 4);
    status = std::stoi(head.substr(9, 3));
    const std::string length = field("Content-Length");
    const std::size_t n = length.empty() || !with_body ? 0 : std::stoul(length);
    while (stream_.size() < n)
      if (!more()) return false;
    body = stream_.substr(0, n);
    stream_.erase(0, n);
    return true;
  }
  /// Sends and receives; the status, 0 if the connection was closed.
  int ask(const std::string& bytes) {
    send(bytes);
    return receive() ? status : 0;
  }
  int get(const std::string& path) { return ask("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
  int post(const std::string& path, const std::string& text, const std::string& type = "application/json") {
    return ask("POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Type: " + type +
               "\r\nContent-Length: " + std::to_string(text.size()) + "\r\n\r\n" + text);
  }
  int remove(const std::string& path) { return ask("DELETE " + path + " HTTP/1.1\r\nHost: x\r\n\r\n"); }
  /// Nothing more comes, and the server has closed.
  bool is_closed() { return stream_.empty() && !more(); }

  std::string field(const std::string& name) const {
    const std::size_t at = head.find("\r\n" + name + ": ");
    if (at == std::string::npos) return {};
    const std::size_t begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }

  int status = 0;
  std::string head;
  std::string body;

 private:
  void connect(const sockaddr* address, socklen_t length) {
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    REQUIRE(::connect(fd_.get(), address, length) == 0);
  }
  bool more() {
    char bytes[4096];
    const ssize_t n = ::recv(fd_.get(), bytes, sizeof bytes, 0);
    if (n > 0) stream_.append(bytes, static_cast<std::size_t>(n));
    REQUIRE_MESSAGE(!(n < 0 && errno == EAGAIN), "the server says nothing");
    return n > 0;
  }

  net::UniqueFd fd_;
  std::string stream_;
};

}  // namespace nbdgw::test
