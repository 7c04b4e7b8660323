#include "gateway/shard/event_log.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "proto/scsi/lun.hpp"

using namespace nbdgw;
using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;
using initiator::RungScope;

namespace {

RecoveryEvent login(std::uint32_t tasks) {
  RecoveryEvent event;
  event.rung = Rung::relogin;
  event.tasks = tasks;
  return event;
}

bridge::RequestFailure failure() {
  bridge::RequestFailure event;
  event.lun = proto::scsi::encode_lun(3).value();
  event.request = proto::nbd::Command::read;
  event.offset = 8192;
  event.length = 4096;
  event.lba = 16;
  event.error = proto::nbd::Error::eio;
  event.text = "medium error";
  return event;
}

}  // namespace

TEST_CASE("event log: keeps the newest of a class, and tells those after a number") {
  shard::EventLog log;
  CHECK(log.since(0).empty());
  constexpr std::size_t kTotal = shard::EventLog::kPerClass + 5;
  for (std::size_t i = 0; i < kTotal; ++i) log.add("array", login(static_cast<std::uint32_t>(i)));
  const auto all = log.since(0);
  REQUIRE(all.size() == shard::EventLog::kPerClass);
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

TEST_CASE("event log: no class pushes another one out, the order is that of all, and what is gone can be counted") {
  shard::EventLog log;
  log.add("array", login(1));
  log.add("array", shard::RungBegun{login(2)});
  log.add("array", "vol0", bridge::CacheEvent{.kind = bridge::CacheEvent::Kind::grown, .cause = "x"});
  log.add("array", {}, shard::StateEvent{.kind = shard::StateEvent::Kind::session_up, .text = "up"});
  constexpr std::size_t kFailures = 2 * shard::EventLog::kPerClass;
  for (std::size_t i = 0; i < kFailures; ++i) log.add("array", "vol0", failure());
  log.add({}, {}, shard::StateEvent{.kind = shard::StateEvent::Kind::stopping, .text = "bye"});
  const auto all = log.since(0);
  REQUIRE(all.size() == shard::EventLog::kPerClass + 5);
  for (std::size_t i = 0; i < 4; ++i) CHECK(all[i].sequence == i + 1);
  CHECK(all[4].sequence == kFailures - shard::EventLog::kPerClass + 5);
  CHECK(std::ranges::is_sorted(all, {}, &shard::EventRecord::sequence));
  CHECK(all.back().sequence == log.last());
  CHECK(log.last() - all.size() == shard::EventLog::kPerClass);
  CHECK(log.since(4).size() == shard::EventLog::kPerClass + 1);
}

TEST_CASE("event log: an error that a client was told, in a line") {
  bridge::RequestFailure event = failure();
  CHECK(
      shard::describe("array", "vol0", event) ==
      "export vol0 (target array, LUN 3): a READ failed with NBD_EIO, of 4096 bytes at 8192 (LBA 16): medium error");
  event.command = {.opcode = 0x88,
                   .outcome = initiator::Outcome::completed,
                   .status = 8,
                   .sense = {},
                   .lba = 16,
                   .blocks = 8,
                   .tries = 33};
  CHECK(
      shard::describe("array", "vol0", event)
          .ends_with(" of 4096 bytes at 8192: READ(16) of 8 block(s) at LBA 16, sent 33 times: BUSY: medium error"));
  event.count = 7;
  event.over = 10 * proto::kSecond;
  CHECK(shard::describe("array", "vol0", event)
            .find("a READ failed 7 more time(s) with NBD_EIO in 10.0 s, the latest of ") != std::string::npos);
  event.mixed = true;
  CHECK(shard::describe("array", "vol0", event).find("7 more requests failed in 10.0 s, for several reasons") !=
        std::string::npos);
}

TEST_CASE("event log: a rung has a name for now and one for done; states say what they are about") {
  RecoveryEvent rung = login(0);
  rung.rung = Rung::lu_reset;
  rung.lun = proto::scsi::encode_lun(3).value();
  rung.cause = "abort_task was refused";
  CHECK(shard::describe("array", shard::RungBegun{rung}) ==
        "target array is resetting a LUN (LUN 3): abort_task was refused");
  CHECK(std::string(initiator::done_text(Rung::lu_reset)) == "reset a LUN");
  shard::StateEvent state{.kind = shard::StateEvent::Kind::session_lost, .text = "gone"};
  CHECK(shard::describe("array", "", state) == "target array: gone");
  CHECK(shard::describe("array", "vol0", state) == "export vol0: gone");
  CHECK(shard::describe("", "", state) == "gone");
}

TEST_CASE("event log: clients that are turned away are folded by reason and export, and none is lost") {
  shard::EventLog log;
  for (int i = 0; i < 5; ++i) log.client_refused(shard::Refusal::no_export, "a", "peer", 0);
  log.client_refused(shard::Refusal::no_export, "b\n", "peer", 0);
  log.client_refused(shard::Refusal::drained, "a", "peer", 0);
  CHECK(log.since(0).size() == 3);
  log.tell_refusals(shard::Refusals::kInterval - 1);
  CHECK(log.since(0).size() == 3);
  log.tell_refusals(shard::Refusals::kInterval);
  const auto told = log.since(3);
  REQUIRE(told.size() == 1);
  const auto& event = std::get<shard::StateEvent>(told[0].event);
  CHECK(event.count == 4);
  CHECK(event.duration == shard::Refusals::kInterval);
  CHECK(told[0].exported.empty());  // there is none of that name
  CHECK(event.text.find("export \"a\"") != std::string::npos);
  CHECK(log.since(0)[2].exported == "a");
  // As many names as one likes to make up.
  constexpr std::uint64_t kNames = 1000;
  for (std::uint64_t i = 0; i < kNames; ++i) {
    log.client_refused(shard::Refusal::no_export, "name" + std::to_string(i), "peer", shard::Refusals::kInterval);
  }
  log.tell_refusals(shard::Refusals::kInterval, true);
  std::uint64_t count = 0;
  const auto made_up = log.since(4);
  CHECK(made_up.size() <= 2 * shard::Refusals::kKinds);
  for (const shard::EventRecord& record : made_up) count += std::get<shard::StateEvent>(record.event).count;
  CHECK(count == kNames);
}

TEST_CASE("event log: the line for people and scripts") {
  RecoveryEvent event{.duration = 12'345,
                      .tsih = 7,
                      .cid = 2,
                      .lun = proto::scsi::encode_lun(300).value(),
                      .rung = Rung::abort_task,
                      .scope = RungScope::task,
                      .outcome = RungOutcome::not_found,
                      .tasks = 1,
                      .cause = "a command is overdue"};
  CHECK(shard::describe("array", event) ==
        "target=array session=7 cid=2 lun=300 rung=abort_task cause=\"a command is overdue\" scope=task "
        "tasks=1 outcome=not_found duration=12.3ms");
  event.proof = "ABORT TASK completed";
  CHECK(shard::describe("array", event).ends_with(" duration=12.3ms proof=\"ABORT TASK completed\""));
  event.cause = "a \"lie\"\n";
  CHECK(shard::describe("array", event).find(" cause=\"a \\\"lie\\\"\\x0a\" ") != std::string::npos);
  event.lun = RecoveryEvent::kNoLun;
  CHECK(shard::describe("array", event).find(" lun=- ") != std::string::npos);
}

TEST_CASE("event log: a rescan by hand is found by its number, and a LUN that grew is no trouble") {
  shard::EventLog log;
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
  CHECK(shard::EventLog::request_of(all[0]) == 4);
  CHECK(shard::EventLog::request_of(all[1]) == 5);
  CHECK(shard::describe("array", "vol0", event) ==
        "export vol0 (target array, LUN 3): the rescan that was asked for has ended: it has 512 bytes, as before");
  event.good = false;
  CHECK(shard::describe("array", "vol0", event).find("has failed: ") != std::string::npos);
  event.kind = bridge::CacheEvent::Kind::grown;
  CHECK(shard::describe("array", "vol0", event).find("the LUN is larger: ") != std::string::npos);
}
