#include <numeric>

#include "proto/scsi/capacity.hpp"
#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;

namespace {

Bytes page_of(Peer& peer, std::uint8_t page, std::uint64_t lun = kLun1) {
  peer.command(scsi::Inquiry{.evpd = true, .page = page, .allocation_length = 255}.build(),
               {.read = true, .length = 255}, lun);
  const Pdu pdu = peer.receive();
  return pdu.opcode() == Opcode::data_in ? pdu.data : Bytes{};
}

std::string serial_of(Peer& peer, std::uint64_t lun = kLun1) {
  const Bytes page = page_of(peer, 0x80, lun);
  return {page.begin() + 4, page.end()};
}

std::uint8_t write_same(Peer& peer, std::uint64_t lba, std::uint32_t blocks) {
  peer.command(scsi::WriteSame{.lba = lba, .blocks = blocks}.build(), {.write = true, .length = 512}, kLun1,
               Bytes(512, 0));
  return end_of_next(peer).status;
}

}  // namespace

TEST_CASE("faults: a LUN that says it is another disk, with and without a unit attention") {
  for (const bool told : {false, true}) {
    CAPTURE(told);
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    const std::string serial = serial_of(peer);
    const Bytes designators = page_of(peer, 0x83);
    const std::string beside = serial_of(peer, kLun2);
    const auto id = faulty.post(FaultKind::identity, [&](Fault& f) {
      f.lun = 1;
      f.serial = "OTHER";
      f.asc = told ? 0x3f : 0;
      f.ascq = told ? 0x0e : 0;
    });
    CHECK(serial_of(peer) == "OTHER");
    CHECK(page_of(peer, 0x83) != designators);
    CHECK(serial_of(peer, kLun2) == beside);
    CHECK(test_unit(peer).sense == (told ? 0x063f0e : 0));
    CHECK(test_unit(peer).status == 0);
    CHECK(test_unit(peer, kLun2).status == 0);
    faulty.remove(id);
    CHECK(serial_of(peer) == serial);
    CHECK(page_of(peer, 0x83) == designators);
    CHECK(test_unit(peer).status == 0);
  }
}

TEST_CASE("faults: a page of vital product data that is refused for a while") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  faulty.post(FaultKind::refuse_vpd, [](Fault& f) {
    f.lun = 1;
    f.page = 0x83;
    f.count = 2;
  });
  CHECK_FALSE(page_of(peer, 0x80).empty());
  CHECK_FALSE(page_of(peer, 0x83, kLun2).empty());
  CHECK(page_of(peer, 0x83).empty());
  peer.command(scsi::Inquiry{.evpd = true, .page = 0x83, .allocation_length = 255}.build(),
               {.read = true, .length = 255});
  CHECK(end_of_next(peer).sense == 0x052400);
  CHECK_FALSE(page_of(peer, 0x83).empty());
}

TEST_CASE("faults: a unit that counts the blocks of WRITE SAME in 16 bits") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto limit = [&] {
    const Bytes page = page_of(peer, 0xb0);
    return std::accumulate(page.begin() + 36, page.begin() + 44, 0U);
  };
  CHECK(limit() != 0);
  const auto id = faulty.post(FaultKind::write_same_16, [](Fault& f) { f.lun = 1; });
  CHECK(limit() == 0);
  for (const std::uint64_t lba : {1U, 2U, 131071U}) {
    write_block(peer, lba, 1);
    CHECK(end_of_next(peer).status == 0);
  }
  CHECK(write_same(peer, 0, 0x10002) == 0);
  CHECK(stored(faulty, 1) == 0);
  CHECK(stored(faulty, 2) == 1);
  CHECK(write_same(peer, 1, 0x10000) == 0);
  CHECK(stored(faulty, 2) == 0);
  CHECK(stored(faulty, 131071) == 0);
  CHECK(write_same(peer, 131072, 1) == 2);
  faulty.remove(id);
  CHECK(write_same(peer, 0, 0) == 2);
}

TEST_CASE("faults: a quiet target tells of a loss of power, and of nothing else that begins a session") {
  Faulty faulty;
  faulty.post(FaultKind::quiet_login);
  Peer first(faulty.world);
  first.log_in();
  CHECK(test_unit(first).status == 0);
  faulty.post(FaultKind::power_loss, [](Fault& f) { f.ascq = 0; });
  for (const bool told : {false, true}) {
    CAPTURE(told);
    Peer again(faulty.world);
    again.log_in();
    CHECK(test_unit(again).sense == (told ? 0 : 0x062900));
    CHECK(test_unit(again).status == 0);
  }
  first.disconnect();
}

TEST_CASE("two targets' names for the same disk") {
  Faulty faulty([](nbdgw::iscsi_target::ServerOptions& options) {
    for (auto& lun : options.targets[0].luns) lun.identity = options.targets[0].name;
    auto again = options.targets[0];
    again.name = "iqn.2026-11.io.nbdgw:again";
    options.targets.push_back(std::move(again));
  });
  const auto& targets = faulty.world.server->targets();
  REQUIRE(targets.size() == 2);
  CHECK(targets[0].units[0].serial() == targets[1].units[0].serial());
  CHECK(targets[0].units[0].naa() == targets[1].units[0].naa());
  CHECK(targets[0].units[0].naa() != targets[0].units[1].naa());
}

TEST_CASE("faults: a unit that tells another number of blocks, with and without a unit attention") {
  for (const bool told : {false, true}) {
    CAPTURE(told);
    Faulty faulty;
    Peer peer(faulty.world);
    peer.log_in();
    peer.clear_attentions();
    const auto blocks = [&] {
      peer.command(scsi::ReadCapacity16{.allocation_length = 32}.build(), {.read = true, .length = 32});
      const Pdu pdu = peer.receive();
      REQUIRE(pdu.opcode() == Opcode::data_in);
      return scsi::Capacity::parse16(pdu.data).value().last_lba + 1;
    };
    const std::uint64_t before = blocks();
    const auto id = faulty.post(FaultKind::capacity, [&](Fault& f) {
      f.lun = 1;
      f.blocks = 5'000'000;
      f.asc = told ? 0x2a : 0;
      f.ascq = told ? 0x09 : 0;
    });
    CHECK(test_unit(peer).sense == (told ? 0x062a09 : 0));
    CHECK(blocks() == 5'000'000);
    write_block(peer, before, 1);
    CHECK(end_of_next(peer).sense == 0x052100);
    faulty.remove(id);
    CHECK(blocks() == before);
    CHECK(test_unit(peer).status == 0);
  }
}
