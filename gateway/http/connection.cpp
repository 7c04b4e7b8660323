#include "gateway/http/connection.hpp"

#include <boost/asio/write.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/write.hpp>
#include <chrono>
#include <string_view>

#include "config/address.hpp"
#include "gateway/http/framing.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::http {

namespace http = boost::beast::http;

namespace {

/// Of a request's first bytes, before it is known to be one; and of a body that nobody wants.
constexpr std::size_t kReadSize = 4096;
constexpr std::string_view kContinue = "HTTP/1.1 100 Continue\r\n\r\n";

std::string text(boost::core::string_view view) {
  return {view.data(), view.size()};
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

/// Whether the value of a Host field is no name that somebody could have made up for us: an address, or "localhost".
bool is_local_name(std::string_view host) {
  std::string name;
  std::uint16_t port = 0;
  if (!config::parse_host_port(host, 0, name, port).empty()) return false;
  const std::string_view address = name;
  return address == "localhost" || address.find_first_of(':') != address.npos ||
         address.find_first_not_of("0123456789.") == address.npos;
}

}  // namespace

HttpConnection::HttpConnection(boost::asio::io_context& io, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket,
                               std::shared_ptr<const HttpAddress> address, HttpSurroundings server)
    : address_(std::move(address)),
      tls_(address_->tls),
      stream_(io, std::move(fd), tls_.get()),
      timer_(io),
      ticket_(std::move(ticket)),
      server_(std::move(server)),
      peer_(net::peer_text(stream_.native())),
      buffer_(server_.limits.header_bytes + kReadSize),
      since_(net::steady_now()) {}

void HttpConnection::start() {
  if (stream_.is_tls()) return shake_hands();
  wait_for_request();
}

void HttpConnection::close() {
  stream_.close();
  ticket_ = {};
}

// ---- reading
// -----------------------------------------------------------------------------------------------------------

void HttpConnection::shake_hands() {
  stream_.expires_after(server_.limits.handshake);
  stream_.handshake([self = shared_from_this()](const Error& error) {
    if (error) {
      self->count(Intrusion::tls, "no TLS: " + error.message());
      return self->linger();  // so that the alert arrives
    }
    if (const std::string subject = self->stream_.client_subject(); !subject.empty()) self->peer_ += ", " + subject;
    self->wait_for_request();
  });
}

void HttpConnection::wait_for_request() {
  asked_.clear();
  if (buffer_.size() > 0) return read_header();  // sent ahead
  stream_.expires_after(server_.limits.idle);
  stream_.read(buffer_.prepare(kReadSize), [self = shared_from_this()](const Error& error, std::size_t n) {
    if (error) return;
    self->buffer_.commit(n);
    self->read_header();
  });
}

void HttpConnection::read_header() {
  parser_.emplace();
  parser_->header_limit(static_cast<std::uint32_t>(server_.limits.header_bytes));
  parser_->body_limit(server_.limits.body_bytes);
  stream_.expires_after(server_.limits.request);
  http::async_read_header(stream_, buffer_, *parser_, [self = shared_from_this()](const Error& error, std::size_t) {
    // A body that is announced to be too large: the header is there all the same, and who asks comes first.
    if (error && error != http::error::body_limit) return self->refuse(error);
    self->on_header(error);
  });
}

/// `error`: none, or a body that is too large.
void HttpConnection::on_header(const Error& error) {
  const auto& header = parser_->get();
  version_ = header.version();
  head_ = header.method() == http::verb::head;
  keep_alive_ = header.keep_alive();
  if (net::log::is_wanted(net::log::Level::debug)) {
    const auto target = header.target();
    asked_ = text(header.method_string()) + " " + text(target.substr(0, target.find('?')));
  }
  // Before anything that could leave the connection open: what follows may be a body.
  if (auto wrong = framing_problem(header)) {
    keep_alive_ = false;
    return send(*std::move(wrong));
  }
  if (!is_welcome()) return;
  if (error) return refuse(error);
  const auto expect = header[http::field::expect];
  if (expect.empty() || parser_->is_done()) return read_body();
  if (!boost::beast::iequals(expect, "100-continue"))
    return decline(problem(417, "bad_expectation", "only 100-continue can be expected"));
  boost::asio::async_write(stream_, boost::asio::buffer(kContinue),
                           [self = shared_from_this()](const Error& failure, std::size_t) {
                             if (!failure) self->read_body();
                           });
}

/// Who asks, and under which name: before anything else of the request is looked at. False: was declined.
bool HttpConnection::is_welcome() {
  const auto& header = parser_->get();
  if (address_->local_names_only) {
    const auto host = header[http::field::host];
    if (!host.empty() && !is_local_name({host.data(), host.size()})) {
      count(Intrusion::bad_host, "asks for host " + net::log::quoted({host.data(), host.size()}));
      decline(problem(421, "bad_host",
                      "this address answers to numbers and localhost only, not to names; for those it needs "
                      "admin.token_file or https"));
      return false;
    }
  }
  if (!address_->token) return true;
  const auto target = header.target();
  const auto shown = header[http::field::authorization];
  if (server_.router.is_open({target.data(), std::min(target.find('?'), target.size())})) return true;
  if (header.count(http::field::authorization) == 1 && address_->token->matches({shown.data(), shown.size()}))
    return true;
  if (shown.empty()) {
    count(Intrusion::no_token, "shows no token");
  } else {
    count(Intrusion::wrong_token, "shows a wrong token");  // what it shows may be the secret of something else
  }
  Response response = problem(401, "unauthorized",
                              shown.empty() ? "the token of admin.token_file is wanted: Authorization: Bearer TOKEN"
                                            : "this is not the token of admin.token_file");
  response.fields.emplace_back(
      "WWW-Authenticate", shown.empty() ? "Bearer realm=\"nbdgw\", Basic realm=\"nbdgw\""
                                        : "Bearer realm=\"nbdgw\", error=\"invalid_token\", Basic realm=\"nbdgw\"");
  decline(std::move(response));
  return false;
}

/// Somebody is not let in. A browser that shows no token is told to ask for it, which is nothing to be looked at.
void HttpConnection::count(Intrusion why, const std::string& words) const {
  ++server_.counters.intrusions[static_cast<std::size_t>(why)];
  const bool usual = why == Intrusion::no_token || why == Intrusion::tls;
  net::log::folded({to_string(why)}, {.client = net::log::address_in(peer_)},
                   usual ? net::log::Level::debug : net::log::Level::warn, "http: {}: {}: refused", peer_, words);
}

void HttpConnection::read_body() {
  http::async_read(stream_, buffer_, *parser_, [self = shared_from_this()](const Error& error, std::size_t) {
    if (error) return self->refuse(error);
    self->on_request();
  });
}

void HttpConnection::refuse(const Error& error) {
  keep_alive_ = false;
  if (auto response = complaint(error, server_.limits)) send(*std::move(response));
}

/// Answers a request whose body, if it has one, is not wanted.
void HttpConnection::decline(Response response) {
  keep_alive_ = keep_alive_ && parser_->is_done();
  send(std::move(response));
}

// ---- answering
// ---------------------------------------------------------------------------------------------------------

void HttpConnection::on_request() {
  stream_.expires_never();
  const auto message = parser_->release();
  Request request{.method = text(message.method_string()),
                  .path = {},
                  .query = {},
                  .content_type = text(message[http::field::content_type]),
                  .if_none_match = text(message[http::field::if_none_match]),
                  .peer = peer_,
                  .body = message.body(),
                  .parameters = {}};
  // RFC 9112 section 3.2: a request says, once, whom it is for.
  if (message.version() >= 11 && message.count(http::field::host) != 1)
    return send(problem(400, "bad_request", "a request has one Host field"));
  const auto target = message.target();
  if (!split_target({target.data(), target.size()}, request.path, request.query))
    return send(problem(400, "bad_request", "the request's target is no path"));
  dispatch(std::move(request));
}

void HttpConnection::dispatch(Request request) {
  wait_for_answer();
  Reply reply([postbox = server_.postbox, weak = weak_from_this(), number = number_](Response response) {
    postbox->post([weak, number, response = std::move(response)]() mutable {
      if (const auto self = weak.lock()) self->on_answer(number, std::move(response));
    });
  });
  try {
    server_.router.dispatch(std::move(request), std::move(reply));
  } catch (const std::exception& e) {
    net::log::error({.client = net::log::address_in(peer_)}, "http: a request failed: {}",
                    e.what());  // its reply, being destroyed, has answered
  }
}

/// The timer is what keeps the connection alive meanwhile.
void HttpConnection::wait_for_answer() {
  waiting_ = true;
  ++number_;
  timer_.expires_after(std::chrono::microseconds(server_.limits.answer));
  timer_.async_wait([self = shared_from_this(), number = number_](const Error& cancelled) {
    if (!cancelled)
      self->on_answer(number, problem(503, "timeout", "the answer took too long; whether it was done is not known"));
  });
}

void HttpConnection::on_answer(std::uint64_t number, Response response) {
  if (!waiting_ || number != number_) return;
  waiting_ = false;
  since_ = net::steady_now();
  timer_.cancel();
  send(std::move(response));
}

void HttpConnection::send(Response response) {
  ++server_.counters.answers[response.status];
  if (response.status < 400) proven_ = true;
  response_.emplace(http::int_to_status(response.status), version_);
  response_->set(http::field::server, "nbdgw");
  response_->set(http::field::cache_control, "no-store");
  response_->set("X-Content-Type-Options", "nosniff");
  if (!response.content_type.empty()) response_->set(http::field::content_type, response.content_type);
  for (const auto& [name, value] : response.fields) response_->set(name, value);
  keep_alive_ = keep_alive_ && tls_ == address_->tls;
  response_->keep_alive(keep_alive_);
  response_->body() = {std::move(response.body), std::move(response.shared)};
  // RFC 9110 sections 8.6, 15.4.5: a 204 has no Content-Length, and that of a 304 would be of what it stands for.
  if (response.status != 204 && response.status != 304) response_->prepare_payload();
  log();
  serializer_.emplace(*response_);
  stream_.expires_after(server_.limits.send);
  const auto done = [self = shared_from_this()](const Error& error, std::size_t) { self->on_sent(error); };
  if (head_)
    http::async_write_header(stream_, *serializer_, done);
  else
    http::async_write(stream_, *serializer_, done);
}

void HttpConnection::log() const {
  if (!net::log::is_wanted(net::log::Level::debug)) return;
  net::log::debug({.client = net::log::address_in(peer_)}, "http: {} {} {} {} bytes", peer_,
                  asked_.empty() ? "-" : asked_, response_->result_int(), HttpBody::size(response_->body()));
}

void HttpConnection::on_sent(const Error& error) {
  serializer_.reset();
  response_.reset();  // whoever made what was shared may change it again
  if (error) return;
  head_ = false;
  since_ = net::steady_now();
  if (keep_alive_) return wait_for_request();
  linger();
}

/// What the client still sends is read for a while: closing with unread bytes would reset the connection, and the
/// reset may overtake the response (RFC 9112 section 9.6).
void HttpConnection::linger() {
  stream_.expires_after(server_.limits.linger);
  const auto end = [self = shared_from_this()](const Error&) {
    self->stream_.end_sending();
    self->discard();
  };
  if (stream_.is_tls())
    stream_.shutdown(end);
  else
    end({});
}

void HttpConnection::discard() {
  buffer_.clear();
  stream_.read_raw(buffer_.prepare(kReadSize), [self = shared_from_this()](const Error& error, std::size_t) {
    if (!error) self->discard();
  });
}

}  // namespace nbdgw::http
