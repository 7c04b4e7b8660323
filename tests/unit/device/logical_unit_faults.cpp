#include "gateway/device/logical_unit.hpp"

#include "tests/unit/device/probe_script.hpp"

using namespace device_test;
using nbdgw::proto::kNever;

TEST_CASE("logical unit: no such unit, and one that is not ready") {
  Bench bench;
  bench.unit.probe(bench.now);
  initiator::ScsiCommand* command = bench.transport.queued.front();
  bench.transport.queued.clear();
  check_condition(*command, scsi::SenseKey::illegal_request, scsi::asc::kLogicalUnitNotSupported);
  command->sink->on_command_done(*command, bench.now);
  CHECK(bench.unit.failure_reason() == Failure::not_there);
  CHECK(bench.notes.identity_in_doubt);

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
      CHECK(bench.notes.power_on == (fault == Fault::unit_attention));
      CHECK(bench.notes.queue_full == (fault == Fault::busy));

      const bool passes = fault == Fault::unit_attention || fault == Fault::busy || fault == Fault::aborted ||
                          fault == Fault::transport_disrupted || fault == Fault::bad_target;
      // READ CAPACITY(10) may stand in for a command that is not known, and for no other reason.
      const bool unknown = step == State::capacity_16 && fault == Fault::illegal_request;
      const bool answers_needed =
          step == State::inquiry || step == State::capacity_10 || (step == State::capacity_16 && !unknown);
      const bool no_data_needed = step == State::test_unit_ready;
      if (fault == Fault::path_lost) {
        CHECK(bench.unit.state() == State::failed);
        CHECK(bench.unit.failure_reason() == Failure::path_lost);
        CHECK(bench.unit.next_deadline() == kNever);
      } else if (passes) {
        REQUIRE(bench.unit.state() == State::ready);
        CHECK(same(bench.unit.facts(), reference.unit.facts()));
        const auto begun = std::count(bench.steps.begin(), bench.steps.end(), State::test_unit_ready);
        const bool anew = fault == Fault::transport_disrupted || fault == Fault::unit_attention;
        const bool twice = anew || no_data_needed;
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
      const bool required = step == State::test_unit_ready || step == State::inquiry || step == State::capacity_16 ||
                            step == State::capacity_10;
      const bool harmless =
          (step == State::test_unit_ready && (fault == Fault::illegal_request || fault == Fault::short_data)) ||
          (step == State::capacity_16 && fault == Fault::illegal_request);
      // The attention of this bench is one that may mean another unit.
      const bool fails = fault == Fault::path_lost || fault == Fault::unit_attention || (required && !harmless);
      CHECK(bench.unit.state() == (fails ? State::failed : State::ready));
      CHECK(bench.unit.failure().empty() == !fails);
    }
  }
}

TEST_CASE("logical unit: READ CAPACITY(16) fails for a reason that passes, and no other size is believed meanwhile") {
  const Fault passing[] = {Fault::unit_attention, Fault::busy,       Fault::aborted,
                           Fault::medium_error,   Fault::bad_target, Fault::short_data};
  for (const std::uint64_t last_lba : {std::uint64_t{1'999'999}, std::uint64_t{1} << 33}) {
    for (const Fault fault : passing) {
      CAPTURE(last_lba);
      CAPTURE(static_cast<int>(fault));
      Bench bench;
      bench.attention = scsi::AdditionalSense{0x2f, 0x00};  // says nothing of what it is
      bench.disk.capacity.last_lba = last_lba;
      bench.plan(State::capacity_16, fault, 1'000'000);
      bench.unit.probe(bench.now);
      bench.run();
      CHECK(bench.unit.state() == State::failed);
      CHECK(bench.unit.failure_reason() == Failure::command_failed);
      CHECK_FALSE(bench.unit.has_facts());
      CHECK(std::count(bench.steps.begin(), bench.steps.end(), State::capacity_10) == 0);
      bench.faults.clear();
      bench.wait();
      bench.run();
      CHECK(bench.unit.state() == State::ready);
      CHECK(bench.unit.facts().blocks == last_lba + 1);

      // Once it is known it stays so, and a re-read that fails changes nothing.
      bench.plan(State::capacity_16, fault, 1'000'000);
      bench.unit.refresh_capacity(bench.now);
      bench.run();
      CHECK(bench.unit.state() == State::ready);
      CHECK(bench.unit.facts().blocks == last_lba + 1);
      CHECK_FALSE(bench.unit.failure().empty());
    }
  }
}

TEST_CASE("logical unit: NOT READY at READ CAPACITY(16) is told as such") {
  Bench bench;
  bench.unit.probe(bench.now);
  REQUIRE(bench.run_to(State::capacity_16));
  initiator::ScsiCommand* command = bench.transport.queued.front();
  bench.transport.queued.clear();
  check_condition(*command, scsi::SenseKey::not_ready, scsi::asc::kManualInterventionRequired);
  command->sink->on_command_done(*command, bench.now);
  CHECK(bench.unit.failure_reason() == Failure::not_ready);
  CHECK(bench.transport.queued.empty());
}

TEST_CASE("logical unit: many losses of the session in a row") {
  Bench bench;
  bench.plan(State::mode_6, Fault::transport_disrupted, 50);
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(same(bench.unit.facts(), facts_of_a_good_probe()));
}

TEST_CASE("logical unit: each command has its own attempts") {
  Bench bench;
  for (const State step : kSteps) bench.plan(step, Fault::aborted, nbdgw::device::kDefaultRetries);
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(same(bench.unit.facts(), facts_of_a_good_probe()));
}

TEST_CASE("logical unit: a re-read of the capacity finds it not ready any more: the probe says whether that is so") {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  REQUIRE(bench.unit.state() == State::ready);
  const auto answer_not_ready = [&bench] {
    initiator::ScsiCommand* command = bench.transport.queued.front();
    bench.transport.queued.clear();
    check_condition(*command, scsi::SenseKey::not_ready, scsi::asc::kManualInterventionRequired);
    command->sink->on_command_done(*command, bench.now);
  };
  bench.unit.refresh_capacity(bench.now);
  REQUIRE(bench.unit.state() == State::capacity_16);
  answer_not_ready();
  REQUIRE(bench.unit.state() == State::test_unit_ready);
  SUBCASE("it was for a moment") {
    bench.run();
    CHECK(bench.unit.state() == State::ready);
    CHECK(bench.unit.failure().empty());
  }
  SUBCASE("it is") {
    answer_not_ready();
    CHECK(bench.unit.state() == State::failed);
    CHECK(bench.unit.failure_reason() == Failure::not_ready);
  }
}
