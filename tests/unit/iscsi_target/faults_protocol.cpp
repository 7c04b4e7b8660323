#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kNever;
using Function = iscsi::TaskManagementFunction;
using Result = iscsi::TaskManagementResult;

namespace {

iscsi::LoginResponse try_login(Peer& peer) {
  peer.send(peer.login_request(iscsi::LoginStage::operational, iscsi::LoginStage::full_feature), Peer::names());
  return peer.receive_as<iscsi::LoginResponse>(Opcode::login_response);
}

/// A write that hangs until it is aborted or the faults are deleted.
std::uint32_t hang_write(Faulty& faulty, Peer& peer, std::uint8_t value) {
  faulty.post(FaultKind::hang_task, [](Fault& f) {
    f.group = CommandGroup::write;
    f.count = 1;
  });
  const auto tag = write_block(peer, 0, value);
  CHECK(peer.empty());
  return tag;
}

}  // namespace

TEST_CASE("faults: task management that hangs or is refused has no effect") {
  for (const auto kind : {FaultKind::hang_tmf, FaultKind::refuse_tmf}) {
    CAPTURE(nbdgw::iscsi_target::traits(kind).name);
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    const auto sn = peer.cmd_sn;
    const auto tag = hang_write(faulty, peer, 1);
    const auto id = faulty.post(kind, [](Fault& f) { f.count = 2; });
    for (const auto function : {Function::abort_task, Function::logical_unit_reset}) {
      if (kind == FaultKind::hang_tmf) {
        request_management(peer, function, kLun1, tag, sn);
        CHECK(peer.empty());
      } else {
        CHECK(manage(peer, function, kLun1, tag, sn).response == Result::not_supported);
      }
    }
    CHECK(faulty.posted(id).hits == 2);
    CHECK(faulty.world.server->counters().aborted == 0);
    CHECK(test_unit(peer).status == 0);  // no unit attention either
    CHECK(manage(peer, Function::abort_task, kLun1, tag, sn).response == Result::complete);
    CHECK(faulty.world.server->counters().aborted == 1);
  }
}

TEST_CASE("faults: of task management only what the scope names") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  const auto refused = [&](Function function, std::uint64_t lun) {
    return manage(peer, function, lun).response == Result::rejected;
  };
  auto id = faulty.post(FaultKind::refuse_tmf, [](Fault& f) { f.response = 255, f.lun = 2; });
  CHECK(refused(Function::logical_unit_reset, kLun2));
  CHECK(refused(Function::abort_task_set, kLun2));
  CHECK_FALSE(refused(Function::logical_unit_reset, kLun1));
  CHECK_FALSE(refused(Function::target_warm_reset, kLun2));  // has no LUN
  faulty.remove(id);
  id = faulty.post(FaultKind::refuse_tmf, [](Fault& f) { f.response = 255, f.function = 6; });
  CHECK_FALSE(refused(Function::logical_unit_reset, kLun1));
  CHECK(refused(Function::target_warm_reset, 0));
  faulty.remove(id);
  faulty.post(FaultKind::refuse_tmf, [](Fault& f) { f.response = 255, f.cid = 1; });
  CHECK_FALSE(refused(Function::target_warm_reset, 0));
  // A cold reset that is refused closes nothing.
  faulty.post(FaultKind::refuse_tmf, [](Fault& f) { f.response = 255; });
  CHECK(refused(Function::target_cold_reset, 0));
  CHECK(peer.is_open());
}

