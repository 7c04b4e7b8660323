#include "gateway/device/logical_unit.hpp"

#include "tests/unit/device/probe_script.hpp"

using namespace device_test;
using nbdgw::device::Medium;
using nbdgw::proto::kNever;

TEST_CASE("logical unit: a good probe") {
  Bench bench;
  CHECK(bench.unit.state() == State::idle);
  CHECK(!bench.unit.has_facts());
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.steps == std::vector<State>{State::test_unit_ready, State::inquiry, State::vpd_supported,
                                          State::vpd_serial, State::vpd_identification, State::vpd_limits,
                                          State::vpd_medium, State::vpd_provisioning, State::capacity_16,
                                          State::mode_6});
  CHECK(bench.unit.state() == State::ready);
  CHECK(bench.probes_done == 1);
  CHECK(bench.unit.failure().empty());
  CHECK(bench.unit.next_deadline() == kNever);
  CHECK(!bench.unit.command_lent());
  CHECK(!bench.notes.any());
  const Facts& facts = bench.unit.facts();
  CHECK(facts.block_length == 512);
  CHECK(facts.blocks == 2'000'000);
  CHECK(facts.capacity_bytes() == 1'024'000'000);
  CHECK(facts.physical_block_length == 4096);
  CHECK(facts.vendor == "NBDGW");
  CHECK(facts.product == "a disk");
  CHECK(facts.revision == "1.0");
  CHECK(facts.serial == "S123");
  CHECK(facts.identifier == "naa.6001405a");
  CHECK(!facts.write_protected);
  CHECK(facts.dpofua);
  CHECK(!facts.write_cache);
  CHECK(facts.medium == Medium::solid_state);
  CHECK(facts.lbpme);
  CHECK(facts.lbprz);
  CHECK(facts.lbpu);
  CHECK(facts.lbpws);
  CHECK(facts.max_transfer == 4096);
  CHECK(facts.optimal_transfer == 128);
  CHECK(facts.max_unmap_lba_count == 100'000);
  CHECK(facts.max_unmap_descriptors == 1);
  CHECK(facts.unmap_granularity == 8);
  CHECK(facts.unmap_alignment == 3);
  CHECK(facts.max_write_same == 20'000);
  CHECK(facts.write_same);
}

TEST_CASE("logical unit: only listed pages are asked for, what is not told is assumed safe") {
  Bench bench;
  bench.disk.pages = {};
  bench.disk.knows_capacity_16 = false;
  bench.disk.knows_mode_6 = false;
  bench.disk.knows_mode_10 = false;
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.steps == std::vector<State>{State::test_unit_ready, State::inquiry, State::vpd_supported,
                                          State::capacity_16, State::capacity_10, State::mode_6, State::mode_10,
                                          State::mode_all});
  REQUIRE(bench.unit.state() == State::ready);
  const Facts& facts = bench.unit.facts();
  CHECK(facts.blocks == 2'000'000);
  CHECK(facts.physical_block_length == 512);
  CHECK(facts.write_cache);
  CHECK(!facts.dpofua);
  CHECK(!facts.write_protected);
  CHECK(facts.medium == Medium::unknown);
  CHECK(!facts.lbpme);
  CHECK(facts.unmap_granularity == 1);
  CHECK(facts.max_transfer == 0);
  CHECK(!can_unmap(facts));
}

TEST_CASE("logical unit: MODE SENSE falls back") {
  const Facts good = facts_of_a_good_probe();
  Bench ten;
  ten.disk.knows_mode_6 = false;
  ten.unit.probe(ten.now);
  ten.run();
  CHECK(ten.steps.back() == State::mode_10);
  CHECK(same(ten.unit.facts(), good));

  Bench header;
  header.disk.knows_caching_page = false;
  header.disk.mode.write_protected = true;
  header.unit.probe(header.now);
  header.run();
  CHECK(header.steps.back() == State::mode_all);
  CHECK(header.unit.facts().write_protected);
  CHECK(header.unit.facts().dpofua);
  CHECK(header.unit.facts().write_cache);
}

TEST_CASE("logical unit: kinds of medium") {
  for (const auto& [rate, medium] :
       std::initializer_list<std::pair<std::uint16_t, Medium>>{{0, Medium::unknown},
                                                               {1, Medium::solid_state},
                                                               {2, Medium::unknown},
                                                               {0x400, Medium::unknown},
                                                               {7200, Medium::rotating},
                                                               {0xffff, Medium::unknown}}) {
    Bench bench;
    bench.disk.characteristics.rotation_rate = rate;
    bench.unit.probe(bench.now);
    bench.run();
    CHECK(bench.unit.facts().medium == medium);
    CHECK(bench.unit.facts().rotation_rate == (medium == Medium::rotating ? rate : 0));
  }
}

TEST_CASE("logical unit: absurd limits are tamed") {
  Bench bench;
  bench.disk.limits.optimal_unmap_granularity = 0;
  bench.disk.limits.unmap_granularity_alignment = 0x7fffffff;
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.facts().unmap_granularity == 1);
  CHECK(bench.unit.facts().unmap_alignment == 0);
}

