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
  CHECK(log.last() == 0);
  CHECK(log.since(0).empty());
  const std::size_t total = net::RecoveryLog::kEntries + 5;
  for (std::size_t i = 0; i < total; ++i) {
    RecoveryEvent event;
    event.rung = Rung::relogin;
    event.tasks = static_cast<std::uint32_t>(i);
    log.add("array", event);
  }
  CHECK(log.last() == total);
  const auto all = log.since(0);
  REQUIRE(all.size() == net::RecoveryLog::kEntries);
  CHECK(all.front().number == 6);
  CHECK(all.front().event.tasks == 5);
  CHECK(all.back().number == total);
  CHECK(all.back().target == "array");
  CHECK(log.since(total).empty());
  CHECK(log.since(total + 100).empty());
  const auto two = log.since(10, 2);
  REQUIRE(two.size() == 2);
  CHECK(two[0].number == 11);
  CHECK(two[1].number == 12);
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
  CHECK(net::to_text("array", event) ==
        "recovery: target=array session=7 cid=2 lun=300 rung=abort_task cause=\"a command is overdue\" scope=task "
        "tasks=1 outcome=not_found duration=12.3ms");
  event.lun = RecoveryEvent::kNoLun;
  CHECK(net::to_text("array", event).find(" lun=- ") != std::string::npos);
}
