#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kNever;
using Function = iscsi::TaskManagementFunction;
using Result = iscsi::TaskManagementResult;

TEST_CASE("faults: a command that hangs before or after its execution, until the fault is deleted or it is aborted") {
  for (const bool executed : {false, true}) {
    CAPTURE(executed);
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    const auto id = faulty.post(FaultKind::hang_task, [&](Fault& f) {
      f.group = CommandGroup::write;
      f.executed = executed;
      f.count = 2;
    });
    const std::uint32_t first = peer.cmd_sn;
    const auto aborted = write_block(peer, 0, 1);
    const auto kept = write_block(peer, 1, 2);
    CHECK(peer.empty());
    CHECK(test_unit(peer).status == 0);
    CHECK(faulty.posted(id).hits == 2);
    CHECK_FALSE(faulty.posted(id).active);
    CHECK(stored(faulty, 0) == (executed ? 1 : 0));
    CHECK(stored(faulty, 1) == (executed ? 2 : 0));
    CHECK(faulty.faults.next_deadline() == kNever);
    CHECK(manage(peer, Function::abort_task, kLun1, aborted, first).response == Result::complete);
    write_block(peer, 2, 3);  // used up
    CHECK(end_of_next(peer).status == 0);

    CHECK(faulty.remove(id));
    CHECK_FALSE(faulty.remove(id));
    CHECK(end_of_next(peer).itt == kept);
    CHECK(peer.empty());
    CHECK(stored(faulty, 0) == (executed ? 1 : 0));
    CHECK(stored(faulty, 1) == 2);
    CHECK(faulty.world.server->buffers().used() == 0);
  }
}

TEST_CASE("faults: a hung write takes its data first; deleted meanwhile, it goes on as if nothing had been") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = faulty.post(FaultKind::hang_task);
  for (const bool deleted : {false, true}) {
    peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 512});
    const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
    if (deleted) CHECK(faulty.remove(id));
    peer.send(iscsi::DataOut{.final = true, .itt = r2t.itt, .ttt = r2t.ttt}, Bytes(512, 7));
    CHECK(peer.empty() == !deleted);
    CHECK(stored(faulty, 0) == (deleted ? 7 : 0));
  }
}

TEST_CASE("faults: a LUN that hangs takes every command, and tells of its reset when it is back") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = faulty.post(FaultKind::hang_lun, [](Fault& f) { f.lun = 1; });
  const std::uint32_t first = peer.cmd_sn;
  const auto tag = peer.command(scsi::test_unit_ready(), {});
  peer.command(scsi::Inquiry{.allocation_length = 96}.build(), {.read = true, .length = 96});
  CHECK(peer.empty());
  CHECK(test_unit(peer, kLun2).status == 0);
  CHECK(manage(peer, Function::abort_task, kLun1, tag, first).response == Result::complete);
  CHECK(manage(peer, Function::logical_unit_reset, kLun1).response == Result::complete);
  const auto waiting = peer.command(scsi::test_unit_ready(), {});  // its unit attention has to wait, too
  CHECK(peer.empty());
  CHECK(faulty.posted(id).hits == 3);
  faulty.remove(id);
  const End end = end_of_next(peer);
  CHECK(end.itt == waiting);
  CHECK(end.sense == 0x062903);
  CHECK(test_unit(peer).status == 0);
}

TEST_CASE("faults: commands that hang take the command window until they end, and give it back") {
  Faulty faulty;  // a window of 8
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = faulty.post(FaultKind::hang_lun, [](Fault& f) { f.lun = 1; });
  const std::uint32_t first = peer.cmd_sn;
  const std::uint32_t tag = peer.itt + 1;
  for (int i = 0; i < 7; ++i) peer.command(scsi::test_unit_ready(), {});
  const End last = test_unit(peer, kLun2);
  CHECK(last.max_cmd_sn == peer.cmd_sn);  // one place is left for the other LUN
  peer.command(scsi::test_unit_ready(), {});
  CHECK(peer.empty());
  // Closed: what comes is beyond the window, and dropped.
  peer.command(scsi::test_unit_ready(), {}, kLun2);
  --peer.cmd_sn;
  CHECK(peer.empty());
  CHECK(faulty.world.server->counters().ignored == 1);
  // An abort opens it by one, a reset wholly.
  CHECK(manage(peer, Function::abort_task, kLun1, tag, first).sequence.max_cmd_sn == peer.cmd_sn);
  CHECK(test_unit(peer, kLun2).status == 0);
  CHECK(manage(peer, Function::logical_unit_reset, kLun1).sequence.max_cmd_sn == peer.cmd_sn + 7);
  faulty.remove(id);
  for (int i = 0; i < 20; ++i) {
    const End end = test_unit(peer, kLun2);
    CHECK(end.max_cmd_sn == peer.cmd_sn + 7);
  }
  CHECK(faulty.world.server->counters().ignored == 1);
}

TEST_CASE("faults: delayed answers leave when they are due, in their order; a delay that is deleted is over") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = faulty.post(FaultKind::delay, [](Fault& f) {
    f.lun = 1;
    f.delay_ms = 20;
  });
  const auto start = faulty.world.now;
  const auto one = write_block(peer, 0, 1);
  const auto two = write_block(peer, 1, 2);
  faulty.pass_time(5 * kMillisecond);
  const auto three = write_block(peer, 2, 3);
  CHECK(peer.empty());
  CHECK(stored(faulty, 0) == 1);
  CHECK(faulty.faults.next_deadline() == start + 20 * kMillisecond);
  faulty.pass_time(15 * kMillisecond - 1);
  CHECK(peer.empty());
  faulty.pass_time(1);
  CHECK(end_of_next(peer).itt == one);
  CHECK(end_of_next(peer).itt == two);
  CHECK(peer.empty());
  CHECK(faulty.faults.next_deadline() == start + 25 * kMillisecond);
  faulty.remove(id);
  CHECK(end_of_next(peer).itt == three);
  CHECK(faulty.faults.next_deadline() == kNever);

  // Aborted while it waits: nothing comes any more.
  faulty.post(FaultKind::delay, [](Fault& f) { f.delay_ms = 20; });
  const auto sn = peer.cmd_sn;
  const auto tag = write_block(peer, 3, 4);
  CHECK(manage(peer, Function::abort_task, kLun1, tag, sn).response == Result::complete);
  CHECK(faulty.faults.next_deadline() == kNever);
}

