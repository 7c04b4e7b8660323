#pragma once

#include <array>
#include <string_view>

namespace nbdgw::http {

/// The secret that clients of the admin server must know. Only its digest is kept.
class Token {
 public:
  explicit Token(std::string_view secret);

  /// Whether the value of an Authorization field shows it: "Bearer TOKEN" (RFC 6750), or "Basic" (RFC 7617) with any
  /// user and the token as password, which is what a browser can ask its user for. How long this takes says nothing
  /// about the token.
  bool matches(std::string_view authorization) const;

 private:
  using Digest = std::array<unsigned char, 32>;
  static Digest digest(std::string_view text);

  Digest digest_;
};

}  // namespace nbdgw::http
