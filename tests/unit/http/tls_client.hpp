#pragma once

#include <netinet/in.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <memory>
#include <string>

#include <doctest/doctest.h>

#include "gateway/net/unique_fd.hpp"
#include "tests/unit/certificates.hpp"

namespace nbdgw::test {

struct TlsClientOptions {
  const Identity* authority = nullptr;  // whom to trust; null: everybody
  const Identity* own = nullptr;        // the certificate to show; null: none
  int newest = TLS1_3_VERSION;
};

/// A blocking client of the HTTPS server, straight on OpenSSL. Reads time out.
class TlsClient {
 public:
  explicit TlsClient(std::uint16_t port, const TlsClientOptions& options = {})
      : context_(::SSL_CTX_new(::TLS_client_method()), ::SSL_CTX_free),
        fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)),
        tls_(nullptr, ::SSL_free) {
    // Old versions and weak ciphers are for the server to refuse.
    ::SSL_CTX_set_security_level(context_.get(), 0);
    SSL_CTX_set_max_proto_version(context_.get(), options.newest);
    if (options.authority != nullptr) {
      ::X509_STORE_add_cert(::SSL_CTX_get_cert_store(context_.get()), certificate(*options.authority).get());
      ::SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    }
    if (options.own != nullptr) {
      ::SSL_CTX_use_certificate(context_.get(), certificate(*options.own).get());
      const std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)> key(
          ::PEM_read_bio_PrivateKey(bio(options.own->key).get(), nullptr, nullptr, nullptr), ::EVP_PKEY_free);
      ::SSL_CTX_use_PrivateKey(context_.get(), key.get());
    }
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const timeval limit{10, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    REQUIRE(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    tls_.reset(::SSL_new(context_.get()));
    ::SSL_set_fd(tls_.get(), fd_.get());
  }

  bool shake_hands() { return ::SSL_connect(tls_.get()) == 1; }
  void send(const std::string& bytes) { ::SSL_write(tls_.get(), bytes.data(), static_cast<int>(bytes.size())); }
  /// Sends, and reads until the server ends TLS; empty: it ended it without a word.
  std::string ask_and_close(const std::string& path) {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    std::string all;
    char bytes[4096];
    int n = 0;
    while ((n = ::SSL_read(tls_.get(), bytes, sizeof bytes)) > 0) all.append(bytes, static_cast<std::size_t>(n));
    ended_properly = ::SSL_get_error(tls_.get(), n) == SSL_ERROR_ZERO_RETURN;
    return all;
  }
  /// One response, which is short.
  std::string ask(const std::string& path) {
    send("GET " + path + " HTTP/1.1\r\nHost: x\r\n\r\n");
    std::string all;
    char bytes[4096];
    while (all.find("\r\n\r\n") == std::string::npos || !is_whole(all)) {
      const int n = ::SSL_read(tls_.get(), bytes, sizeof bytes);
      if (n <= 0) return {};
      all.append(bytes, static_cast<std::size_t>(n));
    }
    return all;
  }
  /// The server has ended the connection.
  bool is_closed() {
    char byte = 0;
    return ::SSL_read(tls_.get(), &byte, 1) <= 0;
  }
  std::string version() const { return ::SSL_get_version(tls_.get()); }
  SSL* native() noexcept { return tls_.get(); }

  bool ended_properly = false;  // with close_notify: the response is not cut off

 private:
  using Bio = std::unique_ptr<BIO, int (*)(BIO*)>;
  static Bio bio(const std::string& text) {
    return {::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), ::BIO_free};
  }
  static std::unique_ptr<X509, void (*)(X509*)> certificate(const Identity& identity) {
    return {::PEM_read_bio_X509(bio(identity.certificate).get(), nullptr, nullptr, nullptr), ::X509_free};
  }
  static bool is_whole(const std::string& response) {
    const std::size_t at = response.find("Content-Length: ");
    const std::size_t head = response.find("\r\n\r\n") + 4;
    return at != std::string::npos && response.size() >= head + std::stoul(response.substr(at + 16));
  }

  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  net::UniqueFd fd_;
  std::unique_ptr<SSL, void (*)(SSL*)> tls_;
};

}  // namespace nbdgw::test
