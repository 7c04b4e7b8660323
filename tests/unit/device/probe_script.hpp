#pragma once

#include <map>
#include <string>
#include <vector>

#include "gateway/device/logical_unit.hpp"
#include "tests/unit/device/fake_unit.hpp"

namespace device_test {

using nbdgw::device::Facts;
using nbdgw::device::LogicalUnit;
using nbdgw::device::Notes;
using State = LogicalUnit::State;
using Failure = LogicalUnit::Failure;

/// What goes wrong with a command.
enum class Fault {
  none,
  unit_attention,
  illegal_request,
  busy,
  aborted,
  medium_error,
  reservation_conflict,
  transport_disrupted,
  bad_target,
  path_lost,
  short_data,
};

inline constexpr Fault kFaults[] = {
    Fault::unit_attention,       Fault::illegal_request,     Fault::busy,       Fault::aborted,   Fault::medium_error,
    Fault::reservation_conflict, Fault::transport_disrupted, Fault::bad_target, Fault::path_lost, Fault::short_data};

inline constexpr State kSteps[] = {
    State::test_unit_ready, State::inquiry,    State::vpd_supported,    State::vpd_serial,  State::vpd_identification,
    State::vpd_limits,      State::vpd_medium, State::vpd_provisioning, State::capacity_16, State::capacity_10,
    State::mode_6,          State::mode_10,    State::mode_all};

/// A unit, a disk behind it, and a clock: runs until nothing is left to do.
class Bench final : public nbdgw::device::LogicalUnitObserver {
 public:
  static constexpr std::uint64_t kLun = 0x0001'0000'0000'0000ULL;

  Bench() : unit(transport, kLun, this) {}

  /// Answers the command that is out; with a fault if one is planned for the state the unit is in.
  void answer_one() {
    REQUIRE(transport.queued.size() == 1);
    initiator::ScsiCommand& command = *transport.queued.front();
    transport.queued.pop_front();
    REQUIRE(command.lun == kLun);
    steps.push_back(unit.state());
    const auto planned = faults.find(unit.state());
    const bool faulty = planned != faults.end() && planned->second.second > 0;
    if (faulty) --planned->second.second;
    apply(faulty ? planned->second.first : Fault::none, command);
    command.sink->on_command_done(command, now);
  }

  /// Until the unit is idle, ready or failed, with no command out.
  void run() {
    for (int turns = 0; turns < 2000; ++turns) {
      if (!transport.queued.empty()) {
        answer_one();
      } else if (unit.state() == State::idle || unit.state() == State::ready || unit.state() == State::failed) {
        return;
      } else {
        wait();
      }
    }
    FAIL("the unit never comes to rest, in state " << to_string(unit.state()));
  }

  /// Up to the first command of this state; false if the unit came to rest before.
  bool run_to(State state) {
    while (!transport.queued.empty() && unit.state() != state) answer_one();
    return unit.state() == state;
  }

  /// To the next deadline.
  void wait() {
    const Micros deadline = unit.next_deadline();
    REQUIRE(deadline != nbdgw::proto::kNever);
    REQUIRE(deadline > now);
    unit.on_deadline(deadline - 1);
    REQUIRE(transport.queued.empty());
    now = deadline;
    unit.on_deadline(now);
  }

  void plan(State state, Fault fault, int times = 1) { faults[state] = {fault, times}; }

  void on_probe_done(LogicalUnit& done, Micros) override {
    REQUIRE(&done == &unit);
    ++probes_done;
    if (on_done) on_done();
  }
  void on_unit_notes(LogicalUnit&, const Notes& told, Micros) override {
    notes |= told;
    if (on_notes) on_notes();
  }

  FakeTransport transport;
  FakeDisk disk;
  LogicalUnit unit;
  Micros now = 1'000'000;
  std::map<State, std::pair<Fault, int>> faults;
  std::vector<State> steps;  // one entry for each command answered
  int probes_done = 0;
  Notes notes;
  std::function<void()> on_done;
  std::function<void()> on_notes;
  scsi::AdditionalSense attention = scsi::asc::kPowerOnOrReset;

 private:
  void apply(Fault fault, initiator::ScsiCommand& command) {
    switch (fault) {
      case Fault::none:
        return disk.answer(command);
      case Fault::unit_attention:
        return check_condition(command, scsi::SenseKey::unit_attention, attention);
      case Fault::illegal_request:
        return check_condition(command, scsi::SenseKey::illegal_request, scsi::asc::kInvalidOpcode);
      case Fault::busy:
        return status(command, scsi::Status::busy);
      case Fault::aborted:
        return check_condition(command, scsi::SenseKey::aborted_command, scsi::asc::kNone);
      case Fault::medium_error:
        return check_condition(command, scsi::SenseKey::medium_error, scsi::asc::kUnrecoveredReadError);
      case Fault::reservation_conflict:
        return status(command, scsi::Status::reservation_conflict);
      case Fault::transport_disrupted:
        command.outcome = initiator::Outcome::transport_disrupted;
        return;
      case Fault::bad_target:
        command.outcome = initiator::Outcome::bad_target;
        return;
      case Fault::path_lost:
        command.outcome = initiator::Outcome::path_lost;
        return;
      case Fault::short_data:
        return good(command, {});
    }
  }
};

inline Facts facts_of_a_good_probe() {
  Bench bench;
  bench.unit.probe(bench.now);
  bench.run();
  return bench.unit.facts();
}

inline bool same(const Facts& a, const Facts& b) {
  return a.block_length == b.block_length && a.blocks == b.blocks &&
         a.physical_block_length == b.physical_block_length && a.vendor == b.vendor && a.product == b.product &&
         a.revision == b.revision && a.serial == b.serial && a.identifier == b.identifier &&
         a.write_protected == b.write_protected && a.dpofua == b.dpofua && a.write_cache == b.write_cache &&
         a.medium == b.medium && a.rotation_rate == b.rotation_rate && a.lbpme == b.lbpme && a.lbprz == b.lbprz &&
         a.lbpu == b.lbpu && a.lbpws == b.lbpws && a.max_transfer == b.max_transfer &&
         a.optimal_transfer == b.optimal_transfer &&
         a.optimal_transfer_granularity == b.optimal_transfer_granularity &&
         a.max_unmap_lba_count == b.max_unmap_lba_count && a.max_unmap_descriptors == b.max_unmap_descriptors &&
         a.unmap_granularity == b.unmap_granularity && a.unmap_alignment == b.unmap_alignment &&
         a.max_write_same == b.max_write_same && a.write_same == b.write_same && a.capacity_16 == b.capacity_16;
}

}  // namespace device_test
