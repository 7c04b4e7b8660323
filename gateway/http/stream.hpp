#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/asio/generic/stream_protocol.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/ssl/context.hpp>
#include <boost/asio/ssl/stream.hpp>
#include <boost/beast/core/basic_stream.hpp>
#include <boost/container/static_vector.hpp>
#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "gateway/net/unique_fd.hpp"
#include "proto/time.hpp"

namespace nbdgw::http {

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

  using Ended = std::function<void(const Error&)>;
  /// With the number of bytes.
  using Moved = std::function<void(const Error&, std::size_t)>;
  using WriteBuffers = boost::container::static_vector<boost::asio::const_buffer, 16>;

  /// TLS only: the server's part of the handshake.
  void handshake(Ended done);
  /// TLS only: says that nothing more follows, and waits for the client to say so.
  void shutdown(Ended done);
  void read(boost::asio::mutable_buffer buffer, Moved done);
  void write(const WriteBuffers& buffers, Moved done);
  /// Of what is below TLS, for the end of a connection.
  void read_raw(boost::asio::mutable_buffer buffer, Moved done);
  void end_sending();
  void close() { socket_.close(); }

  /// What Beast's operations call. They end in read() and write(), whose code is made once: the operations of TLS and
  /// of the socket, made for each of Beast's, took most of the time of a build.
  template <typename Buffers, typename Handler>
  void async_read_some(const Buffers& buffers, Handler&& handler) {
    read(*boost::asio::buffer_sequence_begin(buffers), erase(std::forward<Handler>(handler)));
  }
  template <typename Buffers, typename Handler>
  void async_write_some(const Buffers& buffers, Handler&& handler) {
    WriteBuffers list;
    for (auto i = boost::asio::buffer_sequence_begin(buffers);
         i != boost::asio::buffer_sequence_end(buffers) && list.size() < list.capacity(); ++i)
      list.push_back(*i);
    write(list, erase(std::forward<Handler>(handler)));
  }

  /// The subject of the client's certificate ("CN=ops"); empty without one.
  std::string client_subject();

 private:
  /// A handler that can only be moved, as a function that can be copied.
  template <typename Handler>
  static Moved erase(Handler&& handler) {
    return [held = std::make_shared<std::decay_t<Handler>>(std::forward<Handler>(handler))](
               const Error& error, std::size_t bytes) { (*held)(error, bytes); };
  }

  Socket socket_;
  std::optional<boost::asio::ssl::stream<Socket&>> tls_;
};

}  // namespace nbdgw::http
