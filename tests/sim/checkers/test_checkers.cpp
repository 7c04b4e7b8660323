// That checkers complain of what is wrong, and of nothing else. What is right in a whole world only nbdgw-sim can
// tell.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/sim/checkers/debt_checker.hpp"
#include "tests/sim/checkers/disk_checker.hpp"
#include "tests/sim/checkers/ghost_checker.hpp"
#include "tests/sim/checkers/login_checker.hpp"
#include "tests/sim/target/test_bench.hpp"

namespace nbdgw::sim {
namespace {

struct Heard final : Complaints {
  void complain(const char*, const std::string& what) override { all.push_back(what); }
  std::vector<std::string> all;
};

struct GhostBench {
  TargetCommand& send(std::uint32_t session, std::uint32_t cmd_sn, std::uint32_t lba, std::uint32_t blocks) {
    const Buffer cdb = block_cdb(scsi::kWrite10, lba, blocks);
    TargetCommand& command = table.add({.session = session, .cmd_sn = cmd_sn}, cdb.data(), 0);
    command.medium = &medium;
    ghosts.on_writer(table, command);
    return command;
  }
  void write(const TargetCommand& command) {
    ghosts.on_write({.medium = medium,
                     .lba = command.block.lba,
                     .blocks = command.block.blocks,
                     .kind = WriteEvent::Kind::data,
                     .durable = true,
                     .at = 0,
                     .origin = command.origin});
  }

  Heard heard;
  Medium medium{MediumOptions{}};
  CommandTable table;
  GhostChecker ghosts{heard};
};

TEST_CASE_FIXTURE(GhostBench, "ghosts: a command may come where an earlier one is over") {
  TargetCommand& first = send(1, 100, 10, 4);
  write(first);
  table.remove(first, 0);
  write(send(1, 101, 12, 4));
  write(send(2, 5, 10, 1));
  write(send(2, 0xffffffff, 40, 1));
  CHECK(heard.all.empty());
}

TEST_CASE_FIXTURE(GhostBench, "ghosts: two that write the same block are never at the target together") {
  send(1, 100, 10, 4);
  send(1, 101, 14, 4);
  CHECK(heard.all.empty());
  send(2, 1, 13, 1);
  CHECK(heard.all.size() == 1);
}

TEST_CASE_FIXTURE(GhostBench, "ghosts: what a function has let go of may not take effect behind the next one") {
  TargetCommand& first = send(1, 100, 10, 4);
  first.detached = true;
  first.state = TargetCommand::State::collecting;
  TargetCommand& second = send(1, 101, 10, 4);
  write(second);
  CHECK(heard.all.empty());
  write(first);
  CHECK(heard.all.size() == 1);
}

TEST_CASE_FIXTURE(GhostBench, "ghosts: what a function has let go of counts as soon as it has its data") {
  TargetCommand& first = send(1, 100, 10, 4);
  first.detached = true;
  first.state = TargetCommand::State::running;
  send(1, 101, 10, 4);
  CHECK(heard.all.size() == 1);
}

TEST_CASE_FIXTURE(GhostBench, "ghosts: an earlier command does not come behind a later one") {
  table.remove(send(2, 1, 10, 4), 0);
  send(1, 200, 13, 2);
  CHECK(heard.all.size() == 1);
}

struct DebtBench {
  void answer(std::uint64_t link, Micros sent_at, std::uint32_t error) {
    debts.on_reply({.command = NbdCommand::flush, .link = link, .sent_at = sent_at}, error);
  }
  void at(Micros when) { timeline.advance(start + when); }

