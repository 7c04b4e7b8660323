// Each of these faults by itself: what an initiator sees of it.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/sim/target/test_bench.hpp"

namespace nbdgw::sim {

TEST_CASE_FIXTURE(Bench, "faults: a controller goes into standby, and comes back") {
  options.faults[Fault::failover] = 1;
  options.faults.longest_delay = options.faults.longest_outage = 200 * proto::kMillisecond;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  CHECK(initiator.run(kTestUnitReady).good());
  bool away = false;
  for (int i = 0; i < 1000 && !away; ++i) {
    initiator.wait(proto::kMillisecond);
    const Result result = initiator.run(kTestUnitReady);
    away = result.what().key == 2 && result.what().asc == 4;
  }
  CHECK(away);
  world.target.heal();
  CHECK(initiator.run(kTestUnitReady).what() == scsi::kAccessStateChanged);
  while (!initiator.run(kTestUnitReady).good()) initiator.wait(proto::kMillisecond);
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "faults: only the first controller is active") {
  options.habits.others_in_standby = true;
  BenchWorld world(options);
  REQUIRE(world.initiator.login(1) == 0);
  CHECK(world.initiator.run(kTestUnitReady).what() == scsi::Sense{2, 4, 0x0b});
}

TEST_CASE_FIXTURE(Bench, "faults: a unit hangs, functions are answered, and it goes on when it heals") {
  options.faults[Fault::unit_hangs] = 1;
  options.faults.longest_outage = 1000 * proto::kSecond;
  BenchWorld world(options, 3);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.wait(options.faults.tick);
  const std::uint32_t first = initiator.begin(0, 0, kTestUnitReady, false, 0);
  initiator.wait(10 * proto::kMillisecond);
  CHECK_FALSE(initiator.results[first].over);
  CHECK(initiator.function(pdu::kAbortTask, first) == pdu::kComplete);
  world.target.heal();
  CHECK_FALSE(initiator.results[first].over);
  CHECK(initiator.run(kTestUnitReady).good());
  CHECK(ears.complaints.empty());
}

TEST_CASE_FIXTURE(Bench, "faults: logins that come to nothing") {
  SUBCASE("refused") {
    options.faults[Fault::login_refused] = 1;
    BenchWorld world(options);
    CHECK(world.initiator.login() >= 0x0200);
    CHECK(world.initiator.links[0]->fin);
  }
  SUBCASE("redirected") {
    options.faults[Fault::login_redirected] = 1;
    BenchWorld world(options);
    CHECK(world.initiator.login() == 0x0101);
    CHECK(world.initiator.text.find("TargetAddress=10.1.0.") != std::string::npos);
  }
  SUBCASE("without an answer") {
    options.faults[Fault::login_hangs] = 1;
    BenchWorld world(options);
    CHECK(world.initiator.login() == 0xffff);
    CHECK_FALSE(world.initiator.links[0]->over);
    world.target.heal();
    CHECK(world.initiator.links[0]->over);
  }
  SUBCASE("longer than it needs to be") {
    options.faults[Fault::login_long] = 1;
    BenchWorld world(options);
    CHECK(world.initiator.login() == 0);
    CHECK(world.initiator.login() == 0);
    CHECK(world.initiator.text.find("MaxOutstandingR2T=") != std::string::npos);
    CHECK(ears.complaints.empty());
  }
}

TEST_CASE_FIXTURE(Bench, "faults: MaxCmdSN does not move for a while") {
  options.faults[Fault::window_frozen] = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.wait(options.faults.tick);
  const std::uint32_t most = initiator.max_cmd_sn;
  CHECK(initiator.run(kTestUnitReady).good());
  CHECK(initiator.max_cmd_sn == most);
  world.target.heal();
  initiator.pump();
  CHECK(initiator.max_cmd_sn == most + 1);
}

TEST_CASE_FIXTURE(Bench, "faults: a controller stands still") {
  options.faults[Fault::controller_frozen] = 1;
  options.faults.longest_outage = 1000 * proto::kSecond;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.wait(options.faults.tick);
  CHECK(world.target.controller(0).answer() == Controller::Answer::silence);
  const std::uint32_t itt = initiator.begin(0, 0, kTestUnitReady, false, 0);
  initiator.wait(10 * proto::kMillisecond);
  CHECK(world.target.commands().records().empty());
  world.target.heal();
  initiator.pump();  // what the target has not read
  initiator.wait(10 * proto::kMillisecond);
  CHECK(initiator.results[itt].good());
}

TEST_CASE_FIXTURE(Bench, "faults: answers that are short, or good all the same") {
  const Buffer data = pattern(4096, 1);
  const auto read_with = [&](Fault fault) {
    options.faults[fault] = 1;
    BenchWorld world(options);
    REQUIRE(world.initiator.login() == 0);
    CHECK(world.initiator.run(block_cdb(scsi::kWrite10, 0, 8), false, 0, data).over);
    return world.initiator.run(block_cdb(scsi::kRead10, 0, 8), true, 4096);
  };
  SUBCASE("and told") {
    const Result result = read_with(Fault::short_read);
    CHECK((result.good() && result.data.size() < 4096));
    CHECK((result.flags == 2 && result.residual == 4096 - result.data.size()));
  }
  SUBCASE("and not told") {
    const Result result = read_with(Fault::short_read_untold);
    CHECK((result.good() && result.data.size() < 4096));
    CHECK((result.flags == 0 && result.residual == 0));
  }
  SUBCASE("recovered") {
    const Result result = read_with(Fault::recovered_error);
    CHECK((result.status == scsi::kCheckCondition && result.what().key == 1));
    CHECK(result.data == data);
  }
}

TEST_CASE_FIXTURE(Bench, "faults: a write of which only a part is taken") {
  options.faults[Fault::short_write] = 1;
  BenchWorld world(options);
  REQUIRE(world.initiator.login() == 0);
  const Buffer data = pattern(8192, 1);
  const Result result = world.initiator.run(block_cdb(scsi::kWrite10, 0, 16), false, 0, data);
  REQUIRE(result.good());
  const std::size_t written = 8192 - result.residual;
  CHECK((result.flags == 2 && written % 512 == 0 && written < 8192));
  CHECK(
      std::equal(data.begin(), data.begin() + static_cast<std::ptrdiff_t>(written), world.target.medium(0).block(0)));
  CHECK(world.target.medium(0).block(written / 512)[1] == 0);
}

TEST_CASE_FIXTURE(Bench, "faults: a Reject, and what becomes of the CmdSN") {
  const auto next_is_answered = [&](Fault fault) {
    options.faults[fault] = 1;
    BenchWorld world(options);
    REQUIRE(world.initiator.login() == 0);
    CHECK(world.initiator.run(kTestUnitReady).rejected);
    world.target.allow(to_string(fault), false);
    const std::uint32_t itt = world.initiator.begin(0, 0, kTestUnitReady, false, 0);
    world.initiator.wait(10 * proto::kMillisecond);
    world.target.check_rest();
    return world.initiator.results[itt].over;
  };
  SUBCASE("counted") {
    CHECK(next_is_answered(Fault::reject_counted));
    CHECK(ears.complaints.empty());
  }
  SUBCASE("a hole") {
    CHECK_FALSE(next_is_answered(Fault::reject_hole));
    CHECK(ears.heard("never came, and others wait behind it"));
  }
}

TEST_CASE_FIXTURE(Bench, "faults: a reset closes the other connections of the session") {
  options.faults[Fault::reset_closes_others] = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  for (int i = 0; i < 3; ++i) REQUIRE(initiator.login() == 0);
  CHECK(initiator.function(pdu::kLunReset, pdu::kNoTag, 1) == pdu::kComplete);
  CHECK(initiator.links[0]->over);
  CHECK_FALSE(initiator.links[1]->over);
  CHECK(initiator.links[2]->over);
  CHECK(world.target.sessions() == 1);
}

TEST_CASE_FIXTURE(Bench, "faults: the target asks for a logout, and goes if there is none") {
  options.faults[Fault::logout_requested] = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.wait(options.faults.tick);
  REQUIRE(initiator.others.size() == 1);
  CHECK(initiator.others[0].opcode() == pdu::kAsync);
  CHECK(initiator.others[0].bhs[36] == pdu::kLogoutRequested);
  CHECK_FALSE(initiator.links[0]->over);
  world.target.heal();
  initiator.wait(10 * proto::kSecond);
  CHECK(initiator.links[0]->over);
  CHECK(world.target.sessions() == 0);
}

TEST_CASE_FIXTURE(Bench, "faults: the identity cannot be read for a while") {
  options.faults[Fault::identity_unreadable] = 1;
  BenchWorld world(options);
  RawInitiator& initiator = world.initiator;
  REQUIRE(initiator.login() == 0);
  initiator.wait(options.faults.tick);
  CHECK(initiator.run(inquiry(0x83), true, 255).what() == scsi::kInvalidField);
  world.target.heal();
  CHECK(initiator.run(inquiry(0x83), true, 255).good());
}

TEST_CASE_FIXTURE(Bench, "faults: the same seed brings the same") {
  Random random(7);
  options.faults = TargetFaults::draw(random);
  std::string first;
  for (int run = 0; run < 2; ++run) {
    BenchWorld world(options, 11);
    std::string told;
    for (int i = 0; i < 200; ++i) {
      if (world.initiator.links.empty() || world.initiator.links[0]->over) {
        world.initiator.links.clear();
        world.initiator.tsih = 0;
        told += std::to_string(world.initiator.login()) + " ";
        if (world.initiator.tsih == 0) world.initiator.links.clear();
        if (world.initiator.links.empty()) continue;
      }
      told += std::to_string(world.initiator.run(block_cdb(scsi::kRead10, 0, 8), true, 4096).status) + "@" +
              std::to_string(world.timeline.now()) + " ";
    }
    if (run == 0) first = told;
    CHECK(told == first);
  }
}

}  // namespace nbdgw::sim
