#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;
using Function = iscsi::TaskManagementFunction;

namespace {

void flush(Peer& peer) {
  peer.command(scsi::SynchronizeCache{}.build(), {});
  CHECK(end_of_next(peer).status == 0);
}

void write_good(Peer& peer, std::uint64_t lba, std::uint8_t value, bool fua = false) {
  write_block(peer, lba, value, fua);
  CHECK(end_of_next(peer).status == 0);
}

bool says_write_protected(Peer& peer) {
  peer.command(scsi::ModeSense{.page = 0x3f, .allocation_length = 64}.build(), {.read = true, .length = 64});
  const Pdu pdu = peer.receive();
  REQUIRE(pdu.opcode() == Opcode::data_in);
  return (pdu.data.at(2) & 0x80) != 0;
}

}  // namespace

TEST_CASE("faults: power loss takes what was neither flushed nor written with FUA") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  write_good(peer, 0, 1);
  write_good(peer, 1, 1);
  flush(peer);
  write_good(peer, 0, 2);
  write_good(peer, 2, 2, true);  // in the same block of 4096 as what will be lost
  write_good(peer, 3, 2);
  CHECK(stored(faulty, 0) == 2);
  faulty.post(FaultKind::power_loss);
  CHECK(stored(faulty, 0) == 1);
  CHECK(stored(faulty, 1) == 1);
  CHECK(stored(faulty, 2) == 2);
  CHECK(stored(faulty, 3) == 0);
}

TEST_CASE("faults: after a power loss every nexus is told, once, also one that was away") {
  Faulty faulty;
  const auto log_in_as = [&](Peer& peer, std::uint8_t number) {
    peer.isid[5] = number;
    peer.tsih = 0;
    peer.log_in();
  };
  Peer here(faulty.world);
  log_in_as(here, 1);
  {
    Peer away(faulty.world);
    log_in_as(away, 2);
    CHECK(test_unit(away).sense == 0x062900);
  }
  const auto id = faulty.post(FaultKind::power_loss);
  CHECK(faulty.posted(id).hits == 1);
  CHECK(here.engine().wants_reset());
  CHECK(faulty.world.server->sessions().empty());
  for (std::uint8_t number = 1; number <= 2; ++number) {
    {
      Peer first(faulty.world);
      log_in_as(first, number);  // leaves before it has asked
    }
    Peer again(faulty.world);
    log_in_as(again, number);
    CHECK(test_unit(again).sense == 0x062901);
    CHECK(test_unit(again).status == 0);
    CHECK(test_unit(again, kLun2).sense == 0x062901);
    again.disconnect();
    Peer later(faulty.world);
    log_in_as(later, number);
    CHECK(test_unit(later).sense == 0x062900);
    CHECK(test_unit(later, kLun2).sense == 0x062900);
  }
}

TEST_CASE("faults: a power loss without dropped connections: tasks vanish, attentions stay") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  Peer other(faulty.world);
  other.isid[5] = 9;
  other.log_in();
  other.clear_attentions();
  faulty.post(FaultKind::hang_task, [](Fault& f) { f.count = 1; });
  write_block(peer, 0, 1);
  CHECK(peer.empty());
  faulty.post(FaultKind::power_loss, [](Fault& f) {
    f.drop = false;
    f.asc = 0x29;
    f.ascq = 0x04;
  });
  CHECK(peer.empty());
  CHECK(peer.is_open());
  CHECK(faulty.world.server->counters().aborted == 1);
  CHECK(manage(peer, Function::logical_unit_reset, kLun1).sequence.max_cmd_sn == peer.cmd_sn + 7);
  CHECK(test_unit(peer).sense == 0x062904);  // the reset does not hide it
  CHECK(test_unit(peer).status == 0);
  CHECK(test_unit(peer, kLun2).sense == 0x062904);
  CHECK(test_unit(other).sense == 0x062904);
  CHECK(stored(faulty, 0) == 0);
}

TEST_CASE("faults: write protection, of one LUN or all, and what is said when it changes") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  CHECK_FALSE(says_write_protected(peer));
  const auto id = faulty.post(FaultKind::write_protect, [](Fault& f) { f.lun = 1; });
  CHECK(test_unit(peer).sense == 0x062a01);
  CHECK(says_write_protected(peer));
  write_block(peer, 0, 1);
  CHECK(end_of_next(peer).sense == 0x072700);
  peer.command(scsi::WriteSame{.blocks = 1, .no_data_out = true}.build(), {});
  CHECK(end_of_next(peer).sense == 0x072700);
  peer.command(Peer::read_cdb(0, 1), {.read = true, .length = 512});
  CHECK(peer.receive().opcode() == Opcode::data_in);
  CHECK(test_unit(peer, kLun2).status == 0);
  CHECK(faulty.posted(id).hits == 2);
  // A second one over it changes nothing, nor does its end.
  const auto all = faulty.post(FaultKind::write_protect);
  CHECK(test_unit(peer).status == 0);
  CHECK(test_unit(peer, kLun2).sense == 0x062a01);
  faulty.remove(all);
  CHECK(test_unit(peer).status == 0);
  CHECK(test_unit(peer, kLun2).sense == 0x062a01);
  faulty.remove(id);
  CHECK(test_unit(peer).sense == 0x062a01);
  CHECK_FALSE(says_write_protected(peer));
  write_block(peer, 0, 1);
  CHECK(end_of_next(peer).status == 0);

  // Used up is as good as deleted.
  faulty.post(FaultKind::write_protect, [](Fault& f) { f.lun = 1, f.count = 1; });
  CHECK(test_unit(peer).sense == 0x062a01);
  write_block(peer, 0, 2);
  CHECK(end_of_next(peer).sense == 0x072700);
  CHECK(test_unit(peer).sense == 0x062a01);
  CHECK_FALSE(says_write_protected(peer));
}

TEST_CASE("faults: a full pool refuses only what needs new space") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  constexpr std::uint64_t kPage = nbdgw::iscsi_target::MemoryMedium::kPageSize / 512;
  write_good(peer, 0, 1);  // the first page takes space from now on
  const auto id = faulty.post(FaultKind::thin_full);
  write_good(peer, 5, 2);
  write_block(peer, kPage, 3);
  CHECK(end_of_next(peer).sense == 0x072707);
  peer.command(Peer::write_cdb(kPage - 1, 2), {.write = true, .length = 1024}, kLun1, Bytes(1024, 3));
  CHECK(end_of_next(peer).sense == 0x072707);
  CHECK(stored(faulty, kPage - 1) == 0);
  // Zeroes that need no space, and such that do.
  const auto same = [&](bool unmap, std::uint8_t value) {
    peer.command(scsi::WriteSame{.lba = kPage, .blocks = 8, .unmap = unmap}.build(), {.write = true, .length = 512},
                 kLun1, Bytes(512, value));
    return end_of_next(peer).sense;
  };
  CHECK(same(true, 0) == 0);
  CHECK(same(true, 1) == 0x072707);
  CHECK(same(false, 0) == 0x072707);
  CHECK(faulty.posted(id).hits == 4);
  faulty.remove(id);
  write_good(peer, kPage, 3);
}
