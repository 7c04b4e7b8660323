#include "gateway/http/token.hpp"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <boost/beast/core/string.hpp>
#include <optional>
#include <string>

#include "proto/assert.hpp"

namespace nbdgw::http {

namespace {

/// What follows the scheme, if it is this one (RFC 9110 section 11.4: its case does not matter).
std::optional<std::string_view> credentials(std::string_view field, std::string_view scheme) {
  if (field.size() <= scheme.size() || field[scheme.size()] != ' ') return std::nullopt;
  if (!boost::beast::iequals({field.data(), scheme.size()}, {scheme.data(), scheme.size()})) return std::nullopt;
  field.remove_prefix(std::min(field.find_first_not_of(' ', scheme.size()), field.size()));
  return field;
}

/// The password in the credentials of Basic: base64 of "USER:PASSWORD".
std::optional<std::string> password(std::string_view encoded) {
  if (encoded.empty() || encoded.size() % 4 != 0) return std::nullopt;
  std::string text(encoded.size() / 4 * 3, '\0');
  const int n =
      ::EVP_DecodeBlock(reinterpret_cast<unsigned char*>(text.data()),
                        reinterpret_cast<const unsigned char*>(encoded.data()), static_cast<int>(encoded.size()));
  if (n < 0) return std::nullopt;
  text.resize(static_cast<std::size_t>(n) - (encoded.ends_with("==") ? 2 : encoded.ends_with("=") ? 1 : 0));
  const std::size_t colon = text.find(':');
  if (colon == std::string::npos) return std::nullopt;
  return text.substr(colon + 1);
}

}  // namespace

Token::Token(std::string_view secret) : digest_(digest(secret)) {}

Token::Digest Token::digest(std::string_view text) {
  Digest out{};
  NBDGW_ASSERT(::EVP_Digest(text.data(), text.size(), out.data(), nullptr, ::EVP_sha256(), nullptr) == 1,
               "SHA-256 is there");
  return out;
}

bool Token::matches(std::string_view authorization) const {
  std::string shown;
  if (const auto bearer = credentials(authorization, "Bearer")) {
    shown = *bearer;
  } else if (const auto basic = credentials(authorization, "Basic")) {
    if (auto secret = password(*basic)) shown = *std::move(secret);
  }
  // Digests of equal length: neither the length of the token nor how much of it was right can be measured.
  const Digest other = digest(shown);
  return ::CRYPTO_memcmp(other.data(), digest_.data(), digest_.size()) == 0;
}

}  // namespace nbdgw::http