TEST_CASE("faults: a target that lies: the write that it says is gone runs later") {
  struct Case {
    Result response;
    bool late_answer;
    Function function;
  };
  for (const Case& each : {Case{Result::complete, false, Function::abort_task},
                           Case{Result::task_does_not_exist, false, Function::abort_task},
                           Case{Result::task_does_not_exist, true, Function::abort_task_set},
                           Case{Result::complete, true, Function::logical_unit_reset},
                           Case{Result::complete, false, Function::target_warm_reset}}) {
    CAPTURE(static_cast<int>(each.function));
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    const auto sn = peer.cmd_sn;
    const auto tag = hang_write(faulty, peer, 1);
    faulty.post(FaultKind::tmf_lies, [&](Fault& f) {
      f.response = static_cast<std::uint32_t>(each.response);
      f.late_answer = each.late_answer;
      f.delay_ms = 50;
    });
    const auto answer = manage(peer, each.function, kLun1, tag, sn);
    CHECK(answer.response == each.response);
    CHECK(answer.sequence.max_cmd_sn == peer.cmd_sn + 7);  // the place is free again
    CHECK(test_unit(peer).status == 0);
    CHECK(stored(faulty, 0) == 0);
    write_block(peer, 0, 2);
    CHECK(end_of_next(peer).status == 0);
    faulty.pass_time(50 * kMillisecond - 1);
    CHECK(stored(faulty, 0) == 2);
    faulty.pass_time(1);
    CHECK(stored(faulty, 0) == 1);
    if (each.late_answer) CHECK(end_of_next(peer).itt == tag);
    CHECK(peer.empty());
    CHECK(faulty.faults.next_deadline() == kNever);
    CHECK(faulty.world.server->buffers().used() == 0);
    const End end = test_unit(peer);
    CHECK(end.max_cmd_sn == peer.cmd_sn + 7);
  }
}

TEST_CASE("faults: of a lie the tag may be used again, before the old task runs and answers") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto sn = peer.cmd_sn;
  const auto tag = hang_write(faulty, peer, 1);
  const auto lie = faulty.post(FaultKind::tmf_lies, [](Fault& f) { f.late_answer = true; });
  manage(peer, Function::abort_task, kLun1, tag, sn);
  peer.itt = tag - 1;
  CHECK(peer.command(Peer::write_cdb(1, 1), {.write = true, .length = 512}) == tag);
  const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
  CHECK(r2t.itt == tag);
  faulty.remove(lie);  // what it holds goes on at once
  CHECK(end_of_next(peer).itt == tag);
  CHECK(stored(faulty, 0) == 1);
  CHECK(stored(faulty, 1) == 0);
  peer.send(iscsi::DataOut{.final = true, .itt = tag, .ttt = r2t.ttt}, Bytes(512, 3));
  CHECK(end_of_next(peer).itt == tag);
  CHECK(stored(faulty, 1) == 3);
  CHECK(peer.is_open());
}

TEST_CASE(
    "faults: a task that is lied about while it waits for data runs if the data comes, and not without its tag") {
  for (const bool reused : {false, true}) {
    CAPTURE(reused);
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    faulty.post(FaultKind::tmf_lies, [](Fault& f) { f.delay_ms = 10; });
    const auto sn = peer.cmd_sn;
    const auto tag = peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 512});
    const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
    CHECK(manage(peer, Function::abort_task, kLun1, tag, sn).response == Result::task_does_not_exist);
    faulty.pass_time(20 * kMillisecond);
    CHECK(faulty.faults.next_deadline() == kNever);  // it is for the initiator to go on
    if (reused) {
      peer.itt = tag - 1;
      peer.command(scsi::test_unit_ready(), {});
      CHECK(end_of_next(peer).itt == tag);
      CHECK(faulty.world.server->counters().aborted == 1);
    }
    peer.send(iscsi::DataOut{.final = true, .itt = tag, .ttt = r2t.ttt}, Bytes(512, 1));
    CHECK(peer.empty());
    CHECK(stored(faulty, 0) == (reused ? 0 : 1));
    CHECK(faulty.world.server->buffers().used() == 0);
    CHECK(peer.is_open());
  }
}