  Heard heard;
  Timeline timeline;
  const Micros start = timeline.now();
  DebtChecker debts{heard, timeline};
};

TEST_CASE_FIXTURE(DebtBench, "debts: each that was attached hears of a loss before a FLUSH succeeds") {
  debts.on_attached(0, 1);
  debts.on_attached(0, 2);
  debts.on_attached(7, 3);
  at(10);
  debts.on_loss(0, start + 5);
  debts.on_attached(0, 4);
  at(20);
  debts.on_loss_known(0, start + 10, start + 10);
  at(30);
  answer(1, start + 9, 0);  // it was sent before the loss
  answer(1, start + 25, 5);
  answer(1, start + 26, 0);
  answer(3, start + 25, 0);
  answer(4, start + 25, 0);
  CHECK(heard.all.empty());
  CHECK(debts.paid() == 1);
  answer(2, start + 25, 0);
  CHECK(heard.all.size() == 1);
}

TEST_CASE_FIXTURE(DebtBench, "debts: a FLUSH does not overtake the answer that tells of the loss") {
  debts.on_attached(0, 1);
  debts.on_attached(0, 2);
  at(10);
  debts.on_loss(0, start + 5);
  at(20);
  answer(1, start + 15, 0);
  answer(2, start + 15, 0);
  answer(2, start + 16, 5);
  CHECK(heard.all.empty());  // nobody may ever be told
  debts.on_loss_known(0, start + 10, start + 10);
  CHECK(heard.all.size() == 1);
}

TEST_CASE_FIXTURE(DebtBench, "debts: what a FLUSH that has failed spoke for is not owed again") {
  debts.on_attached(0, 1);
  at(10);
  answer(1, start + 9, 5);
  at(20);
  debts.on_loss(0, start + 5);
  debts.on_loss_known(0, start + 20, start + 20);
  at(40);
  answer(1, start + 30, 0);
  CHECK(heard.all.empty());
  debts.on_loss(0, start + 15);
  debts.on_loss_known(0, start + 40, start + 40);
  at(60);
  answer(1, start + 50, 0);
  CHECK(heard.all.size() == 1);
}

TEST_CASE("logins: the pauses of a session are kept, and a storm is none") {
  Heard heard;
  Timeline timeline;
  LoginChecker logins(heard, timeline, 1, 15 * proto::kSecond, 1);
  // Each third login lives for half a second.
  for (int round = 0; round < 100; ++round) {
    for (const Micros pause : {500, 75, 150}) {
      timeline.advance(timeline.now() + pause * proto::kMillisecond);
      logins.on_login(true);
    }
  }
  CHECK(heard.all.empty());
  for (int i = 0; i < 100; ++i) {
    timeline.advance(timeline.now() + 50 * proto::kMillisecond);
    logins.on_redirect();
    logins.on_login(true);
  }
  CHECK(heard.all.empty());
  for (int i = 0; i < 100; ++i) logins.on_login(true);
  CHECK(!heard.all.empty());
}

TEST_CASE("logins: redirects in a circle are not followed without a pause") {
  Heard heard;
  Timeline timeline;
  LoginChecker logins(heard, timeline, 1, 15 * proto::kSecond, 1);
  timeline.advance(timeline.now() + 60 * proto::kSecond);
  for (int i = 0; i < 100; ++i) logins.on_redirect();
  CHECK(!heard.all.empty());
}

TEST_CASE("logins: a portal that does not answer to TCP gets company after a second") {
  for (const Micros pause : {proto::kSecond, 3 * proto::kSecond}) {
    Heard heard;
    Timeline timeline;
    LoginChecker logins(heard, timeline, 1, 15 * proto::kSecond, 2);
    logins.on_connect(0, true, false);
    timeline.advance(timeline.now() + pause);
    logins.on_connect(1, false, false);
    CHECK(heard.all.empty() == (pause == proto::kSecond));
  }
}

TEST_CASE("logins: redirects are not followed for ever") {
  Heard heard;
  Timeline timeline;
  LoginChecker logins(heard, timeline, 1, 15 * proto::kSecond, 1);
  for (int i = 0; i < 2000 && heard.all.empty(); ++i) {
    timeline.advance(timeline.now() + proto::kMillisecond);
    logins.on_login(true);
    logins.on_redirect();
  }
  CHECK(!heard.all.empty());
}

struct DiskBench {
  DiskBench() {
    disk.home = &home;
    disk.oracle = std::make_unique<Oracle>(timeline, 0, home.blocks());
  }
  const Origin& origin(bool warned) {
    const Buffer cdb = block_cdb(scsi::kWrite10, 10, 2);
    TargetCommand& command = table.add({.session = 1, .home = &home, .warned = warned}, cdb.data(), 0);
    return command.origin;
  }
  const Origin& write(const Medium& medium, bool warned) {
    const Origin& from = origin(warned);
    disk_checker.on_write(table, {.medium = medium,
                                  .lba = 10,
                                  .blocks = 2,
                                  .kind = WriteEvent::Kind::data,
                                  .durable = true,
                                  .at = 0,
                                  .origin = from});
    return from;
  }

  Heard heard;
  Timeline timeline;
  Medium home{MediumOptions{}}, other{MediumOptions{}};
  Disk disk;
  CommandTable table;
  std::vector<const Disk*> disks{&disk};
  DiskChecker disk_checker{heard, disks};
};

TEST_CASE_FIXTURE(DiskBench, "disk: whoever was told writes nothing to another disk") {
  write(home, true);
  write(home, false);
  std::vector<std::uint8_t> rubbish(Oracle::kCell, 0xa5);
  // Answered when the sign was known already: nobody believes that.
  disk_checker.on_unwarned_answer(table, write(other, false), true);
  CHECK(!disk.oracle->look(11, rubbish).empty());
  disk_checker.on_unwarned_answer(table, write(other, false), false);
  CHECK(heard.all.empty());
  CHECK(disk_checker.strays() == 2);
  CHECK(disk.oracle->look(11, rubbish).empty());  // it is forgotten
  CHECK(!disk.oracle->look(12, rubbish).empty());
  write(other, true);
  CHECK(heard.all.size() == 1);
}

/// A disk of which the first cell was written twice, and acknowledged.
struct LossBench {
  LossBench() {
    write(first = oracle.begin_write(0, 1, {}));
    write(oracle.begin_write(0, 1, {}));
    oracle.fill(first, 0, old);
  }
  void write(Oracle::WriteId id) {
    timeline.advance(timeline.now() + 10);
    oracle.end_write(id, true);
    timeline.advance(timeline.now() + 10);
  }

  Timeline timeline;
  Oracle oracle{timeline, 3, 8};
  Oracle::WriteId first = 0;
  std::vector<std::uint8_t> old = std::vector<std::uint8_t>(Oracle::kCell);
};

TEST_CASE_FIXTURE(LossBench, "oracle: a power loss takes what was not flushed") {
  const Oracle::Loss loss = oracle.look_at_loss(0, old.data());
  CHECK(loss.wrong.empty());
  CHECK(loss.begun == timeline.now() - 20);
  oracle.lose_power();
  CHECK(oracle.look(0, old).empty());
}

TEST_CASE_FIXTURE(LossBench, "oracle: a power loss does not take what was flushed") {
  oracle.flushed(timeline.now());
  CHECK(!oracle.look_at_loss(0, old.data()).wrong.empty());
}

TEST_CASE_FIXTURE(LossBench, "oracle: a flush that went to another disk is none") {
  const Micros sent_at = timeline.now();
  oracle.flush_went_astray();
  oracle.flushed(sent_at);
  CHECK(oracle.look_at_loss(0, old.data()).wrong.empty());
}

}  // namespace
}  // namespace nbdgw::sim
