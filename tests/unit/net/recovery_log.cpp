#include "gateway/net/recovery_log.hpp"

#include <doctest/doctest.h>

#include "proto/scsi/lun.hpp"

using namespace nbdgw;
using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;
using initiator::RungScope;

TEST_CASE("recovery log: keeps the newest, and tells those after a number") {
  net::RecoveryLog log;
  CHECK(log.since(0).empty());
  constexpr std::size_t kTotal = net::RecoveryLog::kCapacity + 5;
  for (std::size_t i = 0; i < kTotal; ++i) {
    RecoveryEvent event;
    event.rung = Rung::relogin;
    event.tasks = static_cast<std::uint32_t>(i);
    log.add("array", event);
  }
  const auto all = log.since(0);
  REQUIRE(all.size() == net::RecoveryLog::kCapacity);
  for (std::size_t i = 0; i < all.size(); ++i) {
    CHECK(all[i].sequence == i + 6);
    CHECK(std::get<RecoveryEvent>(all[i].event).tasks == i + 5);
    CHECK(all[i].target == "array");
  }
  CHECK(log.since(kTotal).empty());
  CHECK(log.since(kTotal + 100).empty());
  CHECK(log.since(~std::uint64_t{0}).empty());
  const auto last = log.since(kTotal - 2);
  REQUIRE(last.size() == 2);
  CHECK(last[0].sequence == kTotal - 1);
}

TEST_CASE("recovery log: the line for people and scripts") {
  RecoveryEvent event{.duration = 12'345,
                      .tsih = 7,
                      .cid = 2,
                      .lun = proto::scsi::encode_lun(300).value(),
                      .rung = Rung::abort_task,
                      .scope = RungScope::task,
                      .outcome = RungOutcome::not_found,
                      .tasks = 1,
                      .cause = "a command is overdue"};
  CHECK(net::describe("array", event) ==
        "target=array session=7 cid=2 lun=300 rung=abort_task cause=\"a command is overdue\" scope=task "
        "tasks=1 outcome=not_found duration=12.3ms");
  event.proof = "ABORT TASK completed";
  CHECK(net::describe("array", event).ends_with(" duration=12.3ms proof=\"ABORT TASK completed\""));
  event.cause = "a \"lie\"\n";
  CHECK(net::describe("array", event).find(" cause=\"a \\\"lie\\\"\\x0a\" ") != std::string::npos);
  event.lun = RecoveryEvent::kNoLun;
  CHECK(net::describe("array", event).find(" lun=- ") != std::string::npos);
}

TEST_CASE("recovery log: a rescan by hand is found by its number, and a LUN that grew is no trouble") {
  net::RecoveryLog log;
  RecoveryEvent rung;
  rung.request_id = 4;
  log.add("array", rung);
  bridge::CacheEvent event;
  event.kind = bridge::CacheEvent::Kind::rescanned;
  event.lun = proto::scsi::encode_lun(3).value();
  event.cause = "it has 512 bytes, as before";
  event.request_id = 5;
  log.add("array", "vol0", event);
  const auto all = log.since(0);
  REQUIRE(all.size() == 2);
  CHECK(net::RecoveryLog::request_of(all[0]) == 4);
  CHECK(net::RecoveryLog::request_of(all[1]) == 5);
  CHECK(net::describe("array", "vol0", event) ==
        "export vol0 (target array, LUN 3): the rescan that was asked for has ended: it has 512 bytes, as before");
  event.good = false;
  CHECK(net::describe("array", "vol0", event).find("has failed: ") != std::string::npos);
  event.kind = bridge::CacheEvent::Kind::grown;
  CHECK(net::describe("array", "vol0", event).find("the LUN is larger: ") != std::string::npos);
}
