#include "gateway/device/logical_unit.hpp"

#include "tests/unit/device/probe_script.hpp"

using namespace device_test;

TEST_CASE("logical unit: a unit that says without end that it may be another one is not believed, and asked again") {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  bench.steps.clear();
  bench.attention = scsi::asc::kInquiryDataChanged;
  bench.unit.probe(bench.now);
  for (int asked = 0; !bench.transport.queued.empty() && asked < 1000;) {
    if (bench.unit.state() == State::mode_6) bench.plan(State::mode_6, Fault::unit_attention, ++asked % 2);
    bench.answer_one();
  }
  CHECK(bench.unit.failure_reason() == Failure::identity_unread);
  CHECK(std::count(bench.steps.begin(), bench.steps.end(), State::test_unit_ready) == 4);
  bench.wait();
  bench.run();
  CHECK(bench.unit.state() == State::ready);
}

TEST_CASE("logical unit: who it is, is not forgotten when it does not say so") {
  enum class Way { pages_gone, page_refused, empty };
  for (const Way way : {Way::pages_gone, Way::page_refused, Way::empty}) {
    for (const bool then_another : {false, true}) {
      CAPTURE(static_cast<int>(way));
      Bench bench;
      bench.unit.probe(bench.now);
      bench.run();
      const FakeDisk before = bench.disk;
      if (way == Way::pages_gone) bench.disk.pages.supported[0x80] = bench.disk.pages.supported[0x83] = false;
      if (way == Way::empty) bench.disk.serial = "", bench.disk.identification.designators.clear();
      if (way == Way::page_refused) {
        bench.plan(State::vpd_serial, Fault::illegal_request);
        bench.plan(State::vpd_identification, Fault::illegal_request);
      }
      bench.unit.probe(bench.now);
      bench.run();
      CHECK(bench.unit.state() == State::failed);
      CHECK(bench.unit.failure_reason() == Failure::identity_unread);
      CHECK(bench.unit.failure().find("naa.6001405a") != std::string::npos);
      CHECK(bench.unit.identity() == nbdgw::proto::DiskIdentity{"naa.6001405a", "S123"});
      bench.disk = before;
      if (then_another) bench.disk.identification.designators[0].value[3] = 0x5b;
      bench.wait();
      bench.run();
      CHECK(bench.unit.state() == (then_another ? State::failed : State::ready));
      if (then_another) CHECK(bench.unit.failure_reason() == Failure::identity_changed);
    }
  }
}

TEST_CASE("logical unit: a serial number that is not told once is not forgotten") {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  bench.plan(State::vpd_serial, Fault::illegal_request);
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(bench.unit.facts().serial == "S123");
  bench.disk.serial = "other";
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.failure_reason() == Failure::identity_changed);
}

TEST_CASE("logical unit: expected to be one, it may be another, but has to say which") {
  Bench bench;
  bench.unit.expect({.designator = "naa.1", .serial = "old"});
  bench.plan(State::vpd_identification, Fault::illegal_request);
  bench.plan(State::vpd_serial, Fault::illegal_request);
  bench.unit.probe(bench.now);
  bench.run();
  CHECK(bench.unit.failure_reason() == Failure::identity_unread);
  bench.wait();
  bench.run();
  CHECK(bench.unit.state() == State::ready);
  CHECK(bench.unit.identity().designator == "naa.6001405a");
}

TEST_CASE("logical unit: one that goes while it is probed is not there, whatever step that is") {
  for (const State step : kSteps) {
    CAPTURE(to_string(step));
    for (const bool known : {false, true}) {
      Bench bench;
      if (step == State::capacity_10) bench.disk.knows_capacity_16 = false;
      if (step == State::mode_10) bench.disk.knows_mode_6 = false;
      if (step == State::mode_all) bench.disk.knows_caching_page = false;
      if (known) {
        bench.unit.probe(bench.now);
        bench.run();
      }
      bench.unit.probe(bench.now);
      REQUIRE(bench.run_to(step));
      initiator::ScsiCommand& command = *bench.transport.queued.front();
      bench.transport.queued.pop_front();
      check_condition(command, scsi::SenseKey::illegal_request, scsi::asc::kLogicalUnitNotSupported);
      command.sink->on_command_done(command, bench.now);
      CHECK(bench.unit.state() == State::failed);
      CHECK(bench.unit.failure_reason() == Failure::not_there);
      CHECK(bench.unit.next_deadline() == bench.now + LogicalUnit::kReprobeDelay);
      bench.wait();
      bench.run();
      CHECK(bench.unit.state() == State::ready);
    }
  }
}

TEST_CASE("logical unit: what is told of a unit that is not there is not taken for its own") {
  // tgtd answers INQUIRY for a LUN that is not there with the pages of LUN 0.
  for (const State step : {State::inquiry, State::vpd_serial, State::vpd_identification}) {
    Bench bench;
    bench.unit.probe(bench.now);
    bench.run();
    bench.unit.probe(bench.now);
    REQUIRE(bench.run_to(step));
    initiator::ScsiCommand& command = *bench.transport.queued.front();
    bench.transport.queued.pop_front();
    auto page = scsi::UnitSerialNumber{"beaf10"}.build();
    page[0] = 0x7f;
    page.resize(40);
    good(command, page);
    command.sink->on_command_done(command, bench.now);
    CHECK(bench.unit.failure_reason() == Failure::not_there);
  }
}

