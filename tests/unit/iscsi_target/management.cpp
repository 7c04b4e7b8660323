#include "tests/unit/iscsi_target/peer.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;
using nbdgw::iscsi_target::Gate;
using nbdgw::iscsi_target::Task;
using Function = iscsi::TaskManagementFunction;
using Result = iscsi::TaskManagementResult;

namespace {

constexpr std::uint64_t kLun1 = 1ULL << 48;
constexpr std::uint64_t kLun2 = 2ULL << 48;

/// Holds what it is told to hold.
class HoldingGate final : public Gate {
 public:
  Decision pass(Task& task, Passage passage, nbdgw::proto::Micros) override {
    if (!hold || passage != where) return Decision::proceed;
    held.push_back(&task);
    return Decision::hold;
  }
  void on_gone(Task& task) override { std::erase(held, &task); }

  bool hold = false;
  Passage where = Passage::execute;
  std::vector<Task*> held;
};

Result manage(Peer& peer, Function function, std::uint64_t lun, std::uint32_t tag = iscsi::kReservedTag,
              std::uint32_t ref_cmd_sn = 0) {
  peer.send(iscsi::TaskManagementRequest{.function = function,
                                         .lun = lun,
                                         .itt = 7000,
                                         .referenced_task_tag = tag,
                                         .cmd_sn = peer.cmd_sn,
                                         .ref_cmd_sn = ref_cmd_sn});
  const auto response = peer.receive_as<iscsi::TaskManagementResponse>(Opcode::task_management_response);
  CHECK(response.itt == 7000);
  return response.response;
}

std::uint8_t sense_of_next(Peer& peer, std::uint64_t lun, std::uint8_t& ascq) {
  peer.command(scsi::test_unit_ready(), {}, lun);
  const auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  if (response.status.status == 0) return 0;
  REQUIRE(peer.data.size() == 20);
  ascq = peer.data[2 + 13];
  return peer.data[2 + 12];
}

}  // namespace

TEST_CASE("management: ABORT TASK of a write that waits for data: it never lands") {
  World world;
  Peer peer(world);
  peer.log_in();
  peer.clear_attentions();
  const std::uint32_t cmd_sn = peer.cmd_sn;
  const std::uint32_t tag = peer.command(Peer::write_cdb(0, 8), {.write = true, .length = 4096});
  const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
  CHECK(manage(peer, Function::abort_task, kLun1, tag, cmd_sn + 1) == Result::rejected);
  CHECK(manage(peer, Function::abort_task, kLun2, tag, cmd_sn) == Result::task_does_not_exist);
  CHECK(manage(peer, Function::abort_task, kLun1, tag, cmd_sn) == Result::complete);
  peer.send(iscsi::DataOut{.final = true, .itt = tag, .ttt = r2t.ttt}, Bytes(4096, 1));
  CHECK(peer.empty());
  CHECK(peer.is_open());
  CHECK(world.disk1.pages() == 0);
  CHECK(world.server->counters().stray_data_out == 1);
  CHECK(world.server->counters().aborted == 1);
  CHECK(world.server->buffers().used() == 0);
  CHECK(manage(peer, Function::abort_task, kLun1, tag, cmd_sn) == Result::task_does_not_exist);
  // The window has opened again.
  peer.send(iscsi::NopOut{.itt = 800, .cmd_sn = peer.cmd_sn});
  CHECK(peer.receive_as<iscsi::NopIn>(Opcode::nop_in).sequence.max_cmd_sn == peer.cmd_sn + 7);
}

TEST_CASE("management: ABORT TASK of a command that was not received yet, and of a parked one") {
  World world;
  Peer peer(world);
  peer.log_in();
  peer.clear_attentions();
  const std::uint32_t base = peer.cmd_sn;
  // base: not received. base + 1: parked.
  auto missing = peer.command_pdu(Peer::write_cdb(0, 1), {.write = true, .length = 512});
  const std::uint32_t parked =
      peer.command(Peer::write_cdb(8, 1), {.write = true, .length = 512}, kLun1, Bytes(512, 2));
  peer.command(scsi::test_unit_ready(), {});
  CHECK(peer.empty());
  CHECK(manage(peer, Function::abort_task, kLun1, parked, base + 1) == Result::complete);
  CHECK(peer.empty());
  peer.send(iscsi::TaskManagementRequest{.function = Function::abort_task,
                                         .lun = kLun1,
                                         .itt = 7000,
                                         .referenced_task_tag = missing.itt,
                                         .cmd_sn = peer.cmd_sn,
                                         .ref_cmd_sn = base});
  // The number counts as received: the command behind it runs.
  CHECK(peer.receive_as<iscsi::TaskManagementResponse>(Opcode::task_management_response).response ==
        Result::complete);
  CHECK(peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response).status.status == 0);
  peer.send(missing, Bytes(512, 3));
  CHECK(peer.empty());
  CHECK(world.disk1.pages() == 0);
  CHECK(world.server->counters().ignored == 1);
}

