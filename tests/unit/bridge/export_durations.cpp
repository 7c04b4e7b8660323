// How long requests took: from their arrival to their reply, by command.
#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::RequestDurations;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
using nbdgw::proto::nbd::Command;

namespace {

std::uint64_t answered(const RequestDurations& durations) {
  return durations.read.count() + durations.write.count() + durations.flush.count() + durations.trim.count() +
         durations.write_zeroes.count();
}

}  // namespace

TEST_CASE("durations: each command has its own") {
  Bench bench;
  bench.connect();
  const RequestDurations& durations = bench.target->counters().durations;
  // Each step of run() takes some microseconds more.
  const auto after = [&](nbdgw::proto::Micros length) {
    bench.now += length;
    bench.run();
  };
  bench.read(0, 4096);
  after(1 * kMillisecond);
  bench.write(0, 4096, 1);
  after(2 * kMillisecond);
  bench.flush();
  after(3 * kMillisecond);
  bench.trim(0, 65536);
  after(4 * kMillisecond);
  bench.zero(0, 65536);
  after(5 * kMillisecond);
  CHECK(durations.read.sum() / kMillisecond == 1);
  CHECK(durations.write.sum() / kMillisecond == 2);
  CHECK(durations.flush.sum() / kMillisecond == 3);
  CHECK(durations.trim.sum() / kMillisecond == 4);
  CHECK(durations.write_zeroes.sum() / kMillisecond == 5);
  CHECK(answered(durations) == 5);
  bench.check_idle();
}

TEST_CASE("durations: waiting for the path counts, and so do requests that fail") {
  Bench bench;
  bench.connect();
  const RequestDurations& durations = bench.target->counters().durations;
  Reply* const held = bench.read(0, 4096);
  bench.lose_session();
  bench.now += 2 * kSecond;
  bench.connect();
  bench.run();
  REQUIRE(held->finished);
  CHECK(durations.read.count() == 1);
  CHECK(durations.read.sum() >= 2 * kSecond);

  Reply* const refused = bench.write(0, 4096, 1);
  bench.lun.refuse(0, make_sense(nbdgw::proto::scsi::SenseKey::data_protect, 0x27, 0x00), bench.now);
  bench.run();
  REQUIRE(refused->finished);
  CHECK(refused->error != nbdgw::proto::nbd::Error::none);
  CHECK(durations.write.count() == 1);
}

TEST_CASE("durations: a request whose client went away was never answered") {
  Bench bench;
  bench.connect();
  Reply* const read = bench.read(0, 4096);
  bench.abandon(*read);
  bench.run();
  CHECK(answered(bench.target->counters().durations) == 0);
  bench.check_idle();
}
