// The same of what is told of losses, and of what costs sessions.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "gateway/bridge/limits.hpp"
#include "gateway/device/disposition.hpp"
#include "tests/sim/checkers/debt_checker.hpp"
#include "tests/sim/checkers/disk_checker.hpp"
#include "tests/sim/checkers/ghost_checker.hpp"
#include "tests/sim/checkers/loss_checker.hpp"
#include "tests/sim/target/test_bench.hpp"

namespace nbdgw::sim {
namespace {

struct Heard final : Complaints {
  void complain(const char*, const std::string& what) override { all.push_back(what); }
  std::vector<std::string> all;
};

/// Connection 1 is owed a failing FLUSH.
struct LegacyBench {
  LegacyBench() {
    debts.on_attached(0, 1);
    at(10);
    debts.on_loss(0, start + 5);
    debts.on_loss_known(0, start + 10, start + 10);
  }
  void at(Micros when) { timeline.advance(start + when); }
  void flush(std::uint64_t link, Micros sent_at, std::uint32_t error) {
    const AskedRequest request{.command = NbdCommand::flush, .link = link, .sent_at = start + sent_at};
    debts.on_request(request);
    debts.on_reply(request, error);
  }
  void is_shown(bool shown) {
    debts.look([shown](std::uint64_t) { return shown; });
  }

  Heard heard;
  Timeline timeline;
  const Micros start = timeline.now();
  DebtChecker debts{heard, timeline};
};

TEST_CASE("debts: who was sent away before the loss, and has not heard of it yet, is owed nothing") {
  for (const bool shown : {false, true}) {
    Heard heard;
    Timeline timeline;
    DebtChecker debts{heard, timeline};
    debts.watch([shown] { return [shown](std::uint64_t) { return shown; }; });
    debts.on_attached(0, 1);
    timeline.advance(timeline.now() + 10);
    debts.on_loss(0, timeline.now() - 5);
    debts.on_loss_known(0, timeline.now(), timeline.now());
    debts.on_lost(1);
    CHECK(debts.any_leaves() == shown);
  }
}

TEST_CASE_FIXTURE(LegacyBench, "debts: what a connection has left is told to one that comes later") {
  at(20);
  debts.on_lost(1);
  CHECK(debts.any_leaves());
  at(30);
  is_shown(true);
  debts.on_attached(0, 2);
  flush(2, 31, 0);  // the gateway may not know yet that it has gone
  CHECK(heard.all.empty());
  at(40);
  is_shown(false);
  CHECK(!debts.any_leaves());
  flush(2, 39, 0);
  CHECK(heard.all.empty());
  SUBCASE("once") {
    flush(2, 50, 5);
    flush(2, 60, 0);
    CHECK(heard.all.empty());
  }
  SUBCASE("or it complains") {
    flush(2, 50, 0);
    CHECK(heard.all.size() == 1);
  }
  SUBCASE("unless another FLUSH may be told it, or has been") {
    debts.on_attached(0, 3);
    debts.on_request({.command = NbdCommand::flush, .link = 3, .sent_at = start + 45});
    flush(2, 50, 0);
    CHECK(heard.all.empty());
  }
  SUBCASE("unless it is owed something itself") {
    debts.on_doubt(0);
    flush(2, 50, 0);
    CHECK(heard.all.empty());
  }
  SUBCASE("unless the export was made anew") {
    debts.on_legacy(0);
    flush(2, 50, 0);
    CHECK(heard.all.empty());
  }
}

TEST_CASE_FIXTURE(LegacyBench, "debts: who goes while its FLUSH is under way may have been told") {
  debts.on_request({.command = NbdCommand::flush, .link = 1, .sent_at = start + 15});
  at(20);
  debts.on_lost(1);
  CHECK(!debts.any_leaves());
  is_shown(false);
  debts.on_attached(0, 2);
  flush(2, 30, 0);
  CHECK(heard.all.empty());
}

TEST_CASE_FIXTURE(LegacyBench,
                  "debts: what tells of a loss of power tells of all before it that nobody was told of") {
  debts.on_attached(0, 2);
  at(20);
  debts.on_loss(0, start + 15);
  at(30);
  debts.on_loss(0, start + 25);
  at(40);
  flush(2, 35, 0);
  CHECK(heard.all.empty());
  SUBCASE("all of it") {
    debts.on_loss_known(0, start + 20, start + 30);
    CHECK(heard.all.size() == 2);
  }
  SUBCASE("the last one") {
    debts.on_loss_known(0, start + 30, start + 30);
    CHECK(heard.all.size() == 1);
  }
}

/// READs of a block that each cost their session.
struct DeadlyBench {
  void losses(int count, Micros pause) {
    for (int i = 0; i < count; ++i) {
      timeline.advance(timeline.now() + pause);
      losses_checker.on_deadly();
    }
  }

