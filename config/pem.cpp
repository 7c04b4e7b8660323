#include "config/pem.hpp"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include <memory>

namespace nbdgw::config {

namespace {

using Bio = std::unique_ptr<BIO, int (*)(BIO*)>;
using Certificate = std::unique_ptr<X509, void (*)(X509*)>;
using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;

Bio open(const std::string& text) {
  return {::BIO_new_mem_buf(text.data(), static_cast<int>(text.size())), ::BIO_free};
}

Certificate next_certificate(BIO* text) {
  return {::PEM_read_bio_X509(text, nullptr, nullptr, nullptr), ::X509_free};
}

/// Instead of a question on the terminal.
int no_password(char*, int, int, void*) {
  return -1;
}

Key read_key(const std::string& text) {
  return {::PEM_read_bio_PrivateKey(open(text).get(), nullptr, no_password, nullptr), ::EVP_PKEY_free};
}

}  // namespace

std::string check_certificates(const std::string& pem) {
  ::ERR_clear_error();
  const Bio text = open(pem);
  int count = 0;
  while (next_certificate(text.get())) ++count;
  const unsigned long error = ::ERR_peek_last_error();
  ::ERR_clear_error();
  // That there is no further one is how the text ends.
  const bool ended = ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;
  if (!ended) return "holds a certificate that is damaged: the " + std::to_string(count + 1) + ". from its beginning";
  return count > 0 ? "" : "holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)";
}

std::string check_private_key(const std::string& pem) {
  ::ERR_clear_error();
  const Key key = read_key(pem);
  ::ERR_clear_error();
  if (key) return {};
  if (pem.find("ENCRYPTED") != std::string::npos)
    return "is a key behind a password, which nobody is there to type; write it without one: openssl pkey -in FILE "
           "-out NEW";
  return "holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)";
}

bool belong_together(const std::string& certificates, const std::string& key) {
  const Certificate certificate = next_certificate(open(certificates).get());
  const Key own = read_key(key);
  const bool fit = certificate && own && ::X509_check_private_key(certificate.get(), own.get()) == 1;
  ::ERR_clear_error();
  return fit;
}

std::string out_of_date(const std::string& certificates) {
  const Certificate certificate = next_certificate(open(certificates).get());
  ::ERR_clear_error();
  if (!certificate) return {};
  const ASN1_TIME* until = ::X509_get0_notAfter(certificate.get());
  const ASN1_TIME* from = ::X509_get0_notBefore(certificate.get());
  const bool expired = ::X509_cmp_current_time(until) < 0;
  if (!expired && ::X509_cmp_current_time(from) < 0) return {};
  const Bio text(::BIO_new(::BIO_s_mem()), ::BIO_free);
  ::ASN1_TIME_print(text.get(), expired ? until : from);
  char* data = nullptr;
  const long length = BIO_get_mem_data(text.get(), &data);
  return (expired ? "expired on " : "is not valid before ") + std::string(data, static_cast<std::size_t>(length));
}

}  // namespace nbdgw::config
