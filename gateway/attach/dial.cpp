#include "gateway/attach/dial.hpp"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <array>
#include <boost/asio/as_tuple.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <boost/asio/local/stream_protocol.hpp>
#include <boost/asio/this_coro.hpp>
#include <boost/asio/use_awaitable.hpp>
#include <boost/asio/write.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/beast/core/error.hpp>
#include <chrono>
#include <cstddef>
#include <utility>
#include <vector>

#include "config/address.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::attach {

namespace asio = boost::asio;
using Error = boost::system::error_code;
using Protocol = asio::generic::stream_protocol;
using Stream = boost::beast::basic_stream<Protocol>;

namespace {

constexpr auto kTuple = asio::as_tuple(asio::use_awaitable);

/// A host that vanishes without a word is noticed after 25 s, where nothing is on its way to it. Sooner than the
/// gateway does it with its clients: here nobody else would notice.
constexpr int kKeepAliveIdleS = 10, kKeepAliveIntervalS = 5, kKeepAliveProbes = 3;

void set_options(int fd) noexcept {
  const auto set = [fd](int level, int name, int value) { ::setsockopt(fd, level, name, &value, sizeof value); };
  set(IPPROTO_TCP, TCP_NODELAY, 1);
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kKeepAliveIdleS);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kKeepAliveIntervalS);
  set(IPPROTO_TCP, TCP_KEEPCNT, kKeepAliveProbes);
}

std::string words(const Error& error) {
  return error == boost::beast::error::timeout ? "no answer in time" : error.message();
}

asio::awaitable<Error> connect(Stream& stream, const Call& call) {
  std::vector<Protocol::endpoint> all;
  if (call.address.kind == config::Endpoint::Kind::unix_socket) {
    all.emplace_back(asio::local::stream_protocol::endpoint(call.address.path));
  } else {
    asio::ip::tcp::resolver resolver(co_await asio::this_coro::executor);
    auto [error, found] =
        co_await resolver.async_resolve(call.address.host, std::to_string(call.address.port), kTuple);
    if (error) co_return error;
    for (const auto& entry : found) all.emplace_back(entry.endpoint());
  }
  Error last = asio::error::host_not_found;
  for (const auto& endpoint : all) {
    stream.expires_after(std::chrono::microseconds(call.connect_limit));
    auto [error] = co_await stream.async_connect(endpoint, kTuple);
    last = error;
    if (!error) break;
    Error ignored;
    stream.socket().close(ignored);
  }
  if (!last) set_options(stream.socket().native_handle());
  co_return last;
}

/// Until the negotiation has come to its end.
asio::awaitable<Error> negotiate(Stream& stream, Negotiation& negotiation) {
  std::vector<std::uint8_t> bytes;
  std::array<std::uint8_t, 4096> part;
  while (negotiation.state() == Negotiation::State::running) {
    if (const std::size_t used = negotiation.consume(bytes); used > 0) {
      bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(used));
      continue;
    }
    if (const std::string text = std::exchange(negotiation.output(), {}); !text.empty()) {
      auto [error, sent] = co_await asio::async_write(stream, asio::buffer(text), kTuple);
      if (error) co_return error;
    }
    auto [error, n] = co_await stream.async_read_some(asio::buffer(part), kTuple);
    if (error) co_return error;
    bytes.insert(bytes.end(), part.begin(), part.begin() + static_cast<std::ptrdiff_t>(n));
  }
  co_return bytes.empty() ? Error() : Error(asio::error::invalid_argument);  // the server speaks unasked
}

}  // namespace

asio::awaitable<CallResult> dial(const Call& call) {
  CallResult reply;
  Stream stream(co_await asio::this_coro::executor);
  const std::string where = to_string(call.address);
  if (const Error error = co_await connect(stream, call); error) {
    reply.trouble = fmt::format("nobody at {}: {}", where, words(error));
    co_return reply;
  }
  Negotiation negotiation(call.export_name, call.token, call.purpose);
  stream.expires_after(std::chrono::microseconds(call.handshake_limit));
  if (const Error error = co_await negotiate(stream, negotiation); error) {
    reply.trouble = fmt::format("{} ends the handshake: {}", where, words(error));
    co_return reply;
  }
  reply.offer = negotiation.offer();
  if (negotiation.state() == Negotiation::State::refused) {
    reply.refused = true;
    reply.trouble = fmt::format("{} {}", where, negotiation.reason());
    co_return reply;
  }
  stream.expires_never();
  Error error;
  const int fd = stream.release_socket().release(error);
  if (error) {
    reply.trouble = fmt::format("{}: {}", where, error.message());
    co_return reply;
  }
  reply.socket = net::UniqueFd(fd);
  co_return reply;
}

}  // namespace nbdgw::attach
