#pragma once

#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <utility>

#include "gateway/net/unique_fd.hpp"
#include "proto/time.hpp"

namespace nbdgw::admin {

/// The bytes of one client, in the clear or through TLS: what Beast wants of a stream, so that the connection above
/// does not know which. A time limit counts for everything that is under way on it.
class HttpStream {
 public:
  using Error = boost::system::error_code;
  using Socket = boost::beast::basic_stream<boost::asio::generic::stream_protocol>;
  using executor_type = Socket::executor_type;

  /// `tls`: null for none; must outlive the stream.
  HttpStream(boost::asio::io_context& io, net::UniqueFd fd, boost::asio::ssl::context* tls);

  bool is_tls() const noexcept { return tls_.has_value(); }
  int native() { return socket_.socket().native_handle(); }
  executor_type get_executor() noexcept { return socket_.get_executor(); }

  void expires_after(proto::Micros time) { socket_.expires_after(std::chrono::microseconds(time)); }
  void expires_never() { socket_.expires_never(); }

  /// TLS only: the server's part of the handshake. `handler(Error)`.
  template <typename Handler>
  void async_handshake(Handler handler) {
    tls_->async_handshake(boost::asio::ssl::stream_base::server, std::move(handler));
  }
  /// TLS only: says that nothing more follows, and waits for the client to say so. `handler(Error)`.
  template <typename Handler>
  void async_shutdown(Handler handler) {
    tls_->async_shutdown(std::move(handler));
  }
  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    if (tls_)
      tls_->async_read_some(buffers, std::forward<Handler>(handler));
    else
      socket_.async_read_some(buffers, std::forward<Handler>(handler));
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    if (tls_)
      tls_->async_write_some(buffers, std::forward<Handler>(handler));
    else
      socket_.async_write_some(buffers, std::forward<Handler>(handler));
  }

  /// What is below TLS, for the end of a connection.
  Socket& socket() noexcept { return socket_; }
  void close() { socket_.close(); }

  /// The subject of the client's certificate ("CN=ops"); empty without one.
  std::string client_subject();

 private:
  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace nbdgw::admin
