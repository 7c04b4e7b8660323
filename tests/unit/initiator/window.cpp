// The command window, CmdSN, and which connection a command takes.
#include <doctest/doctest.h>

#include "proto/bytes/endian.hpp"
#include "tests/unit/initiator/model_target.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;

namespace {

ScsiCommandPdu command_on(Peer& peer, std::uint16_t cid) {
  return peer.take(cid, Opcode::scsi_command).as<ScsiCommandPdu>();
}

Pdu window_news(std::uint32_t stat_sn, std::uint32_t exp_cmd_sn, std::uint32_t max_cmd_sn) {
  return make_pdu(NopIn{.sequence = {stat_sn, exp_cmd_sn, max_cmd_sn}});
}

}  // namespace

TEST_CASE("window: closed, and opened again through another connection") {
  Peer peer(default_settings(2));
  peer.window = 2;
  peer.start();
  for (int i = 0; i < 5; ++i) peer.jobs.read(100);
  peer.pump();
  CHECK(peer.wire(0).inbox.size() + peer.wire(1).inbox.size() == 2);
  CHECK(peer.session.counters().window_closed > 0);
  // The commands have arrived; the window itself stays shut: MaxCmdSN = ExpCmdSN - 1.
  peer.deliver(0, window_news(peer.wire(0).stat_sn, 3, 2));
  CHECK(peer.wire(0).inbox.size() + peer.wire(1).inbox.size() == 2);
  peer.deliver(1, window_news(peer.wire(1).stat_sn, 3, 3));
  CHECK(peer.wire(0).inbox.size() + peer.wire(1).inbox.size() == 3);
  peer.deliver(0, window_news(peer.wire(0).stat_sn, 4, 100));
  CHECK(peer.wire(0).inbox.size() + peer.wire(1).inbox.size() == 5);
}

TEST_CASE("window: regressions and contradictions are ignored") {
  Peer peer;
  peer.window = 4;
  peer.start();
  peer.deliver(0, window_news(peer.wire(0).stat_sn, 1, 2));     // older than what the login said
  peer.deliver(0, window_news(peer.wire(0).stat_sn, 100, 50));  // MaxCmdSN below ExpCmdSN - 1
  peer.deliver(0, window_news(peer.wire(0).stat_sn, 0xfffffff0, 0xfffffff0));
  for (int i = 0; i < 9; ++i) peer.jobs.simple();
  peer.pump();
  CHECK(peer.wire(0).inbox.size() == 4);
}

TEST_CASE("window: the numbers wrap around") {
  Peer peer;
  peer.window = 3;
  peer.session.setup(peer.now);
  // A target that begins elsewhere than asked decides where the numbers go on.
  peer.answer_login(0, peer.take(0, Opcode::login_request));
  const Pdu request = peer.take(0, Opcode::login_request);
  peer.exp_cmd_sn = 0xfffffffe;
  const auto header = request.as<LoginRequest>();
  Keys keys(peer.keys.answers.begin(), peer.keys.answers.end());
  peer.deliver(0, make_pdu(LoginResponse{.transit = true,
                                         .current_stage = LoginStage::operational,
                                         .next_stage = LoginStage::full_feature,
                                         .tsih = 9,
                                         .itt = header.itt,
                                         .sequence = peer.status_sequence(0)},
                           to_text(keys)));
  REQUIRE(peer.session.state() == SessionState::logged_in);
  std::uint32_t expected = 0xfffffffe;
  for (int i = 0; i < 8; ++i) {
    peer.jobs.simple();
    const auto command = command_on(peer, 0);
    CHECK(command.cmd_sn == expected++);
    peer.exp_cmd_sn = expected;
    peer.respond(0, command.itt);
  }
  peer.check_nothing_leaked();
}

