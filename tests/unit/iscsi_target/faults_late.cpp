#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kNever;
using Function = iscsi::TaskManagementFunction;
using Result = iscsi::TaskManagementResult;

namespace {

/// Logs in over another connection as the same initiator port: the session before is over.
void reinstate(Peer& peer) {
  peer.log_in();
  peer.clear_attentions();
}

std::uint32_t slow_write(Faulty& faulty, std::uint32_t delay_ms, bool after_loss, bool reset_waits) {
  return faulty.post(FaultKind::slow_write, [&](Fault& f) {
    f.count = 1;
    f.delay_ms = delay_ms;
    f.after_loss = after_loss;
    f.reset_waits = reset_waits;
  });
}

}  // namespace

TEST_CASE("faults: a slow write is answered when it is done, if anybody is there to hear it") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  slow_write(faulty, 20, false, true);
  const auto tag = write_block(peer, 0, 1);
  CHECK(peer.empty());
  CHECK(stored(faulty, 0) == 0);
  faulty.pass_time(20 * kMillisecond);
  CHECK(stored(faulty, 0) == 1);
  const End end = end_of_next(peer);
  CHECK(end.itt == tag);
  CHECK(end.status == 0);
  CHECK(faulty.faults.next_deadline() == kNever);
}

TEST_CASE("faults: a slow write outlives its session, and lands on what was written meanwhile") {
  for (const bool after_loss : {false, true}) {
    CAPTURE(after_loss);
    Faulty faulty;
    Peer old(faulty.world);
    old.log_in();
    old.clear_attentions();
    slow_write(faulty, 20, after_loss, true);
    write_block(old, 0, 1);
    faulty.pass_time(10 * kMillisecond);
    Peer peer(faulty.world);
    reinstate(peer);
    old.disconnect();
    write_block(peer, 0, 2);
    CHECK(end_of_next(peer).status == 0);
    CHECK(stored(faulty, 0) == 2);
    faulty.pass_time(10 * kMillisecond);
    CHECK(stored(faulty, 0) == (after_loss ? 2 : 1));
    faulty.pass_time(10 * kMillisecond);
    CHECK(stored(faulty, 0) == 1);
    CHECK(peer.empty());
    CHECK(faulty.world.server->buffers().used() == 0);
  }
}

TEST_CASE("faults: a reset waits for slow writes, or is answered at once all the same") {
  for (const bool reset_waits : {true, false}) {
    CAPTURE(reset_waits);
    Faulty faulty;
    Peer old(faulty.world);
    old.log_in();
    old.clear_attentions();
    const auto id = slow_write(faulty, 0, false, reset_waits);
    write_block(old, 0, 1);
    Peer peer(faulty.world);
    reinstate(peer);
    request_management(peer, Function::logical_unit_reset, kLun1);
    CHECK(peer.empty() == reset_waits);
    CHECK(stored(faulty, 0) == 0);
    if (reset_waits) CHECK(test_unit(peer, kLun2).status == 0);
    faulty.remove(id);
    CHECK(stored(faulty, 0) == 1);
    CHECK(peer.receive_as<iscsi::TaskManagementResponse>(Opcode::task_management_response).response ==
          Result::complete);
  }
}

TEST_CASE("faults: task management of a slow write whose session lives waits until it is done, and ends its answer") {
  for (const auto function : {Function::abort_task, Function::logical_unit_reset, Function::target_warm_reset}) {
    CAPTURE(static_cast<int>(function));
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    slow_write(faulty, 20, false, true);
    const auto sn = peer.cmd_sn;
    const auto tag = write_block(peer, 0, 1);
    request_management(peer, function, kLun1, function == Function::abort_task ? tag : iscsi::kReservedTag, sn);
    CHECK(peer.empty());
    CHECK(test_unit(peer, kLun2).status == 0);
    faulty.pass_time(20 * kMillisecond);
    CHECK(stored(faulty, 0) == 1);
    const auto answer = peer.receive_as<iscsi::TaskManagementResponse>(Opcode::task_management_response);
    CHECK(answer.response == Result::complete);
    CHECK(peer.empty());
  }
}

TEST_CASE("faults: a slow write that a lying reset has ended lands later") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = slow_write(faulty, 0, false, false);
  write_block(peer, 0, 1);
  CHECK(manage(peer, Function::logical_unit_reset, kLun1).response == Result::complete);
  CHECK(test_unit(peer).sense == 0x062903);
  write_block(peer, 0, 2);
  CHECK(end_of_next(peer).status == 0);
  faulty.remove(id);
  CHECK(stored(faulty, 0) == 1);
  CHECK(peer.empty());
}

TEST_CASE("faults: a slow write without all of its data ends with its session") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = slow_write(faulty, 0, false, true);
  peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 512});
  peer.receive_as<iscsi::R2t>(Opcode::r2t);
  CHECK(manage(peer, Function::logical_unit_reset, kLun1).response == Result::complete);
  faulty.remove(id);
  CHECK(stored(faulty, 0) == 0);
  CHECK(faulty.world.server->buffers().used() == 0);
}

TEST_CASE("faults: data that comes after a reset is written, whatever is done about it") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = faulty.post(FaultKind::late_data, [](Fault& f) { f.count = 1; });
  const auto sn = peer.cmd_sn;
  const auto tag = peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 512});
  const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
  CHECK(manage(peer, Function::logical_unit_reset, kLun1).response == Result::complete);
  CHECK(faulty.posted(id).hits == 1);
  CHECK(test_unit(peer).sense == 0x062903);
  write_block(peer, 0, 2);
  CHECK(end_of_next(peer).status == 0);
  CHECK(manage(peer, Function::abort_task, kLun1, tag, sn).response == Result::task_does_not_exist);
  CHECK(manage(peer, Function::target_warm_reset, kLun1).response == Result::complete);
  CHECK(stored(faulty, 0) == 2);
  peer.send(iscsi::DataOut{.final = true, .itt = r2t.itt, .ttt = r2t.ttt}, Bytes(512, 1));
  CHECK(stored(faulty, 0) == 1);
  CHECK(peer.empty());
  CHECK(faulty.world.server->buffers().used() == 0);
}

TEST_CASE("faults: late data needs its connection") {
  Faulty faulty;
  {
    Peer old(faulty.world);
    old.log_in();
    old.clear_attentions();
    faulty.post(FaultKind::late_data);
    old.command(Peer::write_cdb(0, 1), {.write = true, .length = 512});
    old.receive_as<iscsi::R2t>(Opcode::r2t);
    CHECK(manage(old, Function::logical_unit_reset, kLun1).response == Result::complete);
  }
  CHECK(faulty.world.server->sessions().empty());
  CHECK(faulty.world.server->buffers().used() == 0);
}
