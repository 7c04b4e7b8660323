#pragma once

#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "gateway/http/body.hpp"
#include "gateway/http/server.hpp"
#include "gateway/http/stream.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::http {

/// What a connection needs of its server.
struct HttpSurroundings {
  const HttpLimits& limits;
  const Router& router;
  std::shared_ptr<HttpPostbox> postbox;
  HttpCounters& counters;
};

/// One client of the HTTP server: request, answer, request. Keeps itself alive while something is on its way.
class HttpConnection final : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(boost::asio::io_context& io, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket,
                 std::shared_ptr<const HttpAddress> address, HttpSurroundings server);
  void start();
  /// Ends it. Its place is free at once.
  void close();

  /// It is up to the client to do something: it shakes hands, owes us a request or takes a response. Not: a handler
  /// works on its request.
  bool keeps_us_waiting() const noexcept { return !waiting_; }
  /// Since when: a request that trickles in does not make it later.
  proto::Micros waiting_since() const noexcept { return since_; }
  /// It has asked for something that it got.
  bool is_proven() const noexcept { return proven_; }

 private:
  using Error = boost::system::error_code;

  void shake_hands();
  void wait_for_request();
  void read_header();
  void on_header(const Error& error);
  bool is_welcome();
  void read_body();
  void refuse(const Error& error);
  void decline(Response response);
  void on_request();
  void dispatch(Request request);
  void wait_for_answer();
  void on_answer(std::uint64_t number, Response response);
  void send(Response response);
  void log() const;
  void count(Intrusion why, const std::string& words) const;
  void on_sent(const Error& error);
  void linger();
  void discard();

  const std::shared_ptr<const HttpAddress> address_;  // whose token and TLS may change
  const std::shared_ptr<boost::asio::ssl::context> tls_;
  HttpStream stream_;
  boost::asio::steady_timer timer_;  // of the answer
  net::ConnectionLimit::Ticket ticket_;
  const HttpSurroundings server_;
  std::string peer_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<boost::beast::http::string_body>> parser_;
  std::optional<boost::beast::http::response<HttpBody>> response_;
  std::optional<boost::beast::http::response_serializer<HttpBody>> serializer_;
  proto::Micros since_;
  std::string asked_;  // "GET /path", for the log; empty: not known
  unsigned version_ = 11;
  bool head_ = false;         // HEAD: the response goes without its body
  bool keep_alive_ = false;   // after the response
  bool waiting_ = false;      // for the handler's answer
  bool proven_ = false;       // see is_proven()
  std::uint64_t number_ = 0;  // of the request: an answer to an earlier one is too late
};

}  // namespace nbdgw::http