  static constexpr std::uint32_t kRetries = 5;
  static constexpr Micros kLong = device::kLossPatience;
  Heard heard;
  Timeline timeline;
  LossChecker losses_checker{heard, timeline, kRetries};
};

TEST_CASE_FIXTURE(DeadlyBench, "losses: what costs its session each time ends after its retries and a while") {
  losses_checker.on_request(1, 100);
  SUBCASE("it may be sent as often as it has retries, however long that takes") {
    losses(kRetries + 1, kLong);
    CHECK(heard.all.empty());
    losses(1, kLong);
    CHECK(heard.all.size() == 1);
  }
  SUBCASE("and as often as it likes for a while") {
    losses(100, kLong / 100);
    CHECK(heard.all.empty());
    losses(10, kLong / 10);
    CHECK(!heard.all.empty());
  }
  SUBCASE("the next one begins anew") {
    losses(kRetries + 1, kLong);
    losses_checker.on_reply(1, 100);
    losses_checker.on_request(1, 101);
    losses(kRetries + 1, kLong);
    CHECK(heard.all.empty());
  }
  SUBCASE("an answer to something else changes nothing") {
    losses(kRetries + 1, kLong);
    losses_checker.on_reply(1, 7);
    losses_checker.on_reply(2, 100);
    losses(1, kLong);
    CHECK(heard.all.size() == 1);
  }
  SUBCASE("of two that ask nobody knows whose it was") {
    losses_checker.on_request(2, 100);
    losses(20, kLong);
    CHECK(heard.all.empty());
  }
  SUBCASE("nor of one that asks again, over another connection") {
    losses_checker.on_lost();
    losses(20, kLong);
    CHECK(heard.all.empty());
  }
}

/// What a target is sent, as if another disk were there.
struct StrayBench {
  struct Strays final : TargetObserver {
    void on_write(const WriteEvent& event) override {
      Origin origin = event.origin;
      origin.warned = false;
      checker->on_write(*table, {.medium = *medium,
                                 .lba = event.lba,
                                 .blocks = event.blocks,
                                 .kind = event.kind,
                                 .durable = event.durable,
                                 .at = event.at,
                                 .origin = origin});
    }
    DiskChecker* checker = nullptr;
    const CommandTable* table = nullptr;
    const Medium* medium = nullptr;
  };

  StrayBench() {
    disk.home = &world.target.medium(0);
    strays.checker = &checker;
    strays.table = &world.target.commands();
    strays.medium = disk.home;
    checker.set_lag(0);
  }
  static TargetOptions options_for(Ears& ears, Strays& strays) {
    TargetOptions options = plain_options(ears);
    options.observer = &strays;
    return options;
  }
  void write() { REQUIRE(world.initiator.run(block_cdb(scsi::kWrite10, 0, 1), false, 512, pattern(512, 1)).good()); }

  Heard heard;
  Ears ears;
  Strays strays;
  BenchWorld world{options_for(ears, strays)};
  Medium other{MediumOptions{}};
  Disk disk;
  std::vector<const Disk*> disks{&disk};
  DiskChecker checker{heard, disks};
};

TEST_CASE_FIXTURE(StrayBench, "disk: after a silence nothing is sent before the LUN was asked which disk it is") {
  REQUIRE(world.initiator.login() == 0);
  write();
  strays.medium = &other;
  SUBCASE("at once another disk may be met") {
    write();
    CHECK(checker.strays() == 1);
    CHECK(heard.all.empty());
  }
  SUBCASE("after a silence it may not") {
    world.initiator.wait(2 * bridge::kTrustedSilence);
    write();
    CHECK(checker.strays() == 1);
    CHECK(heard.all.size() == 1);
  }
  SUBCASE("unless something is answered meanwhile") {
    world.initiator.wait(2 * bridge::kTrustedSilence);
    REQUIRE(world.initiator.run(inquiry(0x83), true, 255).good());
    write();
    CHECK(checker.strays() == 1);
    CHECK(heard.all.empty());
  }
  SUBCASE("or what is on its way takes as long") {
    checker.set_lag(proto::kSecond);
    world.initiator.wait(2 * bridge::kTrustedSilence);
    write();
    CHECK(checker.strays() == 1);
    CHECK(heard.all.empty());
  }
}

TEST_CASE("ghosts: of two sessions of two names the order is that in which commands come") {
  Heard heard;
  Medium medium{MediumOptions{}};
  CommandTable table;
  GhostChecker ghosts(heard);
  const auto send = [&](std::uint32_t session, std::uint64_t isid) {
    const Buffer cdb = block_cdb(scsi::kWrite10, 10, 2);
    TargetCommand& command = table.add({.session = session, .isid = isid, .cmd_sn = 1}, cdb.data(), 0);
    command.medium = &medium;
    ghosts.on_writer(table, command);
    table.remove(command, 0);
  };
  send(2, 7);
  send(1, 8);
  CHECK(heard.all.empty());
}

TEST_CASE("ghosts: of two sessions of one name the second is the later one") {
  Heard heard;
  Medium medium{MediumOptions{}};
  CommandTable table;
  GhostChecker ghosts(heard);
  for (const std::uint32_t session : {2, 1}) {
    CHECK(heard.all.empty());
    const Buffer cdb = block_cdb(scsi::kWrite10, 10, 2);
    TargetCommand& command = table.add({.session = session, .isid = 7, .cmd_sn = 1}, cdb.data(), 0);
    command.medium = &medium;
    ghosts.on_writer(table, command);
    table.remove(command, 0);
  }
  CHECK(heard.all.size() == 1);
}

}  // namespace
}  // namespace nbdgw::sim
