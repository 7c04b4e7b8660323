#include "gateway/device/logical_unit.hpp"

#include "tests/unit/device/probe_script.hpp"

using namespace device_test;
using nbdgw::device::Medium;
using nbdgw::proto::kNever;

namespace {

Facts facts_of_a_good_probe() {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  return bench.unit.facts();
}

}  // namespace

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

TEST_CASE("logical unit: no such unit, and one that is not ready") {
  Bench bench;
  bench.unit.probe(bench.now);
  initiator::ScsiCommand* command = bench.transport.queued.front();
  bench.transport.queued.clear();
  check_condition(*command, scsi::SenseKey::illegal_request, scsi::asc::kLogicalUnitNotSupported);
  command->sink->on_command_done(*command, bench.now);
  CHECK(bench.unit.failure_reason() == Failure::not_there);
  CHECK(bench.notes.inventory_changed);

  bench.unit.probe(bench.now);
  command = bench.transport.queued.front();
  bench.transport.queued.clear();
  check_condition(*command, scsi::SenseKey::not_ready, scsi::asc::kManualInterventionRequired);
  command->sink->on_command_done(*command, bench.now);
  CHECK(bench.unit.failure_reason() == Failure::not_ready);

  // Becoming ready is waited for, for as long as the table says.
  bench.unit.probe(bench.now);
  const nbdgw::proto::Micros begun = bench.now;
  for (int i = 0; i <= nbdgw::device::kMaxWaits; ++i) {
    REQUIRE(bench.unit.state() == State::test_unit_ready);
    if (i > 0) bench.wait();
    command = bench.transport.queued.front();
    bench.transport.queued.clear();
    check_condition(*command, scsi::SenseKey::not_ready, scsi::asc::kBecomingReady);
    command->sink->on_command_done(*command, bench.now);
  }
  CHECK(bench.unit.failure_reason() == Failure::not_ready);
  CHECK(bench.now - begun > 110 * nbdgw::proto::kSecond);
}

TEST_CASE("logical unit: each step goes wrong once, in each way") {
  const Facts good = facts_of_a_good_probe();
  for (const State step : kSteps) {
    for (const Fault fault : kFaults) {
      CAPTURE(to_string(step));
      CAPTURE(static_cast<int>(fault));
      Bench bench;
      // So that every step is reached.
      if (step == State::capacity_10) bench.disk.knows_capacity_16 = false;
      if (step == State::mode_10) bench.disk.knows_mode_6 = false;
      if (step == State::mode_all) bench.disk.knows_caching_page = false;
      Bench reference;
      reference.disk = bench.disk;
      reference.unit.probe(reference.now);
      reference.run();
      REQUIRE(reference.unit.state() == State::ready);

      bench.plan(step, fault);
      bench.unit.probe(bench.now);
      bench.run();
      REQUIRE(bench.faults[step].second == 0);
      CHECK(bench.transport.queued.empty());
      CHECK(!bench.unit.command_lent());
      CHECK(bench.probes_done == 1);
      CHECK(bench.notes.cache_may_be_lost == (fault == Fault::unit_attention));
      CHECK(bench.notes.queue_full == (fault == Fault::busy));

      const bool passes = fault == Fault::unit_attention || fault == Fault::busy || fault == Fault::aborted ||
                          fault == Fault::transport_disrupted || fault == Fault::bad_target;
      const bool answers_needed = step == State::inquiry || step == State::capacity_10;
      const bool no_data_needed = step == State::test_unit_ready;
      if (fault == Fault::path_lost) {
        CHECK(bench.unit.state() == State::failed);
        CHECK(bench.unit.failure_reason() == Failure::path_lost);
        CHECK(bench.unit.next_deadline() == kNever);
      } else if (passes) {
        REQUIRE(bench.unit.state() == State::ready);
        CHECK(same(bench.unit.facts(), reference.unit.facts()));
        const auto begun = std::count(bench.steps.begin(), bench.steps.end(), State::test_unit_ready);
        const bool twice = fault == Fault::transport_disrupted || no_data_needed;
        CHECK(begun == (twice ? 2 : 1));
      } else if (answers_needed ||
                 (no_data_needed && fault != Fault::illegal_request && fault != Fault::short_data)) {
        CHECK(bench.unit.state() == State::failed);
        CHECK(bench.unit.failure_reason() == Failure::command_failed);
        CHECK(bench.unit.next_deadline() == bench.now + LogicalUnit::kReprobeDelay);
      } else {
        CHECK(bench.unit.state() == State::ready);
        CHECK(bench.unit.facts().blocks == good.blocks);
        if (no_data_needed) CHECK(same(bench.unit.facts(), good));
      }
    }
  }
}