TEST_CASE("faults: a reset that is meant, or the end of the session, ends what was lied about") {
  for (const bool reset : {false, true}) {
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    const auto sn = peer.cmd_sn;
    const auto tag = hang_write(faulty, peer, 1);
    faulty.post(FaultKind::tmf_lies, [](Fault& f) { f.function = 1; });
    CHECK(manage(peer, Function::abort_task, kLun1, tag, sn).response == Result::task_does_not_exist);
    if (reset)
      CHECK(manage(peer, Function::logical_unit_reset, kLun1).response == Result::complete);
    else
      peer.disconnect();
    CHECK(faulty.faults.next_deadline() == kNever);
    faulty.pass_time(2000 * kMillisecond);
    CHECK(stored(faulty, 0) == 0);
    CHECK(faulty.world.server->buffers().used() == 0);
  }
}

TEST_CASE("faults: logins refused and sent elsewhere") {
  Faulty faulty;
  Peer one(faulty.world);
  const auto refuse = faulty.post(FaultKind::login_refuse, [](Fault& f) {
    f.status_class = 3;
    f.status_detail = 1;
    f.count = 1;
  });
  auto response = try_login(one);
  CHECK(response.status == iscsi::LoginStatus::service_unavailable);
  CHECK_FALSE(one.is_open());
  CHECK(faulty.posted(refuse).hits == 1);
  CHECK(faulty.world.server->counters().login_failures == 1);

  for (const bool permanent : {false, true}) {
    faulty.post(FaultKind::redirect, [&](Fault& f) {
      f.to = "192.0.2.7:3261,2";
      f.permanent = permanent;
      f.count = 1;
    });
    Peer peer(faulty.world);
    response = try_login(peer);
    CHECK(response.status ==
          (permanent ? iscsi::LoginStatus::redirect_permanent : iscsi::LoginStatus::redirect_temporary));
    CHECK(std::string(peer.data.begin(), peer.data.end()) == pairs({"TargetAddress=192.0.2.7:3261,2"}));
    CHECK_FALSE(peer.is_open());
  }

  // Only a connection of that number.
  faulty.post(FaultKind::login_refuse, [](Fault& f) {
    f.status_class = 2;
    f.status_detail = 6;
    f.cid = 1;
  });
  Peer leading(faulty.world);
  leading.log_in(pairs({"MaxConnections=2"}));
  Peer second(faulty.world);
  second.cid = 1;
  second.tsih = leading.tsih;
  CHECK(try_login(second).status == iscsi::LoginStatus::too_many_connections);
  CHECK(leading.is_open());
}

TEST_CASE("faults: wrong digests, where there are any") {
  struct Case {
    bool header, data;     // negotiated
    bool in_data;          // the fault
    std::size_t expected;  // of a read with two Data-In, a TEST UNIT READY and a NOP
  };
  for (const Case& each : {Case{true, false, false, 4}, Case{false, true, false, 0}, Case{false, true, true, 2},
                           Case{true, false, true, 0}, Case{true, true, true, 2}, Case{false, false, false, 0}}) {
    Faulty faulty;
    Peer peer(faulty.world);
    const std::string crc = "CRC32C", none = "None";
    peer.log_in(pairs({"HeaderDigest=" + (each.header ? crc : none), "DataDigest=" + (each.data ? crc : none)}));
    peer.header_digest = each.header;
    peer.data_digest = each.data;
    peer.clear_attentions();
    peer.takes_wrong_digests = true;
    const auto id = faulty.post(FaultKind::digest_error, [&](Fault& f) { f.in_data = each.in_data; });
    peer.command(Peer::read_cdb(0, 32), {.read = true, .length = 32 * 512});  // 2 Data-In of 8 KiB
    peer.command(scsi::test_unit_ready(), {});
    peer.send(iscsi::NopOut{.itt = 900, .cmd_sn = peer.cmd_sn}, Bytes(8, 1));
    for (int i = 0; i < 4; ++i) peer.receive();
    CHECK(peer.wrong_digests == each.expected);
    CHECK(faulty.posted(id).hits == each.expected);
  }
}

