#include "gateway/bridge/patience.hpp"

#include <doctest/doctest.h>

using nbdgw::bridge::Patience;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;

namespace {

constexpr Micros kTimeout = 64 * kSecond;

}  // namespace

TEST_CASE("patience: one that stalls has the stall timeout, and each that follows less") {
  Patience patience;
  Micros now = 1000 * kSecond;
  Micros waited = 0;
  for (const Micros wanted : {64, 32, 16, 8, 8, 8, 8, 8}) {
    const Micros has = patience.with_next(kTimeout, now);
    CHECK(has == wanted * kSecond);
    now += has;
    waited += has;
    patience.on_closed(kTimeout, now);
  }
  CHECK(waited < 3 * kTimeout);
}

TEST_CASE("patience: it comes back while nobody has to be closed") {
  Patience patience;
  Micros now = 0;
  for (int i = 0; i < 10; ++i) patience.on_closed(kTimeout, now);
  for (const Micros wanted : {8, 16, 32, 64, 64}) {
    CHECK(patience.with_next(kTimeout, now) == wanted * kSecond);
    CHECK(patience.with_next(kTimeout, now + kTimeout - 1) == wanted * kSecond);
    now += kTimeout;
  }
}

TEST_CASE("patience: there is a least, but a shorter timeout is kept") {
  for (const Micros timeout : {Micros{1}, kSecond, Patience::kLeast, 2 * Patience::kLeast, 3600 * kSecond}) {
    CAPTURE(timeout);
    Patience patience;
    for (int i = 0; i < 10; ++i) patience.on_closed(timeout, 0);
    const Micros has = patience.with_next(timeout, 0);
    CHECK(has <= timeout);
    CHECK(has >= std::min(timeout, Patience::kLeast));
  }
}
