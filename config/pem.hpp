#pragma once

#include <cstddef>
#include <string>

/// Certificates and keys in PEM form (RFC 7468), as far as can be said without using them. Every check returns what
/// is wrong; empty: nothing is.
namespace nbdgw::config {

inline constexpr std::size_t kMaxPemFile = 256 * 1024;  // bytes; an authority's bundle is the longest there is

/// One certificate or more.
std::string check_certificates(const std::string& pem);

/// One private key, without a password.
std::string check_private_key(const std::string& pem);

/// The key belongs to the first of the certificates. Both have been checked.
bool belong_together(const std::string& certificates, const std::string& key);

/// Since when or from when on the first certificate is not valid, as "expired on ..."; empty: it is valid now.
std::string out_of_date(const std::string& certificates);

}  // namespace nbdgw::config
