#pragma once

#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "config/model.hpp"
#include "gateway/admin/router.hpp"
#include "gateway/net/connection_limit.hpp"
#include "gateway/net/listener.hpp"
#include "proto/time.hpp"

namespace nbdgw::admin {

class HttpConnection;

/// What one client, and all of them together, can make the server hold. A slow, silent or half-open client costs a
/// place until one of the times is over, and nothing else.
struct HttpLimits {
  std::uint32_t connections = 64;               // at a time; more are closed at once
  std::size_t header_bytes = 8 * 1024;          // of a request, its first line included: 431
  std::size_t body_bytes = 64 * 1024;           // 413
  proto::Micros idle = 30 * proto::kSecond;     // until a request begins, before the first and between two
  proto::Micros request = 10 * proto::kSecond;  // from its first byte to its last
  proto::Micros answer = 10 * proto::kSecond;   // for the handler: 503
  proto::Micros send = 10 * proto::kSecond;     // for the client to take the response
  proto::Micros linger = proto::kSecond;  // after a refusal, for the client to read it before the socket is gone
};

/// Brings work to the server's thread, for as long as there is one. Shared with replies that may come later than
/// that.
class HttpPostbox {
 public:
  explicit HttpPostbox(boost::asio::io_context& io) noexcept : io_(&io) {}
  /// From any thread. After close() the work is dropped.
  void post(std::function<void()> work);
  void close() noexcept;

 private:
  std::mutex mutex_;
  boost::asio::io_context* io_;
};

/// An HTTP/1.1 server (RFC 9110, 9112) with keep-alive, on one TCP or UNIX socket: one thread. Every request goes to
/// the router. It neither encrypts nor asks who is there, so it belongs on loopback or a UNIX socket; where it will
/// do so is HttpConnection: TLS below its stream, a token before it hands a request to the router.
class HttpServer {
 public:
  /// Binds and listens; clients wait for start(). The router must outlive the server, and does not change any more.
  /// `settings`: what messages call its address and its limit. Throws net::ListenError.
  HttpServer(const config::Endpoint& endpoint, const Router& router, net::ListenerSettings settings,
             HttpLimits limits = {});
  /// Stops it if it runs.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Starts the thread. Once.
  void start();
  /// From any thread but its own: closes all connections, ends the thread. Safe to call more than once.
  void stop();

  /// Where it listens, "http://127.0.0.1:8080" with the port that the system picked, or "unix:///PATH".
  std::string address() const;
  std::uint16_t port() const noexcept { return listener_.port(); }
  /// Clients connected now.
  std::uint32_t connections() const noexcept { return limit_.taken(); }

 private:
  void take(net::UniqueFd fd, net::ConnectionLimit::Ticket ticket);

  HttpLimits limits_;
  const Router& router_;
  net::ConnectionLimit limit_;  // longer than the connections, which go with the io_context
  boost::asio::io_context io_{1};
  std::shared_ptr<HttpPostbox> postbox_;
  net::Listener listener_;
  std::vector<std::weak_ptr<HttpConnection>> clients_;
  std::thread thread_;
};

}  // namespace nbdgw::admin
