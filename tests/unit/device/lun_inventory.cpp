#include "gateway/device/lun_inventory.hpp"

#include <numeric>

#include "tests/unit/device/fake_unit.hpp"

using namespace device_test;
using nbdgw::device::LunInventory;
using State = LunInventory::State;

namespace {

struct Inventory final : nbdgw::device::LunInventoryObserver {
  Inventory() : inventory(transport, this) {}

  void on_inventory_done(LunInventory&, Micros) override { ++done; }

  initiator::ScsiCommand& take() {
    REQUIRE(transport.queued.size() == 1);
    initiator::ScsiCommand& command = *transport.queued.front();
    transport.queued.pop_front();
    const auto question = scsi::ReportLuns::parse(command.cdb);
    REQUIRE(question);
    CHECK(question->allocation_length == command.data_length);
    CHECK(command.lun == 0);
    return command;
  }
  void end(initiator::ScsiCommand& command) { command.sink->on_command_done(command, now); }
  void answer(std::span<const std::uint8_t> data) {
    initiator::ScsiCommand& command = take();
    good(command, data);
    end(command);
  }

  FakeTransport transport;
  LunInventory inventory;
  Micros now = 5;
  int done = 0;
};

std::vector<std::uint64_t> luns_up_to(std::uint64_t count) {
  std::vector<std::uint64_t> luns(count);
  std::iota(luns.begin(), luns.end(), std::uint64_t{0});
  return luns;
}

}  // namespace

TEST_CASE("lun inventory: a short list, an empty one, and again") {
  Inventory bench;
  CHECK(bench.inventory.state() == State::idle);
  bench.inventory.start(bench.now);
  CHECK(bench.inventory.state() == State::asking);
  bench.answer(scsi::LunList::build(std::vector<std::uint64_t>{0, 1ULL << 48}));
  CHECK(bench.inventory.state() == State::done);
  CHECK(bench.inventory.luns().size() == 2);
  CHECK(bench.inventory.contains(1ULL << 48));
  CHECK(!bench.inventory.contains(2ULL << 48));
  CHECK(bench.done == 1);
  bench.inventory.start(bench.now);
  bench.answer(scsi::LunList::build({}));
  CHECK(bench.inventory.state() == State::done);
  CHECK(bench.inventory.luns().empty());
}

TEST_CASE("lun inventory: a list longer than expected is asked for again") {
  for (const std::uint64_t count : {255ULL, 256ULL, 5000ULL, 16384ULL}) {
    CAPTURE(count);
    Inventory bench;
    bench.inventory.start(bench.now);
    const auto data = scsi::LunList::build(luns_up_to(count));
    bench.answer(data);
    if (count > 255) bench.answer(data);
    CHECK(bench.inventory.state() == State::done);
    CHECK(bench.inventory.luns() == luns_up_to(count));
  }
  // Beyond the limit: what fits, and no endless asking for more.
  Inventory bench;
  bench.inventory.start(bench.now);
  const auto data = scsi::LunList::build(luns_up_to(LunInventory::kMaxLuns + 10));
  bench.answer(data);
  bench.answer(data);
  CHECK(bench.inventory.state() == State::done);
  CHECK(bench.inventory.luns().size() == LunInventory::kMaxLuns);
}

TEST_CASE("lun inventory: troubles") {
  Inventory bench;
  bench.inventory.start(bench.now);
  initiator::ScsiCommand& attention = bench.take();
  check_condition(attention, scsi::SenseKey::unit_attention, scsi::asc::kReportedLunsChanged);
  bench.end(attention);
  initiator::ScsiCommand& disrupted = bench.take();
  disrupted.outcome = initiator::Outcome::transport_disrupted;
  bench.end(disrupted);
  initiator::ScsiCommand& busy = bench.take();
  status(busy, scsi::Status::busy);
  bench.end(busy);
  CHECK(bench.transport.queued.empty());
  CHECK(bench.inventory.next_deadline() == bench.now + nbdgw::device::kFirstWait);
  bench.now = bench.inventory.next_deadline();
  bench.inventory.on_deadline(bench.now);
  bench.answer(scsi::LunList::build(luns_up_to(3)));
  CHECK(bench.inventory.luns().size() == 3);

  bench.inventory.start(bench.now);
  bench.answer({});
  CHECK(bench.inventory.state() == State::failed);
  CHECK(bench.inventory.failure() == "REPORT LUNS was answered with 0 bytes, too few for a list");
  bench.inventory.start(bench.now);
  initiator::ScsiCommand& refused = bench.take();
  check_condition(refused, scsi::SenseKey::illegal_request, scsi::asc::kInvalidOpcode);
  bench.end(refused);
  CHECK(bench.inventory.state() == State::failed);
  CHECK(bench.inventory.failure().find("invalid command operation code") != std::string::npos);
  bench.inventory.start(bench.now);
  initiator::ScsiCommand& lost = bench.take();
  lost.outcome = initiator::Outcome::path_lost;
  bench.end(lost);
  CHECK(bench.inventory.state() == State::failed);
  CHECK(bench.inventory.luns().empty());
  CHECK(bench.done == 4);
  CHECK(!bench.inventory.command_lent());
}
