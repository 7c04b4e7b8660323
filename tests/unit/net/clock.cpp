// The machine's sleep.
#include "gateway/net/clock.hpp"

#include <doctest/doctest.h>

using namespace nbdgw;
using net::SleepWatch;

namespace {

proto::Micros slept = 0;

proto::Micros read_slept() noexcept {
  return slept;
}

}  // namespace

TEST_CASE("sleep: each is told once, and only what has come since the last one") {
  slept = 1000 * proto::kSecond;  // before this process was there
  SleepWatch watch(read_slept);
  CHECK(watch.take() == 0);
  slept += 60 * proto::kSecond;
  CHECK(watch.take() == 60 * proto::kSecond);
  CHECK(watch.take() == 0);
  slept += SleepWatch::kNoticed;
  CHECK(watch.take() == SleepWatch::kNoticed);
}

TEST_CASE("sleep: two clocks that were read at different times are none") {
  slept = 1000 * proto::kSecond;
  SleepWatch watch(read_slept);
  slept += SleepWatch::kNoticed - 1;
  CHECK(watch.take() == 0);
  slept -= 30 * proto::kSecond;  // somebody else had the processor between the two
  CHECK(watch.take() == 0);
  slept += 30 * proto::kSecond + 1;
  CHECK(watch.take() == SleepWatch::kNoticed);
}

TEST_CASE("sleep: a machine that is awake has not slept") {
  SleepWatch watch;
  CHECK(net::slept_so_far() > -proto::kSecond);
  for (int i = 0; i < 100; ++i) CHECK(watch.take() == 0);
}