TEST_CASE("window: a command goes to the connection with the least outstanding") {
  Peer peer(default_settings(3));
  peer.start();
  peer.jobs.read(100'000);
  peer.pump();
  CHECK(command_on(peer, 0).expected_length == 100'000);
  peer.jobs.read(50'000);
  CHECK(command_on(peer, 1).expected_length == 50'000);
  for (int i = 0; i < 10; ++i) peer.jobs.read(1000);
  peer.pump();
  CHECK(peer.idle(0));
  CHECK(peer.idle(1));
  CHECK(peer.wire(2).inbox.size() == 10);
}

TEST_CASE("window: small commands of a turn share a connection, larger ones are spread") {
  Peer peer(default_settings(4));
  peer.start();
  for (int i = 0; i < 8; ++i) peer.jobs.read(4096);
  peer.pump();
  CHECK(peer.wire(0).inbox.size() == 8);
  for (int i = 0; i < 8; ++i) peer.jobs.read(4096);
  peer.pump();
  CHECK(peer.wire(1).inbox.size() == 8);
  for (int i = 0; i < 8; ++i) peer.jobs.read(128 * 1024);
  peer.pump();
  for (const std::uint16_t cid : {std::uint16_t{2}, std::uint16_t{3}}) {
    CHECK(peer.wire(cid).inbox.size() == 2);
    CHECK(peer.wire(cid).inbox[0].as<ScsiCommandPdu>().expected_length == 128 * 1024);
  }
  CHECK(peer.wire(0).inbox.size() == 10);
  CHECK(peer.wire(1).inbox.size() == 10);
}

TEST_CASE("window: a connection that takes nothing does not hold the others up") {
  Peer peer(default_settings(2));
  peer.window = 4000;
  peer.start();
  peer.wire(0).takes = false;
  std::uint64_t done_on_1 = 0;
  // What was committed to the connection that is stuck stays there, but only so much of it.
  for (int round = 0; round < 50; ++round) {
    for (int i = 0; i < 8; ++i) peer.jobs.simple();
    peer.pump();
    while (!peer.idle(1)) {
      const auto command = command_on(peer, 1);
      ++done_on_1;
      peer.respond(1, command.itt);
    }
  }
  CHECK(done_on_1 > 300);
  CHECK(peer.session.tasks_in_use() <= peer.session.settings().queue_depth);
}

TEST_CASE("window: when all tasks are in use commands wait") {
  auto settings = default_settings();
  settings.queue_depth = 3;
  Peer peer(settings);
  peer.start();
  for (int i = 0; i < 7; ++i) peer.jobs.simple();
  peer.pump();
  CHECK(peer.wire(0).inbox.size() == 3);
  for (int i = 0; i < 7; ++i) {
    const auto command = command_on(peer, 0);
    CHECK(command.cmd_sn == static_cast<std::uint32_t>(i + 1));  // first come, first served
    CHECK(nbdgw::proto::load_be64(&command.cdb[2]) == static_cast<std::uint64_t>(i + 1));
    peer.respond(0, command.itt);
  }
  peer.check_nothing_leaked();
}

TEST_CASE("window: management has tasks even then") {
  auto settings = default_settings();
  settings.queue_depth = 1;
  settings.nop_interval = 5 * nbdgw::proto::kSecond;
  Peer peer(settings);
  peer.start();
  peer.jobs.simple();
  peer.jobs.simple();
  command_on(peer, 0);
  peer.advance(5 * nbdgw::proto::kSecond);
  peer.take(0, Opcode::nop_out);
  peer.session.teardown(peer.now);
  peer.take(0, Opcode::logout_request);
}

TEST_CASE("window: management has tasks for every connection, while all commands hang") {
  auto settings = default_settings(32);
  settings.queue_depth = 1;
  settings.nop_interval = 5 * nbdgw::proto::kSecond;
  Peer peer(settings);
  peer.keys.answers["MaxConnections"] = "32";
  peer.start();
  peer.jobs.simple();
  command_on(peer, 0);
  peer.advance(5 * nbdgw::proto::kSecond);
  for (std::uint16_t cid = 0; cid < 32; ++cid) peer.take(cid, Opcode::nop_out);
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::target_warm_reset}));
  peer.take(0, Opcode::task_management_request);
  peer.session.teardown(peer.now);
  peer.take(0, Opcode::logout_request);
}

TEST_CASE("window: CmdSN has no holes over the session and grows on each connection") {
  auto random = seeded_random();
  for (int round = 0; round < 6; ++round) {
    Peer peer(default_settings(4), random());
    ModelTarget target(peer, random());  // checks it, command by command
    target.window = static_cast<std::uint32_t>(1 + random() % 30);
    peer.keys = target.keys(4);
    peer.tx_chunk = 1 + random() % 3000;
    peer.session.setup(peer.now);
    peer.pump();
    for (int i = 0; i < 150; ++i) {
      const auto length = static_cast<std::uint32_t>(random() % 9000);
      random() % 2 == 0 ? peer.jobs.read(length) : peer.jobs.write(length);
    }
    target.run();
    CHECK(target.commands == 150);
    CHECK(peer.exp_cmd_sn == 151);  // all of them came, none is missing
    peer.check_nothing_leaked();
  }
}

TEST_CASE("window: a LUN with much to do does not keep another one of the session from it") {
  constexpr std::uint32_t kWindow = 8;
  constexpr std::uint64_t kSmall = 0x0002000000000000ULL;
  auto settings = default_settings();
  settings.queue_depth = 200;
  Peer peer(settings);
  peer.window = kWindow;
  peer.start();
  for (int i = 0; i < 100; ++i) peer.jobs.simple();
  peer.pump();
  REQUIRE(peer.wire(0).inbox.size() == kWindow);
  // One command at a time on the other LUN, while the first one always has more than the window takes.
  for (int round = 0; round < 20; ++round) {
    Job& small = peer.jobs.make(Direction::none, 0);
    small.lun = kSmall;
    peer.jobs.queue(small);
    for (int i = 0; i < 20; ++i) peer.jobs.simple();
    int others = 0;
    for (; small.finished == 0; ++others) {
      REQUIRE(others < 1000);
      peer.respond(0, peer.take_command().itt);  // a target that does one thing after the other
    }
    // What was with the target before it, and one that had its turn.
    CHECK(others <= static_cast<int>(kWindow) + 2);
  }
}
