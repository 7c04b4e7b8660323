#include "tests/unit/iscsi_target/peer.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;

namespace {

/// Two connections of one session, with nothing left to say on them.
struct Pair {
  explicit Pair(World& w) : world(w), one(w), two(w) {
    one.log_in(pairs({"MaxConnections=2", "InitialR2T=No"}));
    two.cid = 1;
    two.tsih = one.tsih;
    two.log_in();
    one.clear_attentions();
  }
  /// A non-immediate NOP with this CmdSN.
  void nop(Peer& peer, std::uint32_t cmd_sn) {
    peer.send(iscsi::NopOut{.immediate = false, .itt = cmd_sn, .cmd_sn = cmd_sn});
  }
  World& world;
  Peer one;
  Peer two;
};

}  // namespace

TEST_CASE("order: a hole over two connections is waited for, then all is executed in order") {
  World world;
  Pair pair(world);
  const std::uint32_t base = pair.one.cmd_sn;
  // base is missing; a write, and a read of the same block that was sent later on the other connection.
  Peer::Flags write{.write = true, .length = 512};
  auto pdu = pair.one.command_pdu(Peer::write_cdb(0, 1), write);
  pdu.cmd_sn = base + 1;
  pdu.itt = 1000;
  pair.one.send(pdu, Bytes(512, 0xaa));
  pdu = pair.two.command_pdu(Peer::read_cdb(0, 1), {.read = true, .length = 512});
  pdu.cmd_sn = base + 2;
  pdu.itt = 1001;
  pair.two.send(pdu);
  CHECK(pair.one.empty());
  CHECK(pair.two.empty());
  CHECK(world.server->counters().parked == 2);

  // What is immediate goes through at once, and tells where the hole is.
  pair.one.send(iscsi::NopOut{.itt = 5, .cmd_sn = base + 3});
  auto nop = pair.one.receive_as<iscsi::NopIn>(Opcode::nop_in);
  CHECK(nop.sequence.exp_cmd_sn == base);
  CHECK(nop.sequence.max_cmd_sn == base + 7);

  pair.nop(pair.two, base);
  CHECK(pair.two.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == base);
  CHECK(pair.one.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response).itt == 1000);
  const auto data_in = pair.two.receive_as<iscsi::DataIn>(Opcode::data_in);
  CHECK(data_in.itt == 1001);
  CHECK(data_in.has_status);
  CHECK(data_in.sequence.exp_cmd_sn == base + 3);
  CHECK(pair.two.data == Bytes(512, 0xaa));
}

TEST_CASE("order: outside the window and what was received before is ignored without a word") {
  World world;
  Pair pair(world);
  const std::uint32_t base = pair.one.cmd_sn;
  pair.nop(pair.one, base - 1);  // old
  pair.nop(pair.one, base + 8);  // beyond
  pair.nop(pair.one, base + 0x7fffffff);
  CHECK(pair.one.empty());
  CHECK(world.server->counters().ignored == 3);
  pair.nop(pair.one, base + 7);  // the last one allowed, parked
  pair.nop(pair.two, base + 7);  // the same on the other connection
  CHECK(world.server->counters().ignored == 4);
  for (std::uint32_t i = 0; i < 7; ++i) pair.nop(pair.two, base + i);
  for (std::uint32_t i = 0; i < 7; ++i) CHECK(pair.two.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == base + i);
  CHECK(pair.two.empty());
  const auto last = pair.one.receive_as<iscsi::NopIn>(Opcode::nop_in);
  CHECK(last.itt == base + 7);
  CHECK(last.sequence.exp_cmd_sn == base + 8);
  CHECK(pair.one.is_open());
  CHECK(pair.two.is_open());

  // An ignored command's data is read past, so that the stream stays in step.
  auto pdu = pair.one.command_pdu(Peer::write_cdb(0, 1), {.write = true, .length = 512});
  pdu.cmd_sn = base;
  pair.one.send(pdu, Bytes(512, 1));
  pair.one.send(iscsi::NopOut{.itt = 9, .cmd_sn = base + 8});
  CHECK(pair.one.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == 9);
  CHECK(world.disk1.pages() == 0);
}

