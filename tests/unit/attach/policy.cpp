#include "gateway/attach/policy.hpp"

#include <doctest/doctest.h>

#include "proto/nbd/constants.hpp"

using namespace nbdgw;
using namespace nbdgw::attach;
using proto::kMillisecond;
using proto::kSecond;

namespace {

constexpr std::uint16_t kAll = proto::nbd::kFlagHasFlags | proto::nbd::kFlagSendFlush | proto::nbd::kFlagSendFua |
                               proto::nbd::kFlagSendTrim | proto::nbd::kFlagSendWriteZeroes;

Held held() {
  return {.size = 1 << 20, .flags = kAll, .block = 512, .identity = "naa.1"};
}

Offer offer() {
  return {.size = 1 << 20, .flags = kAll, .block = 1, .identity = "naa.1"};
}

}  // namespace

TEST_CASE("attach policy: the same disk goes on, and so does one that has grown or can do more") {
  CHECK(obstacle(held(), offer()).empty());
  Offer more = offer();
  more.size *= 2;
  more.flags |= proto::nbd::kFlagRotational | proto::nbd::kFlagCanMultiConn;
  CHECK(obstacle(held(), more).empty());
}

TEST_CASE("attach policy: another disk, a smaller one, and one that can do less are refused") {
  Offer other = offer();
  other.identity = "naa.2";
  CHECK(obstacle(held(), other) == "another disk is there, naa.2, where naa.1 was");
  other.identity = "";
  CHECK(obstacle(held(), other) == "another disk is there, unknown, where naa.1 was");
  Offer smaller = offer();
  smaller.size -= 512;
  CHECK(obstacle(held(), smaller) == "the disk has shrunk from 1048576 to 1048064 bytes");
  Offer coarser = offer();
  coarser.block = 4096;
  CHECK(obstacle(held(), coarser) == "the disk has blocks of 4096 bytes now, and had 512");
  for (const std::uint16_t flag : {proto::nbd::kFlagSendFlush, proto::nbd::kFlagSendFua, proto::nbd::kFlagSendTrim,
                                   proto::nbd::kFlagSendWriteZeroes}) {
    Offer less = offer();
    less.flags = static_cast<std::uint16_t>(less.flags & ~flag);
    CHECK(obstacle(held(), less).starts_with("the export can do less than before"));
  }
  Offer closed = offer();
  closed.flags |= proto::nbd::kFlagReadOnly;
  CHECK(obstacle(held(), closed) == "the export has become read-only");
  Held was_closed = held();
  was_closed.flags |= proto::nbd::kFlagReadOnly;
  CHECK(obstacle(was_closed, offer()).empty());
}

TEST_CASE("attach policy: often at first, then less often, seldom after a refusal") {
  RetryTimes times;
  times.begin(100 * kSecond);
  CHECK(times.at() == 100 * kSecond);
  times.on_failure(100 * kSecond);
  CHECK(times.at() == 100 * kSecond + 20 * kMillisecond);
  times.on_failure(102 * kSecond);
  CHECK(times.at() == 102 * kSecond + 200 * kMillisecond);
  times.on_refusal(102 * kSecond);
  CHECK(times.at() == 103 * kSecond);
}

TEST_CASE("attach policy: a connection is offered again while it is young") {
  OfferTimes offers;
  CHECK(offers.at() == proto::kNever);
  offers.begin(kSecond);
  int count = 0;
  proto::Micros last = kSecond;
  while (offers.at() != proto::kNever) {
    CHECK(offers.at() > last);
    last = offers.at();
    offers.on_offered();
    ++count;
  }
  CHECK(count == 6);
  CHECK(last == kSecond + 5 * kSecond);
}