TEST_CASE("logical unit: what is not a disk that can be served") {
  struct Row {
    const char* name;
    std::function<void(FakeDisk&)> change;
    Failure failure;
    const char* text;
  };
  const Row rows[] = {
      {"qualifier 1", [](FakeDisk& d) { d.inquiry.qualifier = 1; }, Failure::not_there,
       "LUN 1: the target has no unit there (peripheral qualifier 1); check the LUN and its mapping"},
      {"qualifier 3",
       [](FakeDisk& d) {
         d.inquiry.qualifier = 3;
         d.inquiry.device_type = 0x1f;
       },
       Failure::not_there, nullptr},
      {"tgtd's LUN 0", [](FakeDisk& d) { d.inquiry.device_type = 0x0c; }, Failure::not_a_disk,
       "LUN 1: this is a storage array controller, not a disk; check the LUN"},
      {"RBC", [](FakeDisk& d) { d.inquiry.device_type = 0x0e; }, Failure::not_a_disk, nullptr},
      {"a type without a name", [](FakeDisk& d) { d.inquiry.device_type = 0x13; }, Failure::not_a_disk,
       "LUN 1: this is a device of type 19, not a disk; check the LUN"},
      {"block length 0", [](FakeDisk& d) { d.capacity.block_length = 0; }, Failure::geometry, nullptr},
      {"block length 256", [](FakeDisk& d) { d.capacity.block_length = 256; }, Failure::geometry, nullptr},
      {"block length 520", [](FakeDisk& d) { d.capacity.block_length = 520; }, Failure::geometry,
       "LUN 1: its blocks are 520 bytes long; only powers of two from 512 to 65536 can be served"},
      {"block length 128 KiB", [](FakeDisk& d) { d.capacity.block_length = 128 * 1024; }, Failure::geometry, nullptr},
      {"absurd size", [](FakeDisk& d) { d.capacity.last_lba = ~0ULL; }, Failure::geometry, nullptr},
      {"size of 2^63 bytes", [](FakeDisk& d) { d.capacity.last_lba = (1ULL << 54) - 1; }, Failure::geometry, nullptr},
      {"large without READ CAPACITY(16)",
       [](FakeDisk& d) {
         d.capacity.last_lba = 1ULL << 33;
         d.knows_capacity_16 = false;
       },
       Failure::geometry, nullptr},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    Bench bench;
    row.change(bench.disk);
    bench.unit.probe(bench.now);
    bench.run();
    CHECK(bench.unit.state() == State::failed);
    CHECK(bench.unit.failure_reason() == row.failure);
    if (row.text != nullptr) CHECK(bench.unit.failure() == row.text);
    CHECK(bench.unit.failure().starts_with("LUN 1: "));
    CHECK(bench.probes_done == 1);
    CHECK(!bench.unit.has_facts());
    // Mended by the administrator: found out without being told.
    bench.disk = FakeDisk();
    CHECK(bench.unit.next_deadline() == bench.now + LogicalUnit::kReprobeDelay);
    bench.wait();
    bench.run();
    CHECK(bench.unit.state() == State::ready);
    CHECK(bench.unit.failure_reason() == Failure::none);
    CHECK(bench.probes_done == 2);
  }
  for (const std::uint32_t length : {512U, 1024U, 2048U, 4096U, 65536U}) {
    Bench bench;
    bench.disk.capacity.block_length = length;
    bench.unit.probe(bench.now);
    bench.run();
    CHECK(bench.unit.facts().block_length == length);
  }
}

TEST_CASE("logical unit: a target that never tells how much less it had to say than it was asked for") {
  Bench bench;
  bench.disk.tells_residual = false;
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(same(bench.unit.facts(), facts_of_a_good_probe()));
  // Each command was sent once.
  CHECK(bench.transport.count == static_cast<int>(bench.steps.size()));
  CHECK(std::ranges::adjacent_find(bench.steps) == bench.steps.end());
}

TEST_CASE("logical unit: a LUN in another form is named in full") {
  FakeTransport transport;
  LogicalUnit unit(transport, 0x0102'0000'0000'0000ULL);
  unit.probe(0);
  initiator::ScsiCommand& command = *transport.queued.front();
  command.outcome = initiator::Outcome::path_lost;
  command.sink->on_command_done(command, 1);
  CHECK(unit.failure() == "LUN 0x0102000000000000: the iSCSI session ended while the unit was probed");
}