TEST_CASE("faults: statuses instead of an execution") {
  struct Case {
    FaultKind kind;
    std::uint8_t status;
    std::uint32_t sense;
  };
  for (const Case& each :
       {Case{FaultKind::busy, 0x08, 0}, Case{FaultKind::task_set_full, 0x28, 0},
        Case{FaultKind::unit_attention, 0x02, 0x063807}, Case{FaultKind::check_condition, 0x02, 0x033807}}) {
    CAPTURE(traits(each.kind).name);
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    const auto id = faulty.post(each.kind, [](Fault& f) {
      f.key = 3;
      f.asc = 0x38;
      f.ascq = 0x07;
      f.count = 3;
    });
    write_block(peer, 0, 1);
    End end = end_of_next(peer);
    CHECK(end.status == each.status);
    CHECK(end.sense == each.sense);
    CHECK(stored(faulty, 0) == 0);
    // Data that the command announced, or was not asked for yet, is not waited for.
    peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 512});
    CHECK(end_of_next(peer).status == each.status);
    peer.command(Peer::read_cdb(0, 1), {.read = true, .length = 512});
    CHECK(end_of_next(peer).status == each.status);
    CHECK_FALSE(faulty.posted(id).active);
    write_block(peer, 0, 1);
    CHECK(end_of_next(peer).status == 0);
    CHECK(stored(faulty, 0) == 1);
    CHECK(faulty.world.server->buffers().used() == 0);
  }
}

TEST_CASE("faults: a unit attention spares the commands that no unit attention stops") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto id = faulty.post(FaultKind::unit_attention, [](Fault& f) { f.asc = 0x29; });
  peer.command(scsi::Inquiry{.allocation_length = 96}.build(), {.read = true, .length = 96});
  CHECK(peer.receive().opcode() == Opcode::data_in);
  CHECK(faulty.posted(id).hits == 0);
  CHECK(test_unit(peer).sense == 0x062900);
}

TEST_CASE("faults: a Reject instead of an answer") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  faulty.post(FaultKind::reject, [](Fault& f) {
    f.group = CommandGroup::write;
    f.reason = 9;
  });
  const auto tag = write_block(peer, 0, 1);
  const auto reject = peer.receive_as<iscsi::Reject>(Opcode::reject);
  CHECK(static_cast<int>(reject.reason) == 9);
  CHECK(reject.sequence.max_cmd_sn == peer.cmd_sn + 7);
  REQUIRE(peer.data.size() == 48);
  CHECK(peer.data[0] == 0x01);
  CHECK(peer.data[19] == tag);
  CHECK(peer.empty());
  CHECK(stored(faulty, 0) == 0);
  CHECK(test_unit(peer).status == 0);
  CHECK(faulty.world.server->buffers().used() == 0);
}

TEST_CASE("faults: connections dropped by a command") {
  for (const bool half : {false, true}) {
    CAPTURE(half);
    Faulty faulty;
    Peer one(faulty.world);
    one.log_in(pairs({"MaxConnections=2"}));
    one.clear_attentions();
    Peer two(faulty.world);
    two.cid = 1;
    two.tsih = one.tsih;
    two.log_in();
    const auto id = faulty.post(FaultKind::drop_connection, [&](Fault& f) {
      f.group = CommandGroup::write;
      f.half_close = half;
      f.count = 1;
      f.has_trigger = true;
    });
    CHECK(faulty.posted(id).hits == 0);
    CHECK(test_unit(one).status == 0);
    write_block(one, 0, 1);
    CHECK(faulty.posted(id).hits == 1);
    CHECK(one.engine().wants_reset() == !half);
    CHECK(one.engine().wants_send_end() == half);
    CHECK(one.is_open() == half);
    CHECK(stored(faulty, 0) == (half ? 1 : 0));
    CHECK(one.empty());
    CHECK(two.is_open());
    CHECK(one.engine().wants_to_read() == half);
    one.disconnect();
    two.cmd_sn = one.cmd_sn;
    CHECK(test_unit(two).status == 0);
  }
}

TEST_CASE("faults: connections dropped at once, one or all") {
  struct Case {
    std::optional<std::uint32_t> cid;
    bool first, second, third;  // of connections 0 and 1, and of one that is not logged in: dropped
  };
  for (const Case& each :
       {Case{std::nullopt, true, true, true}, Case{1, false, true, false}, Case{9, false, false, false}}) {
    Faulty faulty;
    Peer one(faulty.world);
    one.log_in(pairs({"MaxConnections=2"}));
    Peer two(faulty.world);
    two.cid = 1;
    two.tsih = one.tsih;
    two.log_in();
    Peer three(faulty.world);
    const auto id = faulty.post(FaultKind::drop_connection, [&](Fault& f) { f.cid = each.cid; });
    CHECK(faulty.posted(id).hits == 1);
    CHECK_FALSE(faulty.posted(id).active);
    CHECK(one.engine().wants_reset() == each.first);
    CHECK(two.engine().wants_reset() == each.second);
    CHECK(three.engine().wants_reset() == each.third);
    CHECK(one.is_open() == !each.first);
  }
}
