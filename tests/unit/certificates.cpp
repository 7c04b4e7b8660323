#include "tests/unit/certificates.hpp"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <memory>
#include <stdexcept>

namespace nbdgw::test {

namespace {

template <typename T>
T* made(T* pointer) {
  if (pointer == nullptr) throw std::runtime_error("OpenSSL makes no certificate");
  return pointer;
}

using Key = std::unique_ptr<EVP_PKEY, void (*)(EVP_PKEY*)>;
using Certificate = std::unique_ptr<X509, void (*)(X509*)>;
using Bio = std::unique_ptr<BIO, int (*)(BIO*)>;

Bio memory(const std::string& text = {}) {
  BIO* bio = text.empty() ? ::BIO_new(::BIO_s_mem()) : ::BIO_new_mem_buf(text.data(), static_cast<int>(text.size()));
  return {made(bio), ::BIO_free};
}

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long length = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(length)};
}

Key read_key(const std::string& pem) {
  return {made(::PEM_read_bio_PrivateKey(memory(pem).get(), nullptr, nullptr, nullptr)), ::EVP_PKEY_free};
}

void extend(X509* certificate, X509* issuer, int what, const std::string& value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = made(::X509V3_EXT_conf_nid(nullptr, &context, what, value.c_str()));
  ::X509_add_ext(certificate, extension, -1);
  ::X509_EXTENSION_free(extension);
}

}  // namespace

Identity make_identity(const IdentityOptions& options) {
  const Key key(
      made(options.rsa_bits > 0 ? EVP_RSA_gen(static_cast<unsigned>(options.rsa_bits)) : EVP_EC_gen("P-256")),
      ::EVP_PKEY_free);
  const Certificate certificate(made(::X509_new()), ::X509_free);
  ::X509_set_version(certificate.get(), X509_VERSION_3);
  std::uint32_t serial = 0;
  ::RAND_bytes(reinterpret_cast<unsigned char*>(&serial), sizeof serial);
  ::ASN1_INTEGER_set_uint64(::X509_get_serialNumber(certificate.get()), serial);
  ::X509_gmtime_adj(::X509_getm_notBefore(certificate.get()), options.begins_in_days * 86400L);
  ::X509_gmtime_adj(::X509_getm_notAfter(certificate.get()), options.ends_in_days * 86400L);
  ::X509_set_pubkey(certificate.get(), key.get());
  X509_NAME* name = ::X509_get_subject_name(certificate.get());
  ::X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                               reinterpret_cast<const unsigned char*>(options.name.c_str()), -1, -1, 0);

  Key signer(nullptr, ::EVP_PKEY_free);
  Certificate issuer(nullptr, ::X509_free);
  if (options.authority != nullptr) {
    signer = read_key(options.authority->key);
    issuer.reset(made(::PEM_read_bio_X509(memory(options.authority->certificate).get(), nullptr, nullptr, nullptr)));
    const bool number = options.name.find_first_not_of("0123456789.") == std::string::npos;
    extend(certificate.get(), issuer.get(), NID_subject_alt_name, (number ? "IP:" : "DNS:") + options.name);
  } else {
    extend(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE");
  }
  X509* by = issuer ? issuer.get() : certificate.get();
  ::X509_set_issuer_name(certificate.get(), ::X509_get_subject_name(by));
  if (::X509_sign(certificate.get(), signer ? signer.get() : key.get(), ::EVP_sha256()) == 0)
    throw std::runtime_error("OpenSSL signs no certificate");

  const Bio certificate_text = memory();
  const Bio key_text = memory();
  ::PEM_write_bio_X509(certificate_text.get(), certificate.get());
  ::PEM_write_bio_PrivateKey(key_text.get(), key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  return {text_of(certificate_text.get()), text_of(key_text.get())};
}

std::string behind_password(const std::string& key) {
  const Bio text = memory();
  unsigned char password[] = "password";
  ::PEM_write_bio_PrivateKey(text.get(), read_key(key).get(), ::EVP_aes_128_cbc(), password, sizeof password - 1,
                             nullptr, nullptr);
  return text_of(text.get());
}

}  // namespace nbdgw::test