TEST_CASE("management: ABORT TASK only reaches its own connection") {
  World world;
  Peer one(world);
  one.log_in(pairs({"MaxConnections=2"}));
  one.clear_attentions();
  Peer two(world);
  two.cid = 1;
  two.tsih = one.tsih;
  two.log_in();
  const std::uint32_t cmd_sn = one.cmd_sn;
  const std::uint32_t tag = one.command(Peer::write_cdb(0, 8), {.write = true, .length = 4096});
  one.receive_as<iscsi::R2t>(Opcode::r2t);
  two.cmd_sn = one.cmd_sn;
  CHECK(manage(two, Function::abort_task, kLun1, tag, cmd_sn) == Result::task_does_not_exist);
  CHECK(world.server->counters().aborted == 0);
}

TEST_CASE("management: task sets and resets, what they end and what they leave behind") {
  struct Case {
    Function function;
    bool ends_other_lun;
    bool ends_other_session;
    std::uint8_t own_asc;
    std::uint8_t other_asc;
    std::uint8_t other_ascq;
  };
  for (const Case& each : {
           Case{Function::abort_task_set, false, false, 0, 0, 0},
           Case{Function::clear_task_set, false, true, 0, 0x2f, 0x00},
           Case{Function::logical_unit_reset, false, true, 0x29, 0x29, 0x03},
           Case{Function::target_warm_reset, true, true, 0x29, 0x29, 0x03},
       }) {
    CAPTURE(static_cast<int>(each.function));
    World world;
    Peer mine(world);
    mine.log_in();
    mine.clear_attentions();
    Peer other(world);
    other.isid[5] = 9;
    other.log_in();
    other.clear_attentions();
    const auto wait = [](Peer& peer, std::uint64_t lun) {
      peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 512}, lun);
      return peer.receive_as<iscsi::R2t>(Opcode::r2t);
    };
    const auto finish = [](Peer& peer, const iscsi::R2t& r2t) {
      peer.send(iscsi::DataOut{.final = true, .itt = r2t.itt, .ttt = r2t.ttt}, Bytes(r2t.desired_length, 1));
      return !peer.empty() && peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response).status.status == 0;
    };
    const auto mine1 = wait(mine, kLun1);
    const auto mine2 = wait(mine, kLun2);
    const auto other1 = wait(other, kLun1);
    CHECK(manage(mine, each.function, kLun1) == Result::complete);
    CHECK_FALSE(finish(mine, mine1));
    CHECK(finish(mine, mine2) == !each.ends_other_lun);
    CHECK(finish(other, other1) == !each.ends_other_session);
    std::uint8_t ascq = 0;
    CHECK(sense_of_next(mine, kLun1, ascq) == each.own_asc);
    CHECK(sense_of_next(mine, kLun1, ascq) == 0);
    CHECK(sense_of_next(mine, kLun2, ascq) == (each.ends_other_lun ? 0x29 : 0));
    CHECK(sense_of_next(other, kLun1, ascq) == each.other_asc);
    CHECK(ascq == each.other_ascq);
    CHECK(sense_of_next(other, kLun1, ascq) == 0);
    CHECK(world.server->buffers().used() == 0);
  }
}

TEST_CASE("management: the unit attention of power on does not hide behind that of a reset") {
  World world;
  Peer peer(world);
  peer.log_in();
  std::uint8_t ascq = 0xff;
  CHECK(manage(peer, Function::logical_unit_reset, kLun1) == Result::complete);
  CHECK(sense_of_next(peer, kLun1, ascq) == 0x29);
  CHECK(ascq == 0x00);
  CHECK(sense_of_next(peer, kLun1, ascq) == 0);
  CHECK(manage(peer, Function::logical_unit_reset, kLun1) == Result::complete);
  CHECK(sense_of_next(peer, kLun1, ascq) == 0x29);
  CHECK(ascq == 0x03);
}

