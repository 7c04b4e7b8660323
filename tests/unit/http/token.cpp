#include "gateway/http/token.hpp"

#include <string>

#include <doctest/doctest.h>

using nbdgw::http::Token;

TEST_CASE("token: Bearer, or Basic with the token as the password") {
  const Token token("s3cret~token");
  CHECK(token.matches("Bearer s3cret~token"));
  CHECK(token.matches("bearer s3cret~token"));
  CHECK(token.matches("BEARER  s3cret~token"));
  CHECK(token.matches("Basic bWU6czNjcmV0fnRva2Vu"));      // me:s3cret~token
  CHECK(token.matches("Basic OnMzY3JldH50b2tlbg=="));      // :s3cret~token
  CHECK(token.matches("basic bWVlOnMzY3JldH50b2tlbg=="));  // mee:s3cret~token
}

TEST_CASE("token: everything else is not it") {
  const Token token("s3cret~token");
  for (const std::string field :
       {"", "Bearer", "Bearer ", "Bearer s3cret~toke", "Bearer s3cret~tokens", "Bearer S3cret~token",
        "Bearer s3cret~token ", "Bearer\ts3cret~token", "Bearers3cret~token", "s3cret~token", "Token s3cret~token",
        "Basic s3cret~token", "Basic", "Basic =", "Basic ====", "Basic bWU6", "Basic !!!!",
        "Basic czNjcmV0fnRva2Vu",       // s3cret~token without a user
        "Basic czNjcmV0fnRva2VuOm1l"})  // s3cret~token:me
  {
    CAPTURE(field);
    CHECK_FALSE(token.matches(field));
  }
  CHECK_FALSE(token.matches("Bearer " + std::string(100'000, 'a')));
  CHECK_FALSE(token.matches(std::string("Bearer s3cret~token\0", 20)));
}
