#include "gateway/device/logical_unit.hpp"

#include "tests/unit/device/probe_script.hpp"

using namespace device_test;
using nbdgw::proto::kNever;

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
  noisy.attention = scsi::AdditionalSense{0x2a, 0x01};  // mode parameters
  noisy.unit.probe(noisy.now);
  for (int asked = 0; !noisy.transport.queued.empty() && asked < 1000;) {
    if (noisy.unit.state() == State::mode_6) noisy.plan(State::mode_6, Fault::unit_attention, ++asked % 2);
    noisy.answer_one();
  }
  CHECK(noisy.unit.state() == State::ready);
  CHECK(std::count(noisy.steps.begin(), noisy.steps.end(), State::test_unit_ready) == 4);
  // The next probe listens again.
  noisy.steps.clear();
  noisy.plan(State::mode_6, Fault::unit_attention);
  noisy.unit.probe(noisy.now);
  noisy.run();
  CHECK(std::count(noisy.steps.begin(), noisy.steps.end(), State::test_unit_ready) == 2);
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

TEST_CASE("logical unit: a command cut short is not sent again") {
  for (const Fault fault : {Fault::busy, Fault::unit_attention, Fault::aborted, Fault::none}) {
    for (const bool stop : {false, true}) {
      Bench bench;
      bench.plan(State::vpd_limits, fault);
      bench.unit.probe(bench.now);
      REQUIRE(bench.run_to(State::vpd_limits));
      if (stop) {
        bench.unit.stop(bench.now);
      } else {
        bench.unit.probe(bench.now);
      }
      CHECK(bench.unit.state() == State::vpd_limits);
      bench.answer_one();
      CHECK(bench.unit.state() == (stop ? State::idle : State::test_unit_ready));
      CHECK(bench.unit.next_deadline() == kNever);
      CHECK(bench.transport.queued.size() == (stop ? 0 : 1));
    }
  }
}