TEST_CASE("logical unit: each step goes wrong for ever, and the probe still ends") {
  for (const State step : kSteps) {
    for (const Fault fault : kFaults) {
      if (fault == Fault::transport_disrupted) continue;  // how long that may last is the session's to decide
      CAPTURE(to_string(step));
      CAPTURE(static_cast<int>(fault));
      Bench bench;
      if (step == State::capacity_10) bench.disk.knows_capacity_16 = false;
      if (step == State::mode_10) bench.disk.knows_mode_6 = false;
      if (step == State::mode_all) bench.disk.knows_caching_page = false;
      bench.plan(step, fault, 1'000'000);
      bench.unit.probe(bench.now);
      bench.run();
      CHECK(bench.probes_done == 1);
      const bool required = step == State::test_unit_ready || step == State::inquiry || step == State::capacity_10;
      const bool harmless =
          step == State::test_unit_ready && (fault == Fault::illegal_request || fault == Fault::short_data);
      const bool fails = fault == Fault::path_lost || (required && !harmless);
      CHECK(bench.unit.state() == (fails ? State::failed : State::ready));
      CHECK(bench.unit.failure().empty() == !fails);
    }
  }
}

TEST_CASE("logical unit: many losses of the session in a row") {
  Bench bench;
  bench.plan(State::mode_6, Fault::transport_disrupted, 50);
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(same(bench.unit.facts(), facts_of_a_good_probe()));
}

