#include "gateway/shard/session_numbers.hpp"

#include <doctest/doctest.h>

#include <cstdint>
#include <string>

using nbdgw::shard::SessionNumbers;

namespace {

std::string iqn(const char* name) {
  return std::string("iqn.2026-11.io.nbdgw:array-") + name;
}

}  // namespace

TEST_CASE("the hash is FNV-1a, today and after every upgrade") {
  CHECK(SessionNumbers::hash("") == 0x811c9dc5);
  CHECK(SessionNumbers::hash("a") == 0xe40c292c);
  CHECK(SessionNumbers::hash("foobar") == 0xbf9cf968);
}

TEST_CASE("a target's number does not depend on the other targets, nor on when it came") {
  SessionNumbers first;
  const std::uint32_t a = first.take(iqn("1"));
  const std::uint32_t b = first.take(iqn("2"));
  SessionNumbers second;
  CHECK(second.take(iqn("2")) == b);
  CHECK(second.take(iqn("1")) == a);
  first.give_back(a);
  CHECK(first.take(iqn("1")) == a);
}

TEST_CASE("no two targets in use have the same number, even if their names have the same hash") {
  const std::string one = iqn("8229290177994903590");
  const std::string other = iqn("11606411548977378803");
  REQUIRE(SessionNumbers::hash(one) == SessionNumbers::hash(other));
  SessionNumbers numbers;
  const std::uint32_t first = numbers.take(one);
  CHECK(numbers.take(other) == first + 1);
  numbers.give_back(first);
  CHECK(numbers.take(one) == first);
}
