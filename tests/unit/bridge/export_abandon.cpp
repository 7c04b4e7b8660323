#include <doctest/doctest.h>

#include "tests/unit/bridge/bench.hpp"

using nbdgw::proto::nbd::Command;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::nbd::kCmdFlagFua;

namespace {

/// Abandons a request after `steps` steps of its life, each a reception or a completion, then lets all end. False:
/// the request was answered before that.
bool abandon_after(int steps, Command command, std::uint64_t offset, std::uint32_t length, bool answered_but_held) {
  Bench bench({.blocks = 16384, .dpofua = false, .granularity = 1});
  bench.connect();
  bench.release_at_once = !answered_but_held;
  const std::vector<std::uint8_t> data(length, 0x77);
  Reply* const reply = bench.admit(command, offset, length, kCmdFlagFua);
  std::uint32_t filled = 0;
  bool started = false;
  for (int i = 0; i < steps; ++i) {
    if (command == Command::write && filled < length) {
      auto* segment = bench.fill(*reply, data);
      filled += segment->length;
      bench.received(*reply, *segment);
    } else if (!started && command != Command::write) {
      started = true;
      bench.target->start(*reply->request, bench.now);
    } else if (!bench.lun.waiting.empty()) {
      bench.lun.complete(bench.lun.waiting.size() - 1, bench.now);
    } else if (!reply->finished) {
      bench.deliver();
    } else {
      if (reply->request != nullptr) bench.target->release(*reply->request);
      bench.check_idle();
      return false;
    }
  }
  if (reply->request == nullptr) {
    bench.check_idle();
    return false;
  }
  const std::size_t out = bench.lun.waiting.size();
  const std::size_t sent = bench.lun.sent;
  bench.abandon(*reply);
  // What overlaps it waits until the last command has come back, and nothing new of it is begun.
  Reply* const behind = bench.write(offset, length, 0x11);
  if (command != Command::read && command != Command::flush && out > 0 && bench.lun.sent == sent) {
    CHECK(bench.target->counters().fenced >= 1);
  }
  bench.run();
  CHECK(behind->finished);
  CHECK(behind->error == Error::none);
  for (std::uint32_t i = 0; i < length; ++i) {
    if (bench.lun.disk[offset + i] != 0x11) FAIL("a ghost of the abandoned request");
  }
  if (behind->request != nullptr) bench.target->release(*behind->request);
  CHECK(bench.target->counters().abandoned == 1);
  bench.check_idle();
  return true;
}

}  // namespace

TEST_CASE("abandon: at every step of every command") {
  for (const bool held : {false, true}) {
    for (const Command command : {Command::read, Command::write, Command::trim, Command::write_zeroes}) {
      for (const auto& [offset, length] : {std::pair<std::uint64_t, std::uint32_t>{0, 512},
                                           {100, 3000},
                                           {512, 3 * 1024 * 1024},
                                           {1, 2 * 1024 * 1024}}) {
        CAPTURE(static_cast<int>(command));
        CAPTURE(offset);
        CAPTURE(length);
        CAPTURE(held);
        int steps = 0;
        while (steps < 500 && abandon_after(steps, command, offset, length, held)) ++steps;
        CHECK(steps > 2);
        CHECK(steps < 500);
      }
    }
  }
}

TEST_CASE("abandon: a flush, alone or with others") {
  Bench bench;
  bench.connect();
  SUBCASE("before it is sent") {
    bench.target->on_session_down("test", bench.now);
    Reply* const flush = bench.flush();
    bench.abandon(*flush);
    CHECK(bench.target->idle());
    bench.connect();
    CHECK(bench.lun.synchronized == 0);
  }
  SUBCASE("while it runs") {
    Reply* const flush = bench.flush();
    bench.abandon(*flush);
    CHECK_FALSE(bench.target->idle());
    bench.run();
    CHECK(bench.lun.synchronized == 1);
  }
  SUBCASE("while it runs, and it comes back disrupted: nobody needs it any more") {
    Reply* const flush = bench.flush();
    bench.abandon(*flush);
    bench.lun.disrupt([](const FakeLun::Command&) { return false; }, bench.now);
    bench.connect();
    CHECK(bench.lun.synchronized == 0);
  }
  SUBCASE("one of several") {
    Reply* const first = bench.flush();
    Reply* const second = bench.flush();
    Reply* const third = bench.flush();
    bench.abandon(*first);
    bench.abandon(*second);
    bench.run();
    CHECK(third->error == Error::none);
  }
  bench.check_idle();
}

TEST_CASE("abandon: a write that waits for a retry is not sent again") {
  Bench bench;
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  Reply* const behind = bench.write(0, 512, 2);
  bench.lun.refuse(0, 0x08, bench.now);  // BUSY
  CHECK(bench.target->queue().delayed() == 1);
  bench.abandon(*write);
  CHECK(bench.lun.waiting.empty());
  bench.deliver();  // sends what the abandoned one stood in the way of
  CHECK(bench.lun.waiting.size() == 1);
  bench.run();
  CHECK(behind->error == Error::none);
  CHECK(bench.lun.disk[0] == 2);
  bench.check_idle();
}

TEST_CASE("abandon: in the fence, it lets those behind it pass") {
  Bench bench;
  bench.connect();
  Reply* const first = bench.write(0, 512, 1);
  Reply* const second = bench.write(0, 1024, 2);
  Reply* const third = bench.write(512, 512, 3);
  CHECK(bench.lun.waiting.size() == 1);
  bench.abandon(*second);
  bench.deliver();
  CHECK(bench.lun.waiting.size() == 2);
  bench.run();
  CHECK(first->finished);
  CHECK(third->finished);
  CHECK(bench.lun.disk[0] == 1);
  CHECK(bench.lun.disk[512] == 3);
  bench.check_idle();
}

TEST_CASE("abandon: disrupted, it stays in the fence no longer than the target could know it") {
  Bench bench;
  bench.connect();
  Reply* const write = bench.write(0, 512, 1);
  Reply* const behind = bench.write(0, 512, 2);
  bench.abandon(*write);
  bench.deliver();
  CHECK(bench.lun.waiting.size() == 1);  // it runs: the other one waits
  bench.lun.disrupt([](const FakeLun::Command&) { return true; }, bench.now);
  bench.target->on_session_down("test", bench.now);
  bench.connect();
  CHECK(behind->finished);
  CHECK(bench.lun.disk[0] == 2);
  bench.check_idle();
}