TEST_CASE("faults: a wrong digest for the PDUs of one command only") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in(pairs({"HeaderDigest=CRC32C"}));
  peer.header_digest = true;
  peer.clear_attentions();
  peer.takes_wrong_digests = true;
  faulty.post(FaultKind::digest_error, [](Fault& f) { f.group = CommandGroup::read, f.lun = 1; });
  CHECK(test_unit(peer).status == 0);
  peer.send(iscsi::NopOut{.itt = 900, .cmd_sn = peer.cmd_sn}, Bytes(8, 1));
  CHECK(peer.receive().opcode() == Opcode::nop_in);
  CHECK(peer.wrong_digests == 0);
  peer.command(Peer::read_cdb(0, 1), {.read = true, .length = 512});
  CHECK(peer.receive().opcode() == Opcode::data_in);
  CHECK(peer.wrong_digests == 1);
}

TEST_CASE("faults: an Async Message to every session, on its first connection or on the one that is named") {
  Faulty faulty;
  Peer one(faulty.world);
  one.log_in(pairs({"MaxConnections=2"}));
  Peer two(faulty.world);
  two.cid = 1;
  two.tsih = one.tsih;
  two.log_in();
  Peer other(faulty.world);
  other.isid[5] = 9;
  other.log_in();
  const auto id = faulty.post(FaultKind::async_event, [](Fault& f) {
    f.event = 1;
    f.parameter1 = 2;
    f.parameter3 = 77;
  });
  CHECK(faulty.posted(id).hits == 1);
  CHECK_FALSE(faulty.posted(id).active);
  for (Peer* peer : {&one, &other}) {
    const auto message = peer->receive_as<iscsi::AsyncMessage>(Opcode::async_message);
    CHECK(message.event == iscsi::AsyncEvent::logout_request);
    CHECK(message.parameter1 == 2);
    CHECK(message.parameter2 == 0);
    CHECK(message.parameter3 == 77);
  }
  CHECK(two.empty());
  faulty.post(FaultKind::async_event, [](Fault& f) { f.event = 3, f.cid = 1; });
  CHECK(one.empty());
  CHECK(other.empty());
  CHECK(two.receive().opcode() == Opcode::async_message);
}

TEST_CASE("faults: a frozen window closes and never shrinks; thawing is told of") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const std::uint32_t last = peer.cmd_sn + 7;
  const auto id = faulty.post(FaultKind::freeze_window);
  CHECK(faulty.posted(id).hits == 1);
  CHECK(faulty.posted(id).active);
  const auto twice = faulty.post(FaultKind::freeze_window);
  for (int i = 0; i < 8; ++i) CHECK(test_unit(peer).max_cmd_sn == last);
  CHECK(peer.cmd_sn == last + 1);
  peer.command(scsi::test_unit_ready(), {});
  CHECK(peer.empty());
  --peer.cmd_sn;
  CHECK(faulty.world.server->counters().ignored == 1);
  CHECK(manage(peer, Function::abort_task_set, kLun1).sequence.max_cmd_sn == last);

  Peer later(faulty.world);  // what logs in meanwhile is frozen, too
  later.isid[5] = 9;
  later.log_in();
  CHECK(later.max_cmd_sn == later.cmd_sn + 7);
  const std::uint32_t later_last = later.max_cmd_sn;
  CHECK(test_unit(later).max_cmd_sn == later_last);

  faulty.remove(twice);
  CHECK(peer.empty());
  faulty.remove(id);
  const auto told = peer.receive_as<iscsi::NopIn>(Opcode::nop_in);
  CHECK(told.itt == iscsi::kReservedTag);
  CHECK(told.ttt == iscsi::kReservedTag);
  CHECK(told.sequence.max_cmd_sn == peer.cmd_sn + 7);
  CHECK(test_unit(peer).status == 0);
  CHECK(later.receive().opcode() == Opcode::nop_in);
}
