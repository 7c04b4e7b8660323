#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/steady_timer.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/serializer.hpp>
#include <boost/beast/http/string_body.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "gateway/admin/http_server.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::admin {

/// One client of the HTTP server: request, answer, request. Keeps itself alive while something is on its way.
class HttpConnection final : public std::enable_shared_from_this<HttpConnection> {
 public:
  HttpConnection(boost::asio::io_context& io, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket,
                 const HttpLimits& limits, const Router& router, std::shared_ptr<HttpPostbox> postbox);
  void start() { wait_for_request(); }
  void close() { stream_.close(); }

 private:
  using Error = boost::system::error_code;
  using Body = boost::beast::http::string_body;

  void wait_for_request();
  void read_header();
  void on_header();
  void read_body();
  void refuse(const Error& error);
  void on_request();
  void wait_for_answer();
  void on_answer(std::uint64_t number, Response response);
  void send(Response response);
  void on_sent(const Error& error);
  void linger();
  void discard();

  boost::beast::basic_stream<boost::asio::generic::stream_protocol> stream_;
  boost::asio::steady_timer timer_;  // of the answer
  net::ConnectionLimit::Ticket ticket_;
  const HttpLimits limits_;
  const Router& router_;
  std::shared_ptr<HttpPostbox> postbox_;
  boost::beast::flat_buffer buffer_;
  std::optional<boost::beast::http::request_parser<Body>> parser_;
  std::optional<boost::beast::http::response<Body>> response_;
  std::optional<boost::beast::http::response_serializer<Body>> serializer_;
  unsigned version_ = 11;
  bool head_ = false;         // HEAD: the response goes without its body
  bool keep_alive_ = false;   // after the response
  bool waiting_ = false;      // for the handler's answer
  std::uint64_t number_ = 0;  // of the request: an answer to an earlier one is too late
};

}  // namespace nbdgw::admin
