#include "gateway/http/tls_context.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <boost/asio/ssl/context.hpp>

namespace nbdgw::http {

namespace {

namespace ssl = boost::asio::ssl;

constexpr int kMaxChain = 8;  // certificates between a client's and its root
constexpr const char* kAlpn = "\x08http/1.1";

void check(const boost::system::error_code& error, const char* key, const config::PemFile& file) {
  if (error) throw TlsError(std::string("admin.tls.") + key + ": " + file.path + ": " + error.message());
}

boost::asio::const_buffer bytes(const config::PemFile& file) {
  return boost::asio::buffer(file.text);
}

/// The names of the authorities, which the handshake tells the client, so that it finds its certificate.
void announce_authorities(SSL_CTX* context, const std::string& pem) {
  const std::unique_ptr<BIO, void (*)(BIO*)> text(::BIO_new_mem_buf(pem.data(), static_cast<int>(pem.size())),
                                                  ::BIO_free_all);
  while (X509* authority = ::PEM_read_bio_X509(text.get(), nullptr, nullptr, nullptr)) {
    ::SSL_CTX_add_client_CA(context, authority);
    ::X509_free(authority);
  }
  ::ERR_clear_error();  // of the end of the text
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* length, const unsigned char* offered,
                    unsigned int offered_length, void*) {
  const auto* ours = reinterpret_cast<const unsigned char*>(kAlpn);
  unsigned char* chosen = nullptr;
  const int result = ::SSL_select_next_proto(&chosen, length, ours, kAlpn[0] + 1, offered, offered_length);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_NOACK;
}

}  // namespace

std::shared_ptr<ssl::context> make_tls_context(const config::AdminTls& tls) {
  auto context = std::make_shared<ssl::context>(ssl::context::tls_server);
  SSL_CTX* native = context->native_handle();
  SSL_CTX_set_min_proto_version(native, TLS1_2_VERSION);
  // No renegotiation, which costs the server more than the client; no resumption, which would need keys that live on.
  // Idle connections give their buffers back.
  SSL_CTX_set_options(
      native, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET | SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_session_cache_mode(native, SSL_SESS_CACHE_OFF);
  ::SSL_CTX_set_num_tickets(native, 0);
  SSL_CTX_set_mode(native, SSL_MODE_RELEASE_BUFFERS);
  ::SSL_CTX_set_alpn_select_cb(native, choose_protocol, nullptr);

  boost::system::error_code error;
  // A key behind a password must not make OpenSSL ask on the terminal.
  context->set_password_callback([](std::size_t, ssl::context::password_purpose) { return std::string(); }, error);
  context->use_certificate_chain(bytes(tls.certificate), error);
  check(error, "certificate_file", tls.certificate);
  context->use_private_key(bytes(tls.key), ssl::context::pem, error);
  check(error, "key_file", tls.key);
  if (::SSL_CTX_check_private_key(native) != 1)
    throw TlsError("admin.tls.key_file: " + tls.key.path + " is not the key of " + tls.certificate.path);
  if (!tls.client_ca) return context;
  context->add_certificate_authority(bytes(*tls.client_ca), error);
  check(error, "client_ca_file", *tls.client_ca);
  announce_authorities(native, tls.client_ca->text);
  context->set_verify_mode(ssl::verify_peer | ssl::verify_fail_if_no_peer_cert, error);
  ::SSL_CTX_set_verify_depth(native, kMaxChain);
  return context;
}

}  // namespace nbdgw::http