TEST_CASE("logical unit: the capacity alone is read again") {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  bench.steps.clear();
  bench.disk.capacity.last_lba = 4'000'000 - 1;
  bench.disk.serial = "changed, but not asked for";
  Notes notes;
  notes.capacity_changed = true;
  bench.unit.note(notes, bench.now);
  CHECK(bench.unit.has_facts());
  CHECK(bench.unit.facts().blocks == 2'000'000);
  bench.run();
  CHECK(bench.steps == std::vector<State>{State::capacity_16});
  CHECK(bench.unit.state() == State::ready);
  CHECK(bench.unit.facts().blocks == 4'000'000);
  CHECK(bench.unit.facts().serial == "S123");
  CHECK(bench.probes_done == 2);

  // By the 10-byte command.
  bench.disk.knows_capacity_16 = false;
  bench.disk.capacity.last_lba = 1'000'000 - 1;
  bench.unit.refresh_capacity(bench.now);
  bench.run();
  CHECK(bench.unit.facts().blocks == 1'000'000);
  CHECK(bench.unit.facts().lbpme);

  // It does not work out: the old facts stay, with a reason.
  bench.plan(State::capacity_10, Fault::medium_error);
  bench.unit.refresh_capacity(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(bench.unit.facts().blocks == 1'000'000);
  CHECK(bench.unit.failure_reason() == Failure::command_failed);
  bench.unit.refresh_capacity(bench.now);
  bench.run();
  CHECK(bench.unit.failure().empty());

  // Blocks of another length are another disk.
  bench.disk.capacity.block_length = 4096;
  bench.unit.refresh_capacity(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::failed);
  CHECK(bench.unit.failure_reason() == Failure::geometry);
  CHECK(bench.unit.facts().block_length == 512);
}

TEST_CASE("logical unit: the capacity changes after the probe has read it") {
  for (const State step : {State::test_unit_ready, State::vpd_serial, State::capacity_16, State::mode_6}) {
    CAPTURE(to_string(step));
    Bench bench;
    bench.attention = scsi::asc::kCapacityChanged;
    bench.plan(step, Fault::unit_attention);
    bench.unit.probe(bench.now);
    while (!bench.transport.queued.empty()) {
      if (bench.unit.state() == step) bench.disk.capacity.last_lba = 999;
      bench.answer_one();
    }
    CHECK(bench.unit.state() == State::ready);
    CHECK(bench.unit.facts().blocks == 1000);
    CHECK(bench.probes_done == 1);
    const auto reads = std::count(bench.steps.begin(), bench.steps.end(), State::capacity_16);
    CHECK(reads == (step == State::mode_6 || step == State::capacity_16 ? 2 : 1));
  }
}

TEST_CASE("logical unit: it changes while it is probed") {
  Bench bench;
  bench.attention = scsi::asc::kInquiryDataChanged;
  bench.plan(State::vpd_limits, Fault::unit_attention);
  bench.unit.probe(bench.now);
  REQUIRE(bench.run_to(State::vpd_limits));
  bench.disk.inquiry.revision = "2.0";
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(bench.unit.facts().revision == "2.0");

  // A unit that never stops saying so is taken as it is.
  Bench noisy;
  noisy.attention = scsi::asc::kInquiryDataChanged;
  noisy.unit.probe(noisy.now);
  for (int turns = 0; turns < 1000 && !noisy.transport.queued.empty(); ++turns) {
    noisy.plan(State::mode_6, Fault::unit_attention, turns % 2);
    noisy.answer_one();
  }
  CHECK(noisy.unit.state() == State::ready);
}

TEST_CASE("logical unit: another unit behind the same LUN is not touched") {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  bench.disk.identification.designators[0].value[3] = 0x5b;
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::failed);
  CHECK(bench.unit.failure_reason() == Failure::identity_changed);
  CHECK(bench.unit.failure().find("naa.6001405b") != std::string::npos);
  CHECK(bench.unit.facts().identifier == "naa.6001405a");
  bench.disk.identification.designators[0].value[3] = 0x5a;
  bench.wait();
  bench.run();
  CHECK(bench.unit.state() == State::ready);

  // Without the page, the serial number decides; without both there is nothing to go by.
  Bench serial;
  serial.disk.pages.supported[0x83] = false;
  serial.unit.probe(serial.now);
  serial.run();
  serial.disk.serial = "other";
  serial.unit.probe(serial.now);
  serial.run();
  CHECK(serial.unit.failure_reason() == Failure::identity_changed);
  serial.disk.pages = {};
  serial.unit.probe(serial.now);
  serial.run();
  CHECK(serial.unit.state() == State::ready);
}

TEST_CASE("logical unit: refused commands are remembered until the next probe") {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  bench.unit.write_same_refused();
  bench.unit.unmap_refused();
  CHECK(!bench.unit.facts().write_same);
  CHECK(!can_unmap(bench.unit.facts()));
  bench.unit.refresh_capacity(bench.now);
  bench.run();
  CHECK(!bench.unit.facts().write_same);
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.facts().write_same);
  CHECK(can_unmap(bench.unit.facts()));
}

