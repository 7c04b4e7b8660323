#include "gateway/http/stream.hpp"

#include <openssl/bio.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <sys/socket.h>

#include <memory>

namespace nbdgw::http {

namespace {

boost::asio::generic::stream_protocol protocol_of(int fd) {
  int family = AF_UNSPEC;
  socklen_t length = sizeof family;
  ::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &length);
  return {family, 0};
}

}  // namespace

HttpStream::HttpStream(boost::asio::io_context& io, net::UniqueFd fd, boost::asio::ssl::context* tls) : socket_(io) {
  const auto protocol = protocol_of(fd.get());
  socket_.socket().assign(protocol, fd.release());
  if (tls != nullptr) tls_.emplace(socket_, *tls);
}

void HttpStream::handshake(Ended done) {
  tls_->async_handshake(boost::asio::ssl::stream_base::server, std::move(done));
}

void HttpStream::shutdown(Ended done) {
  tls_->async_shutdown(std::move(done));
}

void HttpStream::read(boost::asio::mutable_buffer buffer, Moved done) {
  if (tls_)
    tls_->async_read_some(buffer, std::move(done));
  else
    socket_.async_read_some(buffer, std::move(done));
}

void HttpStream::write(const WriteBuffers& buffers, Moved done) {
  if (tls_)
    tls_->async_write_some(buffers, std::move(done));
  else
    socket_.async_write_some(buffers, std::move(done));
}

void HttpStream::read_raw(boost::asio::mutable_buffer buffer, Moved done) {
  socket_.async_read_some(buffer, std::move(done));
}

void HttpStream::end_sending() {
  Error ignored;
  socket_.socket().shutdown(boost::asio::socket_base::shutdown_send, ignored);
}

std::string HttpStream::client_subject() {
  if (!tls_) return {};
  const std::unique_ptr<X509, void (*)(X509*)> shown(::SSL_get1_peer_certificate(tls_->native_handle()), ::X509_free);
  if (!shown) return {};
  const std::unique_ptr<BIO, void (*)(BIO*)> text(::BIO_new(::BIO_s_mem()), ::BIO_free_all);
  // RFC 2253 escapes control characters, so that no certificate can write lines of its own into the log.
  if (!text || ::X509_NAME_print_ex(text.get(), ::X509_get_subject_name(shown.get()), 0, XN_FLAG_RFC2253) < 0)
    return {};
  char* data = nullptr;
  const long length = BIO_get_mem_data(text.get(), &data);
  return {data, static_cast<std::size_t>(length)};
}

}  // namespace nbdgw::http
