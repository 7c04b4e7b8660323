// In the steady state the engine allocates nothing: not for a command, not for its data.
#include <doctest/doctest.h>

#include "tests/unit/allocations.hpp"
#include "tests/unit/initiator/ladder.hpp"
#include "tests/unit/initiator/model_target.hpp"

using namespace nbdgw::test;
using namespace nbdgw::initiator;
using namespace nbdgw::proto::iscsi;
using nbdgw::proto::kSecond;

TEST_CASE("allocations: none for reads and writes, once the session runs") {
  for (const bool digests : {false, true}) {
    auto settings = default_settings(4);
    settings.nop_interval = nbdgw::proto::kSecond;
    if (digests) require_digests(settings);
    Peer peer(settings);
    ModelTarget target(peer, 11);
    target.max_outstanding_r2t = 3;
    target.early_failures = 10;
    peer.keys = target.keys(4);
    if (digests) peer.keys.with_digests();
    peer.session.setup(peer.now);
    peer.pump();
    CHECK(Allocations::in_engine > 0);  // the count works: a login allocates
    const auto load = [&](int commands) {
      for (int i = 0; i < commands; ++i) {
        i % 2 == 0 ? peer.jobs.read(static_cast<std::uint32_t>(1 + i * 97 % 40'000), 4)
                   : peer.jobs.write(static_cast<std::uint32_t>(1 + i * 89 % 90'000), 4);
        if (i % 50 == 0) {
          target.run();
          peer.advance(kSecond);
        }
      }
      target.run();
    };
    load(10);
    Allocations::in_engine = 0;
    load(400);
    CHECK(Allocations::in_engine == 0);
    CHECK(peer.session.counters().pings > 0);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("allocations: none for commands while the ladder climbs for another LUN, nor for deadlines that pass") {
  auto settings = ladder_settings(2);
  settings.nop_interval = 7 * kSecond;
  LadderPeer peer(settings);
  Job& slow = peer.queue(Direction::read, 1'000'000);
  const std::uint32_t slow_itt = peer.take_command(slow);
  const auto one = [&] {
    Job& job = peer.queue(Direction::none, 0);
    const std::uint16_t cid = peer.busy();
    peer.serve(job, cid);
    CHECK(job.outcome == Outcome::completed);
  };
  for (int i = 0; i < 20; ++i) peer.queue(Direction::none, 0, kLun2);
  while (!peer.silent()) peer.take(peer.busy(), Opcode::scsi_command);
  peer.exp_cmd_sn = peer.next_cmd_sn;
  peer.acknowledge();
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun2}));
  const std::uint16_t way = peer.busy();
  const auto reset = peer.tmf(way);
  for (int i = 0; i < 5; ++i) peer.queue(Direction::none, 0, kLun2);  // held
  one();
  Allocations::in_engine = 0;
  for (int i = 0; i < 200; ++i) one();
  CHECK(Allocations::in_engine == 0);
  peer.answer(reset, TaskManagementResult::complete, way);
  while (!peer.silent()) {
    const std::uint16_t cid = peer.busy();
    peer.respond(cid, peer.take(cid, Opcode::scsi_command).as<ScsiCommandPdu>().itt);
  }
  Allocations::in_engine = 0;
  for (std::uint32_t i = 0; i < 60; ++i) {  // its deadline passes again and again
    peer.deliver(0, peer.data_in(0, slow_itt, i, i * 10, Bytes(10), false));
    peer.advance(2 * kSecond);
    one();
  }
  CHECK(Allocations::in_engine == 0);
  CHECK(peer.session.counters().commands_timed_out == 0);
  CHECK(peer.session.counters().losses == 0);
}
