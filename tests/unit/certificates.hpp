#pragma once

#include <string>

/// Certificates for tests, made when they are needed.
namespace nbdgw::test {

/// Both in PEM form.
struct Identity {
  std::string certificate;
  std::string key;
};

struct IdentityOptions {
  std::string name = "127.0.0.1";       // common name, and an IP address or DNS name of the certificate
  const Identity* authority = nullptr;  // who signs it; null: itself, as an authority
  int begins_in_days = -1;
  int ends_in_days = 1;
  int rsa_bits = 0;  // 0: an elliptic curve
};

Identity make_identity(const IdentityOptions& options = {});

/// The key of an identity, behind a password.
std::string behind_password(const std::string& key);

}  // namespace nbdgw::test
