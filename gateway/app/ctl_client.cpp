#include "gateway/app/ctl_client.hpp"

#include <fmt/format.h>

#include <boost/asio/connect.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/host_name_verification.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/beast/http/write.hpp>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <vector>

#include "config/address.hpp"

namespace nbdgw::app {

namespace asio = boost::asio;
namespace http = boost::beast::http;
using Error = boost::system::error_code;

namespace {

/// Of an answer: 1,000 tasks or events are well below.
constexpr std::size_t kMaxAnswer = 64 << 20;

using Stream = boost::beast::basic_stream<asio::generic::stream_protocol>;
using Message = http::request<http::string_body>;

/// One question and its answer. Everything is asynchronous for the sake of the time limit, and run to its end at
/// once.
class Exchange {
 public:
  Exchange(const CtlConnection& connection, const Message& request)
      : connection_(connection), request_(request), stream_(io_) {
    parser_.body_limit(kMaxAnswer);
  }

  http::response<http::string_body> run() {
    stream_.expires_after(std::chrono::microseconds(connection_.timeout));
    connect();
    if (connection_.address.tls)
      talk_tls();
    else
      talk(stream_);
    return parser_.release();
  }

 private:
  /// Waits for what `begin` has begun.
  template <typename Begin>
  Error wait(Begin begin) {
    Error result;
    begin([&result](const Error& error, auto&&...) { result = error; });
    io_.restart();
    io_.run();
    return result;
  }

  [[noreturn]] void fail(const std::string& what, const Error& error) const {
    const bool late = error == boost::beast::error::timeout;
    throw CtlError(fmt::format("{}: {}: {}", to_string(connection_.address), what,
                               late ? "no answer in time" : error.message()));
  }

  std::vector<asio::generic::stream_protocol::endpoint> endpoints() {
    const config::Endpoint& where = connection_.address.endpoint;
    if (where.kind == config::Endpoint::Kind::unix_socket)
      return {asio::generic::stream_protocol::endpoint(asio::local::stream_protocol::endpoint(where.path))};
    Error error;
    const auto found = asio::ip::tcp::resolver(io_).resolve(where.host, std::to_string(where.port), error);
    if (error) fail("cannot look up " + where.host, error);
    std::vector<asio::generic::stream_protocol::endpoint> all;
    for (const auto& entry : found) all.emplace_back(entry.endpoint());
    return all;
  }

  void connect() {
    Error error;
    for (const auto& endpoint : endpoints()) {
      error = wait([&](auto done) { stream_.async_connect(endpoint, std::move(done)); });
      if (!error) return;
      Error ignored;
      stream_.socket().close(ignored);
    }
    fail("cannot connect; is the gateway running, with this in listen.admin?", error);
  }

  void talk_tls() {
    asio::ssl::context context(asio::ssl::context::tls_client);
    try {
      context.set_verify_mode(asio::ssl::verify_peer);
      if (connection_.ca_file.empty())
        context.set_default_verify_paths();
      else
        context.load_verify_file(connection_.ca_file);
      if (!connection_.certificate_file.empty()) {
        context.use_certificate_chain_file(connection_.certificate_file);
        context.use_private_key_file(connection_.key_file, asio::ssl::context::pem);
      }
    } catch (const boost::system::system_error& error) {
      throw CtlError(fmt::format("certificates: {}", error.what()));
    }
    asio::ssl::stream<Stream&> stream(stream_, context);
    const std::string& host = connection_.address.endpoint.host;
    stream.set_verify_callback(asio::ssl::host_name_verification(host));
    SSL_set_tlsext_host_name(stream.native_handle(), host.c_str());
    const Error error =
        wait([&](auto done) { stream.async_handshake(asio::ssl::stream_base::client, std::move(done)); });
    if (error) fail("TLS", error);
    talk(stream);
  }

  template <typename Any>
  void talk(Any& stream) {
    // A refusal may come before all of the request is sent.
    const Error sent = wait([&](auto done) { http::async_write(stream, request_, std::move(done)); });
    const Error error = wait([&](auto done) { http::async_read(stream, buffer_, parser_, std::move(done)); });
    if (error) fail(sent ? "sending" : "the answer", sent ? sent : error);
  }

  const CtlConnection& connection_;
  Message request_;
  asio::io_context io_{1};
  Stream stream_;
  boost::beast::flat_buffer buffer_;
  http::response_parser<http::string_body> parser_;
};

}  // namespace

CtlAnswer CtlClient::post(const std::string& path, const boost::json::value& body) const {
  return ask("POST", path, boost::json::serialize(body));
}

CtlAnswer CtlClient::ask(const std::string& method, const std::string& path, const std::string& body) const {
  const config::Endpoint& where = connection_.address.endpoint;
  Message request;
  request.version(11);
  request.method_string(method);
  request.target(path);
  request.set(http::field::host, where.kind == config::Endpoint::Kind::unix_socket
                                     ? std::string("localhost")
                                     : to_string(config::Portal{where.host, where.port}));
  request.set(http::field::user_agent, "nbdgw ctl");
  request.set(http::field::connection, "close");
  if (!connection_.token.empty()) request.set(http::field::authorization, "Bearer " + connection_.token);
  if (method == "POST") {
    request.set(http::field::content_type, "application/json");
    request.body() = body;
  }
  request.prepare_payload();

  const auto response = Exchange(connection_, request).run();
  CtlAnswer answer{.status = response.result_int(), .body = nullptr};
  if (response.body().empty()) return answer;
  Error error;
  answer.body = boost::json::parse(response.body(), error);
  if (error) {
    throw CtlError(fmt::format("{}: the answer to {} {} (status {}) is no JSON; is that the admin server of nbdgw?",
                               to_string(connection_.address), method, path, answer.status));
  }
  return answer;
}

std::string percent_encode(const std::string& name) {
  std::string out;
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
                       c == '.' || c == '_' || c == '~';
    if (plain)
      out += c;
    else
      out += fmt::format("%{:02X}", byte);
  }
  return out;
}

}  // namespace nbdgw::app