TEST_CASE("management: a cold reset ends all sessions, after its answer") {
  World world;
  Peer mine(world);
  mine.log_in();
  Peer other(world);
  other.isid[5] = 9;
  other.log_in();
  CHECK(manage(mine, Function::target_cold_reset, 0) == Result::complete);
  CHECK_FALSE(mine.is_open());
  CHECK_FALSE(other.is_open());
  CHECK(mine.reason() == "the target was reset");
  CHECK(world.server->sessions().empty());
}

TEST_CASE("management: what is not there and what is not done") {
  World world;
  Peer peer(world);
  peer.log_in();
  CHECK(manage(peer, Function::logical_unit_reset, 9ULL << 48) == Result::lun_does_not_exist);
  CHECK(manage(peer, Function::abort_task, 9ULL << 48, 5, 5) == Result::lun_does_not_exist);
  CHECK(manage(peer, Function::clear_aca, kLun1) == Result::not_supported);
  CHECK(manage(peer, Function::task_reassign, kLun1, 5) == Result::reassign_not_supported);
  CHECK(manage(peer, static_cast<Function>(99), kLun1) == Result::not_supported);
}

TEST_CASE("management: a reset waits for the commands before it that have not come in") {
  World world;
  Peer peer(world);
  peer.log_in();
  peer.clear_attentions();
  auto late = peer.command_pdu(Peer::write_cdb(0, 8), {.write = true, .length = 4096});
  peer.send(iscsi::TaskManagementRequest{
      .function = Function::logical_unit_reset, .lun = kLun1, .itt = 7000, .cmd_sn = peer.cmd_sn});
  CHECK(peer.empty());
  peer.send(late);
  // The write was received and ended by the reset; its R2T was never sent.
  CHECK(peer.receive_as<iscsi::TaskManagementResponse>(Opcode::task_management_response).response ==
        Result::complete);
  CHECK(peer.empty());
  CHECK(world.server->counters().aborted == 1);
}

TEST_CASE("management: what is held at the gate can be resumed or aborted, before and after it was executed") {
  for (const auto where : {Gate::Passage::execute, Gate::Passage::respond}) {
    HoldingGate gate;
    World world([](nbdgw::iscsi_target::ServerOptions&) {}, &gate);
    Peer peer(world);
    peer.log_in();
    peer.clear_attentions();
    gate.hold = true;
    gate.where = where;
    const std::uint32_t first = peer.cmd_sn;
    const auto tag1 = peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 512}, kLun1, Bytes(512, 1));
    const auto tag2 = peer.command(Peer::write_cdb(1, 1), {.write = true, .length = 512}, kLun1, Bytes(512, 2));
    CHECK(peer.empty());
    REQUIRE(gate.held.size() == 2);
    CHECK(world.disk1.pages() == (where == Gate::Passage::execute ? 0 : 1));
    CHECK(manage(peer, Function::abort_task, kLun1, tag1, first) == Result::complete);
    REQUIRE(gate.held.size() == 1);
    gate.hold = false;
    Task* task = gate.held[0];
    task->session->resume(*task, world.now);
    CHECK(peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response).itt == tag2);
    CHECK(peer.empty());
    gate.hold = true;
    peer.command(Peer::write_cdb(1, 1), {.write = true, .length = 512}, kLun1, Bytes(512, 2));
    gate.held.erase(gate.held.begin());
    REQUIRE(gate.held.size() == 1);
    peer.disconnect();
    CHECK(gate.held.empty());
    CHECK(world.server->buffers().used() == 0);
  }
}

TEST_CASE("management: a read that is half sent is cut off at a PDU, and its tag stays unanswered") {
  World world;
  Peer one(world);
  one.log_in(pairs({"MaxConnections=2"}));
  one.clear_attentions();
  Peer two(world);
  two.cid = 1;
  two.tsih = one.tsih;
  two.log_in();
  one.command(Peer::read_cdb(0, 8192), {.read = true, .length = 4 << 20});  // 512 Data-In, 64 made at a time
  std::array<iovec, 16> list;
  REQUIRE(one.engine().tx_buffers(list) > 0);
  one.engine().on_sent(100, world.now);
  two.cmd_sn = one.cmd_sn;
  CHECK(manage(two, Function::abort_task_set, kLun1) == Result::complete);
  CHECK(world.server->counters().aborted == 1);
  std::size_t rest = 0;
  for (std::size_t n = one.engine().tx_buffers(list); n > 0; n = one.engine().tx_buffers(list)) {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < n; ++i) sum += list[i].iov_len;
    one.engine().on_sent(sum, world.now);
    rest += sum;
  }
  CHECK(rest == 64 * (48 + 8192) - 100);
  CHECK(world.server->buffers().used() == 0);
  CHECK(one.is_open());
}
