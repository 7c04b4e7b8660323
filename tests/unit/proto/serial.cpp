#include "proto/serial.hpp"

#include <cstdint>

#include <doctest/doctest.h>

#include "../random.hpp"

using nbdgw::proto::serial_less;
using nbdgw::proto::serial_less_equal;

TEST_CASE("serial numbers: order near the wrap (RFC 1982)") {
  CHECK(serial_less(0, 1));
  CHECK_FALSE(serial_less(1, 0));
  CHECK_FALSE(serial_less(5, 5));
  CHECK(serial_less_equal(5, 5));
  CHECK(serial_less(0xffffffff, 0));
  CHECK(serial_less(0xfffffff0, 0x10));
  CHECK_FALSE(serial_less(0x10, 0xfffffff0));
  CHECK(serial_less(0, 0x7fffffff));
  // Half the circle apart there is no order.
  CHECK_FALSE(serial_less(0, 0x80000000));
  CHECK_FALSE(serial_less(0x80000000, 0));
}

TEST_CASE("serial numbers: what is added comes after, from wherever") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 10'000; ++round) {
    const auto start = static_cast<std::uint32_t>(random());
    const auto step = static_cast<std::uint32_t>(1 + random() % 0x7fffffff);
    CHECK(serial_less(start, start + step));
    CHECK_FALSE(serial_less(start + step, start));
    CHECK(serial_less_equal(start, start + step));
    CHECK_FALSE(serial_less_equal(start + step, start));
  }
}
