#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using nbdgw::iscsi_target::find_command_group;
using nbdgw::iscsi_target::find_fault;

namespace {

/// Which of `n` commands a fault hits: one character each.
std::string hits(Faulty& faulty, Peer& peer, std::uint32_t id, int n) {
  std::string pattern;
  for (int i = 0; i < n; ++i) {
    const auto before = faulty.posted(id).hits;
    const bool busy = test_unit(peer).status == 0x08;
    CHECK(faulty.posted(id).hits == before + (busy ? 1 : 0));
    pattern += busy ? 'x' : '.';
  }
  return pattern;
}

}  // namespace

TEST_CASE("faults: count, skip and probability choose among the matches") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  const auto pattern = [&](auto change, int n) {
    const auto id = faulty.post(FaultKind::busy, change);
    const std::string result = hits(faulty, peer, id, n);
    faulty.remove(id);
    return result;
  };
  CHECK(pattern([](Fault& f) { f.count = 2; }, 5) == "xx...");
  CHECK(pattern([](Fault& f) { f.skip = 2; }, 5) == "..xxx");
  CHECK(pattern([](Fault& f) { f.skip = 1, f.count = 1; }, 4) == ".x..");
  CHECK(pattern([](Fault& f) { f.probability = 0; }, 100).find('x') == std::string::npos);
  const auto half = [](std::uint64_t seed) { return [seed](Fault& f) { f.probability = 0.5, f.seed = seed; }; };
  const std::string one = pattern(half(1), 200);
  CHECK(pattern(half(1), 200) == one);
  CHECK(pattern(half(2), 200) != one);
  const auto number = std::count(one.begin(), one.end(), 'x');
  CHECK(number > 70);  // 100 are expected; 4 standard deviations are 28
  CHECK(number < 130);
}

TEST_CASE("faults: a scope leaves alone what is outside of it") {
  Faulty faulty;
  Peer one(faulty.world);
  one.log_in(pairs({"MaxConnections=2"}));
  one.clear_attentions();
  Peer two(faulty.world);
  two.cid = 1;
  two.tsih = one.tsih;
  two.log_in();
  const auto busy = [&](Peer& peer, const scsi::Cdb& cdb, Peer::Flags flags, std::uint64_t lun) {
    peer.cmd_sn = std::max(one.cmd_sn, two.cmd_sn);
    peer.itt = std::max(one.itt, two.itt);
    peer.command(cdb, flags, lun);
    const Pdu pdu = peer.receive();
    if (pdu.opcode() == iscsi::Opcode::data_in) return false;
    REQUIRE(pdu.opcode() == iscsi::Opcode::scsi_response);
    return pdu.as<iscsi::ScsiResponse>().status.status == 0x08;
  };
  const auto tur = scsi::test_unit_ready();
  const auto read16 = scsi::ReadWrite{.lba = 0, .blocks = 1}.build();
  scsi::Cdb read10 = read16;
  read10.bytes = {0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};
  const Peer::Flags in{.read = true, .length = 4096};

  auto id = faulty.post(FaultKind::busy, [](Fault& f) { f.lun = 2; });
  CHECK_FALSE(busy(one, tur, {}, kLun1));
  CHECK(busy(one, tur, {}, kLun2));
  CHECK_FALSE(busy(one, tur, {}, 3ULL << 48));
  faulty.remove(id);
  id = faulty.post(FaultKind::busy, [](Fault& f) { f.cid = 1; });
  CHECK_FALSE(busy(one, tur, {}, kLun1));
  CHECK(busy(two, tur, {}, kLun1));
  faulty.remove(id);
  id = faulty.post(FaultKind::busy, [](Fault& f) { f.opcode = 0x28; });
  CHECK(busy(one, read10, in, kLun1));
  CHECK_FALSE(busy(one, read16, in, kLun1));
  faulty.remove(id);
  id = faulty.post(FaultKind::busy, [](Fault& f) { f.group = CommandGroup::read; });
  CHECK(busy(one, read10, in, kLun1));
  CHECK(busy(one, read16, in, kLun1));
  CHECK_FALSE(busy(one, tur, {}, kLun1));
  faulty.remove(id);
  // All of a scope has to fit.
  id = faulty.post(FaultKind::busy, [](Fault& f) { f.lun = 2, f.cid = 1, f.group = CommandGroup::test_unit_ready; });
  CHECK_FALSE(busy(one, tur, {}, kLun2));
  CHECK_FALSE(busy(two, tur, {}, kLun1));
  CHECK_FALSE(busy(two, read10, in, kLun2));
  CHECK(busy(two, tur, {}, kLun2));
  CHECK(faulty.posted(id).hits == 1);
}

