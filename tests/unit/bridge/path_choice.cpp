// When a session leaves its portal for another one.
#include "gateway/bridge/path_choice.hpp"

#include <doctest/doctest.h>

#include <array>

#include "proto/scsi/sense.hpp"
#include "tests/unit/bridge/bench.hpp"

using nbdgw::bridge::Export;
using nbdgw::bridge::ExportState;
using nbdgw::bridge::PathChoice;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using nbdgw::proto::nbd::Error;
using nbdgw::proto::scsi::SenseKey;

namespace {

constexpr std::uint8_t kStandby = 0x0b;

/// Answers everything with "port in standby", until the export has made up its mind.
void standby(Bench& bench, std::uint8_t ascq = kStandby) {
  while (!bench.lun.waiting.empty()) {
    bench.lun.refuse(0, make_sense(SenseKey::not_ready, 0x04, ascq), bench.now);
    bench.deliver();
  }
}

}  // namespace

TEST_CASE(
    "path: an export that nobody uses finds out that its port is in standby, when it is asked or in its round") {
  for (const bool round : {false, true}) {
    CAPTURE(round);
    Bench bench;
    bench.connect();
    REQUIRE(bench.target->state() == ExportState::online);
    bench.target->ask_if_unheard(bench.now);  // it was heard of just now
    CHECK(bench.lun.waiting.empty());
    bench.now += nbdgw::bridge::kUnheard;
    if (round) {
      bench.target->poll_capacity(bench.now);
    } else {
      bench.target->ask_if_unheard(bench.now);
    }
    REQUIRE_FALSE(bench.lun.waiting.empty());
    standby(bench);
    CHECK(bench.target->state() == ExportState::offline);
    CHECK(bench.target->path_unusable());
    Export* const exports[] = {bench.target.get()};
    CHECK_FALSE(PathChoice().reason_to_leave(exports, 2, bench.now).empty());
  }
}

TEST_CASE("path: a LUN whose port goes into standby is offline, and requests are held until it is back") {
  Bench bench;
  bench.connect();
  Reply* const read = bench.read(0, 512);
  Reply* const write = bench.write(4096, 512, 1);
  standby(bench);
  CHECK(bench.target->state() == ExportState::offline);
  CHECK(bench.target->path_unusable());
  CHECK(bench.target->status().reason.find("not ready") != std::string::npos);
  const Micros begin = bench.now;
  for (int i = 0; i < 12; ++i) {
    bench.wait_for_deadline();
    standby(bench);
  }
  CHECK(bench.now - begin > 10 * kSecond);
  CHECK_FALSE(read->finished);
  CHECK_FALSE(write->finished);
  for (int i = 0; i < 10 && !(read->finished && write->finished); ++i) {
    bench.wait_for_deadline();
    bench.run();
  }
  CHECK(read->error == Error::none);
  CHECK(write->error == Error::none);
  CHECK(read->finished);
  CHECK(write->finished);
  CHECK_FALSE(bench.target->path_unusable());
  bench.check_idle();
}

TEST_CASE("path: standby for good ends with the hold timeout, or never, as configured") {
  for (const bool hold : {false, true}) {
    CAPTURE(hold);
    Bench bench({}, {.hold_timeout = hold ? nbdgw::proto::kNever : 60 * kSecond});
    bench.connect();
    Reply* const read = bench.read(0, 512);
    const Micros begin = bench.now;
    standby(bench);
    while (!read->finished && bench.now - begin < 600 * kSecond) {
      bench.wait_for_deadline();
      standby(bench);
    }
    CHECK(read->finished == !hold);
    if (hold) {
      for (int i = 0; i < 10 && !read->finished; ++i) {
        bench.wait_for_deadline();
        bench.run();
      }
      CHECK(read->error == Error::none);
    } else {
      CHECK(read->error == Error::eio);
      CHECK(bench.now - begin <= 66 * kSecond);
    }
  }
}

TEST_CASE("path: a portal is left if a LUN is unusable there and no other works, and not often") {
  Bench bench;
  Bench other;
  PathChoice choice;
  const std::array<Export*, 1> alone{bench.target.get()};
  const std::array<Export*, 2> both{bench.target.get(), other.target.get()};
  CHECK(choice.reason_to_leave(alone, 1, bench.now).empty());  // no session yet: there is nothing to leave
  bench.target->on_session_up(0, bench.now);
  CHECK(choice.reason_to_leave(alone, 1, bench.now).empty());  // being probed
  standby(bench);
  REQUIRE(bench.target->path_unusable());
  other.connect();
  CHECK(choice.reason_to_leave(both, 1, bench.now).empty());
  other.lose_session();
  CHECK(choice.reason_to_leave(both, 1, bench.now).find("not ready") != std::string::npos);

  Micros pause = PathChoice::kFirstPause;
  for (int i = 0; i < 12; ++i) {
    const Micros begin = bench.now;
    while (choice.reason_to_leave(alone, 1, bench.now).empty()) bench.now += kSecond;
    CHECK(bench.now - begin >= pause);
    CHECK(bench.now - begin <= pause + kSecond);
    pause = std::min(2 * pause, PathChoice::kLongestPause);
  }
  // After a quiet time the first is at once again, and then it begins anew.
  bench.now += 2 * PathChoice::kLongestPause;
  CHECK_FALSE(choice.reason_to_leave(alone, 1, bench.now).empty());
  bench.now += PathChoice::kFirstPause - 1;
  CHECK(choice.reason_to_leave(alone, 1, bench.now).empty());
  bench.now += 1;
  CHECK_FALSE(choice.reason_to_leave(alone, 1, bench.now).empty());
}

TEST_CASE("path: the portals are tried one after the other, and only then there is a pause") {
  constexpr std::size_t kPortals = 3;
  Bench bench;
  bench.connect();
  bench.read(0, 512);
  standby(bench);
  REQUIRE(bench.target->path_unusable());
  const std::array<Export*, 1> alone{bench.target.get()};
  PathChoice choice;
  bench.now += 1000 * kSecond;
  for (Micros pause = PathChoice::kFirstPause; pause < PathChoice::kLongestPause; pause *= 2) {
    CAPTURE(pause);
    for (std::size_t i = 1; i < kPortals; ++i) {  // from where it is to all others
      CHECK_FALSE(choice.reason_to_leave(alone, kPortals, bench.now).empty());
      bench.now += kSecond;
    }
    bench.now += pause - kSecond - 1;
    CHECK(choice.reason_to_leave(alone, kPortals, bench.now).empty());
    bench.now += 1;
  }
}

TEST_CASE("path: what is no matter of the path is no reason to leave") {
  Bench bench;
  bench.connect();
  bench.lun.options.serial = "disk-2";
  bench.lose_session();
  bench.target->on_session_up(0, bench.now);
  while (!bench.lun.waiting.empty()) {
    bench.lun.complete(0, bench.now);
    bench.deliver();
  }
  REQUIRE(bench.target->state() == ExportState::refused);
  PathChoice choice;
  const std::array<Export*, 1> alone{bench.target.get()};
  CHECK(choice.reason_to_leave(alone, 1, bench.now).empty());
}