TEST_CASE("logical unit: a probe that runs begins anew when another unit may have come since") {
  const auto doubt = [](Bench& bench) { bench.unit.note({.identity_in_doubt = true}, bench.now); };
  for (const State step : kSteps) {
    if (step == State::capacity_10 || step == State::mode_10 || step == State::mode_all) continue;
    Bench bench;
    bench.unit.probe(bench.now);
    REQUIRE(bench.run_to(step));
    doubt(bench);
    bench.run();
    CHECK(bench.unit.state() == State::ready);
    CHECK(std::count(bench.steps.begin(), bench.steps.end(), State::test_unit_ready) == 2);
  }
  Bench ready;
  ready.unit.probe(ready.now);
  ready.run();
  ready.steps.clear();
  doubt(ready);
  ready.run();
  CHECK(std::count(ready.steps.begin(), ready.steps.end(), State::test_unit_ready) == 1);
  Bench idle;
  doubt(idle);
  CHECK(idle.unit.state() == State::idle);
}

TEST_CASE("logical unit: identity confirmed with one command, and nothing else is touched") {
  enum class Told { unique, tgtd, serial };
  for (const Told told : {Told::unique, Told::tgtd, Told::serial}) {
    Bench bench;
    if (told == Told::tgtd) bench.disk.identification.designators[0].value = {0x30, 0, 0, 1, 0, 0, 0, 1};
    if (told == Told::serial) bench.disk.identification.designators.clear();
    bench.unit.probe(bench.now);
    bench.run();
    const auto facts = bench.unit.facts().identity();
    bench.steps.clear();
    const int done = bench.probes_done;
    CHECK(bench.unit.confirm_identity(bench.now));
    CHECK_FALSE(bench.unit.confirm_identity(bench.now));
    bench.run();
    std::vector<State> asked{State::vpd_serial, State::vpd_identification};
    if (told == Told::unique) asked.erase(asked.begin());
    if (told == Told::serial) asked.pop_back();
    CHECK(bench.steps == asked);
    CHECK(bench.unit.state() == State::ready);
    CHECK(bench.unit.facts().identity() == facts);
    CHECK(bench.probes_done == done + 1);
    CHECK_FALSE(bench.notes.identity_in_doubt);
  }
}

TEST_CASE("logical unit: tgtd's disks have one designator, and only the serial number tells them apart") {
  Bench bench;
  bench.disk.identification.designators[0].value = {0x30, 0, 0, 1, 0, 0, 0, 1};
  bench.unit.probe(bench.now);
  bench.run();
  REQUIRE(bench.unit.confirm_identity(bench.now));
  bench.disk.serial = "another";
  bench.run();
  CHECK(bench.notes.identity_in_doubt);
  CHECK(bench.unit.failure_reason() == Failure::identity_changed);
}

TEST_CASE("logical unit: identity cannot be confirmed before a probe, or where none was ever told") {
  Bench bench;
  CHECK_FALSE(bench.unit.confirm_identity(bench.now));
  bench.disk.serial = "", bench.disk.identification.designators.clear();
  bench.unit.probe(bench.now);
  CHECK_FALSE(bench.unit.confirm_identity(bench.now));
  bench.run();
  CHECK_FALSE(bench.unit.confirm_identity(bench.now));
  CHECK(bench.transport.queued.empty());
}

TEST_CASE(
    "logical unit: whatever goes wrong when the identity is confirmed leads to a probe, or to the same answer") {
  for (const Fault fault : kFaults) {
    for (const bool then_another : {false, true}) {
      CAPTURE(static_cast<int>(fault));
      Bench bench;
      bench.unit.probe(bench.now);
      bench.run();
      bench.steps.clear();
      bench.plan(State::vpd_identification, fault);
      REQUIRE(bench.unit.confirm_identity(bench.now));
      if (then_another) bench.disk.identification.designators[0].value[3] = 0x5b;
      bench.run();
      if (fault == Fault::path_lost && bench.unit.state() == State::failed) {
        bench.wait();
        bench.run();
      }
      CHECK(bench.unit.state() == (then_another ? State::failed : State::ready));
      if (then_another) CHECK(bench.unit.failure_reason() == Failure::identity_changed);
    }
  }
}

TEST_CASE("logical unit: what is told while the identity is confirmed is followed") {
  for (const bool capacity : {false, true}) {
    Bench bench;
    bench.unit.probe(bench.now);
    bench.run();
    REQUIRE(bench.unit.confirm_identity(bench.now));
    bench.disk.capacity.last_lba += 1000;
    Notes notes;
    (capacity ? notes.capacity_changed : notes.facts_changed) = true;
    bench.unit.note(notes, bench.now);
    bench.run();
    CHECK(bench.unit.state() == State::ready);
    CHECK(bench.unit.facts().blocks == bench.disk.capacity.last_lba + 1);
  }
}

TEST_CASE("logical unit: the session ends while the identity is confirmed, which says nothing of the unit") {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  bench.plan(State::vpd_identification, Fault::path_lost);
  bench.plan(State::test_unit_ready, Fault::path_lost);
  REQUIRE(bench.unit.confirm_identity(bench.now));
  bench.run();
  CHECK_FALSE(bench.notes.identity_in_doubt);
  CHECK(bench.unit.failure_reason() == Failure::path_lost);
}
