#include "gateway/admin/http_connection.hpp"

#include <spdlog/spdlog.h>
#include <sys/socket.h>

#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <string_view>

namespace nbdgw::admin {

namespace http = boost::beast::http;

namespace {

/// Of a request's first bytes, before it is known to be one; and of a body that nobody wants.
constexpr std::size_t kReadSize = 4096;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::chrono::microseconds duration(proto::Micros time) {
  return std::chrono::microseconds(time);
}

std::string text(boost::core::string_view view) {
  return {view.data(), view.size()};
}

boost::asio::generic::stream_protocol protocol_of(int fd) {
  int family = AF_UNSPEC;
  socklen_t length = sizeof family;
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
  return {family, 0};
}

/// What is wrong with a request that could not be read; nothing: its sender has gone, and nobody is there to be told.
std::optional<Response> complaint(const boost::system::error_code& error, const HttpLimits& limits) {
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return problem(431, "header_too_large", "more than " + std::to_string(limits.header_bytes) + " bytes of header");
  if (error == http::error::body_limit)
    return problem(413, "body_too_large", "more than " + std::to_string(limits.body_bytes) + " bytes of body");
  if (error == http::error::bad_version) return problem(505, "bad_version", "only HTTP/1.1 and HTTP/1.0 are spoken");
  if (error == http::error::end_of_stream || error == http::error::partial_message ||
      error.category() != make_error_code(http::error::bad_method).category())
    return std::nullopt;
  return problem(400, "bad_request", "this is no HTTP request: " + error.message());
}

}  // namespace

HttpConnection::HttpConnection(boost::asio::io_context& io, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket,
                               const HttpLimits& limits, const Router& router, std::shared_ptr<HttpPostbox> postbox)
    : stream_(io),
      timer_(io),
      ticket_(std::move(ticket)),
      limits_(limits),
      router_(router),
      postbox_(std::move(postbox)),
      buffer_(limits.header_bytes + kReadSize) {
  const auto protocol = protocol_of(fd.get());
  stream_.socket().assign(protocol, fd.release());
}

// ---- reading
// -----------------------------------------------------------------------------------------------------------

void HttpConnection::wait_for_request() {
  if (buffer_.size() > 0) return read_header();  // sent ahead
  stream_.expires_after(duration(limits_.idle));
  stream_.async_read_some(buffer_.prepare(kReadSize), [self = shared_from_this()](const Error& error, std::size_t n) {
    if (error) return;
    self->buffer_.commit(n);
    self->read_header();
  });
}

void HttpConnection::read_header() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(limits_.header_bytes));
  parser_->body_limit(limits_.body_bytes);
  stream_.expires_after(duration(limits_.request));
  http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](const Error& error, std::size_t) {
    if (error) return self->refuse(error);
    self->on_header();
  });
}

void HttpConnection::on_header() {
  const auto& header = parser_->get();
  version_ = header.version();
  const auto expect = header[http::field::expect];
  if (expect.empty() || parser_->is_done()) return read_body();
  if (!boost::beast::iequals(expect, "100-continue")) {
    keep_alive_ = false;
    return send(problem(417, "bad_expectation", "only 100-continue can be expected"));
  }
  boost::asio::async_write(stream_, boost::asio::buffer(kContinue),
                           [self = shared_from_this()](const Error& error, std::size_t) {
                             if (!error) self->read_body();
                           });
}

void HttpConnection::read_body() {
  http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](const Error& error, std::size_t) {
    if (error) return self->refuse(error);
    self->on_request();
  });
}

void HttpConnection::refuse(const Error& error) {
  keep_alive_ = false;
  if (auto response = complaint(error, limits_)) send(*std::move(response));
}

// ---- answering
// ---------------------------------------------------------------------------------------------------------

void HttpConnection::on_request() {
  stream_.expires_never();
  const auto message = parser_->release();
  head_ = message.method() == http::verb::head;
  keep_alive_ = message.keep_alive();
  Request request{.method = text(message.method_string()),
                  .path = {},
                  .query = {},
                  .content_type = text(message[http::field::content_type]),
                  .body = message.body(),
                  .parameters = {}};
  // RFC 9112 section 3.2: a request says, once, whom it is for.
  if (message.version() >= 11 && message.count(http::field::host) != 1)
    return send(problem(400, "bad_request", "a request has one Host field"));
  const auto target = message.target();
  if (!split_target({target.data(), target.size()}, request.path, request.query))
    return send(problem(400, "bad_request", "the request's target is no path"));
  wait_for_answer();
  Reply reply([postbox = postbox_, weak = weak_from_this(), number = number_](Response response) {
    postbox->post([weak, number, response = std::move(response)]() mutable {
      if (const auto self = weak.lock()) self->on_answer(number, std::move(response));
    });
  });
  spdlog::debug("http: {} {}", request.method, request.path);
  try {
    router_.dispatch(std::move(request), std::move(reply));
  } catch (const std::exception& e) {
    spdlog::error("http: a request failed: {}", e.what());  // its reply, being destroyed, has answered
  }
}

/// The timer is what keeps the connection alive meanwhile.
void HttpConnection::wait_for_answer() {
  waiting_ = true;
  ++number_;
  timer_.expires_after(duration(limits_.answer));
  timer_.async_wait([self = shared_from_this(), number = number_](const Error& cancelled) {
    if (!cancelled)
      self->on_answer(number, problem(503, "timeout", "the answer took too long; whether it was done is not known"));
  });
}

void HttpConnection::on_answer(std::uint64_t number, Response response) {
  if (!waiting_ || number != number_) return;
  waiting_ = false;
  timer_.cancel();
  send(std::move(response));
}

void HttpConnection::send(Response response) {
  response_.emplace(http::int_to_status(response.status), version_);
  response_->set(http::field::server, "nbdgw");
  response_->set(http::field::cache_control, "no-store");
  response_->set("X-Content-Type-Options", "nosniff");
  if (!response.content_type.empty()) response_->set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.fields) response_->set(name, value);
  response_->keep_alive(keep_alive_);
  response_->body() = std::move(response.body);
  // RFC 9110 section 8.6: a 204 has no Content-Length.
  if (response.status != 204) response_->prepare_payload();
  serializer_.emplace(*response_);
  stream_.expires_after(duration(limits_.send));
  const auto done = [self = shared_from_this()](const Error& error, std::size_t) { self->on_sent(error); };
  if (head_)
    http::async_write_header(stream_, *serializer_, done);
  else
    http::async_write(stream_, *serializer_, done);
}

void HttpConnection::on_sent(const Error& error) {
  if (error) return;
  head_ = false;
  if (keep_alive_) return wait_for_request();
  linger();
}

/// What the client still sends is read for a while: closing with unread bytes would reset the connection, and the
/// reset may overtake the response (RFC 9112 section 9.6).
void HttpConnection::linger() {
  Error ignored;
  stream_.socket().shutdown(boost::asio::socket_base::shutdown_send, ignored);
  stream_.expires_after(duration(limits_.linger));
  discard();
}

void HttpConnection::discard() {
  buffer_.clear();
  stream_.async_read_some(buffer_.prepare(kReadSize), [self = shared_from_this()](const Error& error, std::size_t) {
    if (!error) self->discard();
  });
}

}  // namespace nbdgw::admin