TEST_CASE("logical unit: every state meets every event") {
  enum class Event { probe, refresh, note_facts, note_capacity, stop, deadline };
  const Facts good = facts_of_a_good_probe();
  for (std::size_t index = 0; index < LogicalUnit::kStates; ++index) {
    const auto state = static_cast<State>(index);
    for (const Event event :
         {Event::probe, Event::refresh, Event::note_facts, Event::note_capacity, Event::stop, Event::deadline}) {
      for (const bool waiting : {false, true}) {  // for a retry instead of for an answer
        CAPTURE(to_string(state));
        CAPTURE(static_cast<int>(event));
        CAPTURE(waiting);
        Bench bench;
        if (state == State::capacity_10) bench.disk.knows_capacity_16 = false;
        if (state == State::mode_10) bench.disk.knows_mode_6 = false;
        if (state == State::mode_all) bench.disk.knows_caching_page = false;
        if (state == State::failed) bench.plan(State::inquiry, Fault::medium_error);
        const bool step = state != State::idle && state != State::ready && state != State::failed;
        if (waiting && !step) continue;
        if (state != State::idle) {
          bench.unit.probe(bench.now);
          if (waiting) bench.plan(state, Fault::busy);
          REQUIRE(bench.run_to(state));
          if (waiting) bench.answer_one();
        }
        REQUIRE(bench.unit.state() == state);
        REQUIRE(bench.unit.command_lent() == (step && !waiting));
        const int sent = bench.transport.count;
        bench.steps.clear();

        Notes notes;
        notes.facts_changed = event == Event::note_facts;
        notes.capacity_changed = event == Event::note_capacity;
        switch (event) {
          case Event::probe:
            bench.unit.probe(bench.now);
            break;
          case Event::refresh:
            bench.unit.refresh_capacity(bench.now);
            break;
          case Event::note_facts:
          case Event::note_capacity:
            bench.unit.note(notes, bench.now);
            break;
          case Event::stop:
            bench.unit.stop(bench.now);
            break;
          case Event::deadline:
            bench.unit.on_deadline(bench.now);
            break;
        }
        bench.run();

        const bool refreshes = event == Event::refresh || event == Event::note_capacity;
        if (event == Event::stop) {
          CHECK(bench.unit.state() == State::idle);
          CHECK(bench.transport.count == sent);
          CHECK(bench.unit.next_deadline() == kNever);
          bench.unit.probe(bench.now);
          bench.run();
          CHECK(bench.unit.state() == State::ready);
        } else if (state == State::idle && event != Event::probe) {
          CHECK(bench.unit.state() == State::idle);
          CHECK(bench.transport.count == 0);
        } else if (state == State::failed && event != Event::probe) {
          CHECK(bench.unit.state() == State::failed);
          CHECK(bench.transport.count == sent);
        } else {
          CHECK(bench.unit.state() == State::ready);
          CHECK(bench.unit.facts().blocks == good.blocks);
          const auto begun = std::count(bench.steps.begin(), bench.steps.end(), State::test_unit_ready);
          const bool from_start = event == Event::probe || (event == Event::note_facts && state == State::ready);
          const bool first = state == State::test_unit_ready;
          CHECK(begun == (from_start ? 1 : 0) + (first && (!from_start || !waiting) ? 1 : 0));
          const auto reads = std::count(bench.steps.begin(), bench.steps.end(), State::capacity_16);
          if (refreshes) CHECK(reads >= 1);
          if (refreshes && state == State::ready) CHECK(bench.steps.size() == 1);
          if (event == Event::deadline && state == State::ready) CHECK(bench.steps.empty());
        }
      }
    }
  }
}

TEST_CASE("logical unit: an observer that acts at once") {
  // Probes again from within the end of a probe.
  Bench again;
  again.on_done = [&] {
    if (again.probes_done < 3) again.unit.probe(again.now);
  };
  again.unit.probe(again.now);
  again.run();
  CHECK(again.probes_done == 3);
  CHECK(again.unit.state() == State::ready);

  // Probes again, or stops, from within notes.
  for (const bool stop : {false, true}) {
    for (const State step : kSteps) {
      if (step == State::capacity_10 || step == State::mode_10 || step == State::mode_all) continue;
      Bench bench;
      bool first = true;
      bench.on_notes = [&] {
        if (!first) return;
        first = false;
        if (stop) {
          bench.unit.stop(bench.now);
        } else {
          bench.unit.probe(bench.now);
        }
      };
      bench.plan(step, Fault::unit_attention);
      bench.unit.probe(bench.now);
      bench.run();
      CHECK(bench.unit.state() == (stop ? State::idle : State::ready));
      CHECK(bench.transport.queued.empty());
      CHECK(bench.probes_done == (stop ? 0 : 1));
    }
  }
}

TEST_CASE("logical unit: stopped and probed again while a command is out") {
  Bench bench;
  bench.unit.probe(bench.now);
  REQUIRE(bench.run_to(State::vpd_limits));
  bench.unit.stop(bench.now);
  CHECK(bench.unit.command_lent());
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(std::count(bench.steps.begin(), bench.steps.end(), State::test_unit_ready) == 2);
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