TEST_CASE("faults: the first that was posted decides, and only it is used up") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  faulty.post(FaultKind::busy, [](Fault& f) { f.count = 1; });
  const auto second = faulty.post(FaultKind::task_set_full, [](Fault& f) { f.count = 1; });
  CHECK(test_unit(peer).status == 0x08);
  CHECK(faulty.posted(second).hits == 0);
  CHECK(test_unit(peer).status == 0x28);
  CHECK(test_unit(peer).status == 0);
  // A delay comes on top.
  faulty.post(FaultKind::busy, [](Fault& f) { f.count = 1; });
  faulty.post(FaultKind::delay, [](Fault& f) { f.delay_ms = 1, f.count = 1; });
  peer.command(scsi::test_unit_ready(), {});
  CHECK(peer.empty());
  faulty.pass_time(1000);
  CHECK(end_of_next(peer).status == 0x08);
}

TEST_CASE("faults: they are limited, and so is what they hold") {
  Faulty faulty([](nbdgw::iscsi_target::ServerOptions& o) { o.queue_depth = 1024; });
  for (std::size_t i = 0; i < Faults::kMaxFaults - 1; ++i) faulty.post(FaultKind::busy, [](Fault& f) { f.lun = 9; });
  faulty.post(FaultKind::hang_lun, [](Fault& f) { f.lun = 2; });
  CHECK(faulty.faults.add(default_fault(nbdgw::iscsi_target::traits(FaultKind::busy)), faulty.world.now) == nullptr);

  std::vector<std::unique_ptr<Peer>> peers;
  std::size_t hung = 0;
  for (std::uint8_t i = 0; i < 5; ++i) {
    Peer& peer = *peers.emplace_back(std::make_unique<Peer>(faulty.world));
    peer.isid[5] = static_cast<std::uint8_t>(10 + i);
    peer.log_in();
    for (int n = 0; n < 1000; ++n) {
      peer.command(scsi::test_unit_ready(), {}, kLun2);
      if (peer.empty()) ++hung;
      while (!peer.empty()) peer.receive();
    }
  }
  CHECK(hung == Faults::kMaxHeld);
  faulty.faults.clear(faulty.world.now);
  CHECK(faulty.faults.posted().empty());
  std::size_t answered = 0;
  for (auto& peer : peers)
    for (; !peer->empty(); peer->receive()) ++answered;
  CHECK(answered == hung);
}

TEST_CASE("faults: every kind has its name and its defaults") {
  for (const auto& each : nbdgw::iscsi_target::all_fault_traits()) {
    CHECK(find_fault(each.name) == &each);
    CHECK(&nbdgw::iscsi_target::traits(each.kind) == &each);
    CHECK(default_fault(each).kind == each.kind);
  }
  CHECK(find_fault("hang") == nullptr);
  CHECK(default_fault(*find_fault("power_loss")).asc == 0x29);
  CHECK(default_fault(*find_fault("power_loss")).drop);
  CHECK(find_command_group("flush") == CommandGroup::flush);
  CHECK_FALSE(find_command_group("flash"));
  CHECK(is_in(CommandGroup::flush, 0x91));
  CHECK_FALSE(is_in(CommandGroup::flush, 0x00));  // of the table only what is filled in counts
}
