#pragma once

#include <array>
#include <boost/asio/io_context.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "config/model.hpp"
#include "gateway/http/router.hpp"
#include "gateway/http/token.hpp"
#include "gateway/net/connection_limit.hpp"
#include "gateway/net/listener.hpp"
#include "proto/time.hpp"

namespace boost::asio::ssl {
class context;
}

namespace nbdgw::http {

class HttpConnection;

/// What one client, and all of them together, can make the server hold. A slow, silent or half-open client costs a
/// place until one of the times is over, or somebody needs the place, and nothing else.
struct HttpLimits {
  /// At a time on each address. When all are taken, a newcomer gets the place of the client that has kept us waiting
  /// longest; those whose request is being worked on keep theirs.
  std::uint32_t connections = config::kAdminConnections;
  std::size_t header_bytes = 8 * 1024;            // of a request, its first line included: 431
  std::size_t body_bytes = 64 * 1024;             // 413
  proto::Micros handshake = 10 * proto::kSecond;  // of TLS
  proto::Micros idle = 30 * proto::kSecond;       // until a request begins, before the first and between two
  proto::Micros request = 10 * proto::kSecond;    // from its first byte to its last
  proto::Micros answer = 30 * proto::kSecond;     // for the handler, which may wait for news on purpose: 503
  proto::Micros send = 10 * proto::kSecond;       // for the client to take the response
  proto::Micros linger = proto::kSecond;  // after a refusal, for the client to read it before the socket is gone
};

/// An address to listen on, and what is asked of whoever comes in there.
struct HttpAddress {
  config::Endpoint endpoint;
  std::shared_ptr<boost::asio::ssl::context> tls;  // null: in the clear
  std::shared_ptr<const Token> token;              // null: none is asked for, except where the route is open
  /// Only requests whose Host is a number or "localhost": for addresses that are safe only because nobody else gets
  /// there. A web page can make its visitor's browser ask this server under the page's own name (DNS rebinding).
  bool local_names_only = false;
  std::shared_ptr<net::UniqueFd> inherited = nullptr;  // what listens there already; null: the server makes it
};

/// Why somebody was not let in who asked for something.
enum class Intrusion : std::uint8_t {
  tls,          // no TLS, or not with a certificate that is wanted
  no_token,     // none was shown, as by a browser that does not know yet that one is wanted
  wrong_token,  // another one was
  bad_host,     // a name where only numbers are welcome (local_names_only)
};
inline constexpr std::size_t kIntrusions = static_cast<std::size_t>(Intrusion::bad_host) + 1;

/// The value of a metric's label.
const char* to_string(Intrusion why) noexcept;

/// What the server has done so far.
struct HttpCounters {
  std::map<unsigned, std::uint64_t> answers;  // by status
  std::array<std::uint64_t, kIntrusions> intrusions{};
  std::uint64_t evicted = 0;      // clients that lost their place to a newcomer
  std::uint64_t turned_away = 0;  // newcomers for whom there was none
};

/// Brings work to the server's thread, for as long as there is one. Shared with replies that may come later than
/// that.
class HttpPostbox {
 public:
  explicit HttpPostbox(boost::asio::io_context& io) noexcept : io_(&io) {}
  /// From any thread. After close() the work is dropped.
  void post(std::function<void()> work);
  /// The same, after some time.
  void post_after(proto::Micros delay, std::function<void()> work);
  void close() noexcept;

 private:
  std::mutex mutex_;
  boost::asio::io_context* io_;
};

/// An HTTP/1.1 server (RFC 9110, 9112) with keep-alive, on any number of TCP and UNIX sockets: one thread. Every
/// request goes to the router, once it is known that its sender may ask.
class HttpServer {
 public:
  /// Binds and listens; clients wait for start(). The router must outlive the server, and does not change any more
  /// after start(). `settings`: what messages call its addresses and its limit. Throws net::ListenError.
  HttpServer(const std::vector<HttpAddress>& addresses, const Router& router, net::ListenerSettings settings,
             HttpLimits limits = {});
  /// Stops it if it runs.
  ~HttpServer();
  HttpServer(const HttpServer&) = delete;
  HttpServer& operator=(const HttpServer&) = delete;

  /// Starts the thread. Once.
  void start();
  /// Returns what puts other secrets, of the kind that each address has asked for since the start, in force: for any
  /// thread, and without effect after stop(). A token holds from the next request on, for those who are connected,
  /// too; with another TLS they have to connect again.
  std::function<void()> renewal(std::shared_ptr<boost::asio::ssl::context> tls, std::shared_ptr<const Token> token);
  /// From any thread but its own: closes all connections, ends the thread. Safe to call more than once.
  void stop();

  /// Where it listens, in the order given: "http://127.0.0.1:8080" with the port that the system picked,
  /// "https://..." or "unix:///PATH".
  std::vector<std::string> addresses() const;
  /// The port of one of the addresses.
  std::uint16_t port(std::size_t index = 0) const;
  /// Clients connected now; any thread.
  std::uint32_t connections() const noexcept;
  /// On the server's own thread, which is where handlers are called.
  const HttpCounters& counters() const noexcept { return counters_; }
  /// The server's own thread, for those who answer later: dropped after stop().
  const std::shared_ptr<HttpPostbox>& postbox() const noexcept { return postbox_; }

 private:
  /// An address, and who came in there.
  struct Door;

  void take(Door& door, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket);
  bool make_room(Door& door);
  void renew(const std::shared_ptr<boost::asio::ssl::context>& tls, const std::shared_ptr<const Token>& token);
  static void renew_tls(Door& door, const std::shared_ptr<boost::asio::ssl::context>& tls);

  const HttpLimits limits_;
  const Router& router_;
  const net::ListenerSettings settings_;
  HttpCounters counters_;
  std::deque<net::ConnectionLimit> places_;  // one of each door; longer than the connections, which go with io_
  boost::asio::io_context io_{1};
  std::shared_ptr<HttpPostbox> postbox_;
  std::vector<std::unique_ptr<Door>> doors_;
  std::thread thread_;
};

}  // namespace nbdgw::http
