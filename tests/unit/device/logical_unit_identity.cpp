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