TEST_CASE("order: the same number arriving twice while its data is on the way is executed once") {
  World world;
  Pair pair(world);
  const std::uint32_t base = pair.one.cmd_sn;
  auto pdu = pair.one.command_pdu(Peer::write_cdb(0, 1), {.write = true, .length = 512});
  const Bytes bytes = pair.one.bytes_of(pdu, Bytes(512, 0xbb));
  pair.one.feed(Bytes(bytes.begin(), bytes.begin() + 100));  // in the middle of its data
  pair.nop(pair.two, base);
  CHECK(pair.two.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == base);
  pair.one.feed(Bytes(bytes.begin() + 100, bytes.end()));
  CHECK(pair.one.empty());
  CHECK(world.server->counters().ignored == 1);
  CHECK(world.disk1.pages() == 0);
}

TEST_CASE("order: the window closes with commands that are not answered, and opens with their answers") {
  World world;
  Pair pair(world);
  const std::uint32_t base = pair.one.cmd_sn;
  // Eight writes that wait for data.
  for (int i = 0; i < 8; ++i)
    pair.one.command(Peer::write_cdb(8 * static_cast<unsigned>(i), 1), {.write = true, .length = 512});
  std::vector<iscsi::R2t> r2ts;
  for (int i = 0; i < 8; ++i) r2ts.push_back(pair.one.receive_as<iscsi::R2t>(Opcode::r2t));
  CHECK(r2ts.back().sequence.exp_cmd_sn == base + 8);
  CHECK(r2ts.back().sequence.max_cmd_sn == base + 7);  // closed
  pair.nop(pair.one, base + 8);
  CHECK(world.server->counters().ignored == 1);
  // Answers in another order than the commands.
  for (const int i : {3, 0, 7}) {
    const auto& r2t = r2ts[static_cast<std::size_t>(i)];
    pair.one.send(iscsi::DataOut{.final = true, .itt = r2t.itt, .ttt = r2t.ttt}, Bytes(512, 1));
    CHECK(pair.one.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response).itt == r2t.itt);
  }
  pair.two.send(iscsi::NopOut{.itt = 900, .cmd_sn = base + 8});
  const auto nop = pair.two.receive_as<iscsi::NopIn>(Opcode::nop_in);
  CHECK(nop.sequence.exp_cmd_sn == base + 8);
  CHECK(nop.sequence.max_cmd_sn == base + 10);
}

TEST_CASE("order: numbers may wrap") {
  World world;
  Peer peer(world);
  peer.cmd_sn = 0xfffffffd;
  peer.log_in();
  for (int i = 0; i < 40; ++i) {
    peer.command(scsi::test_unit_ready(), {});
    const auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
    CHECK(response.sequence.exp_cmd_sn == peer.cmd_sn);
    CHECK(response.sequence.max_cmd_sn == peer.cmd_sn + 7);
    CHECK(response.sequence.stat_sn == peer.stat_sn++);
  }
}

TEST_CASE("order: a connection dies with parked commands: they are gone, and their numbers can be used again") {
  World world;
  Pair pair(world);
  const std::uint32_t base = pair.one.cmd_sn;
  auto pdu = pair.two.command_pdu(Peer::write_cdb(0, 1), {.write = true, .length = 512});
  pdu.cmd_sn = base + 1;
  pdu.itt = 500;
  pair.two.send(pdu, Bytes(512, 0xcc));
  pair.two.disconnect();
  pair.nop(pair.one, base);
  const auto nop = pair.one.receive_as<iscsi::NopIn>(Opcode::nop_in);
  CHECK(nop.sequence.exp_cmd_sn == base + 1);
  CHECK(world.disk1.pages() == 0);
  pair.nop(pair.one, base + 1);
  CHECK(pair.one.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == base + 1);
  CHECK(world.server->counters().aborted == 1);
}

TEST_CASE("order: too many immediate requests are rejected, a used tag costs the connection") {
  World world;
  Peer peer(world);
  peer.log_in();
  peer.clear_attentions();
  const Peer::Flags flags{.write = true, .immediate = true, .length = 512};
  for (std::uint32_t i = 0; i < nbdgw::iscsi_target::kMaxImmediateTasks; ++i)
    peer.command(Peer::write_cdb(0, 1), flags);
  for (std::uint32_t i = 0; i < nbdgw::iscsi_target::kMaxImmediateTasks; ++i)
    peer.receive_as<iscsi::R2t>(Opcode::r2t);
  peer.command(Peer::write_cdb(0, 1), flags);
  CHECK(peer.receive_as<iscsi::Reject>(Opcode::reject).reason == iscsi::RejectReason::immediate_command_reject);
  CHECK(peer.is_open());
  auto pdu = peer.command_pdu(scsi::test_unit_ready(), {});
  pdu.itt = 4;
  peer.send(pdu);
  CHECK_FALSE(peer.is_open());
  CHECK(peer.reason().find("task tag") != std::string::npos);
}
