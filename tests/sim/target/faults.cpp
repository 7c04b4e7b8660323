#include "tests/sim/target/faults.hpp"

#include <algorithm>
#include <span>

#include "tests/sim/target/observer.hpp"

namespace nbdgw::sim {
namespace {

struct FaultRow {
  Fault fault;
  const char* name;
  double likely;  // the highest rate that is drawn; 0: none is
};

// clang-format off
constexpr FaultRow kFaultRows[] = {
    {Fault::slow_command, "slow_command", 0.05},
    {Fault::hung_command, "hung_command", 0.005},
    {Fault::hung_answer, "hung_answer", 0.005},
    {Fault::short_read, "short_read", 0.02},
    {Fault::short_read_untold, "short_read_untold", 0.02},
    {Fault::short_write, "short_write", 0.02},
    {Fault::recovered_error, "recovered_error", 0.05},
    {Fault::check_condition, "check_condition", 0.02},
    {Fault::deferred_error, "deferred_error", 0.005},
    {Fault::busy, "busy", 0.05},
    {Fault::task_set_full, "task_set_full", 0.05},
    {Fault::reservation_conflict, "reservation_conflict", 0.002},
    {Fault::aborted_command, "aborted_command", 0.02},
    {Fault::task_aborted, "task_aborted", 0.02},
    {Fault::target_failure, "target_failure", 0.01},
    {Fault::sense_with_good, "sense_with_good", 0.2},
    {Fault::unit_attention, "unit_attention", 0.01},
    {Fault::synchronize_fails, "synchronize_fails", 0.1},
    {Fault::reject_counted, "reject_counted", 0.003},
    {Fault::reject_hole, "reject_hole", 0.001},
    {Fault::no_r2t, "no_r2t", 0.005},
    {Fault::odd_r2t, "odd_r2t", 0.5},
    {Fault::early_data_drops, "early_data_drops", 1},
    {Fault::function_slow, "function_slow", 0.5},
    {Fault::function_unanswered, "function_unanswered", 0.3},
    {Fault::function_late_data, "function_late_data", 0.5},
    {Fault::function_denied, "function_denied", 0.3},
    {Fault::function_refused, "function_refused", 0.3},
    {Fault::function_pdu_rejected, "function_pdu_rejected", 0.2},
    {Fault::reset_closes_others, "reset_closes_others", 0.5},
    {Fault::function_lies, "function_lies", 0},
    {Fault::outlives_session, "outlives_session", 0.8},
    {Fault::close_unanswered, "close_unanswered", 0.3},
    {Fault::login_refused, "login_refused", 0.3},
    {Fault::login_redirected, "login_redirected", 0.2},
    {Fault::login_moved, "login_moved", 0.1},
    {Fault::login_hangs, "login_hangs", 0.1},
    {Fault::login_drops, "login_drops", 0.2},
    {Fault::login_long, "login_long", 0.5},
    {Fault::pdu_cut, "pdu_cut", 0.0005},
    {Fault::header_digest_wrong, "header_digest_wrong", 0.0005},
    {Fault::data_digest_wrong, "data_digest_wrong", 0.001},
    {Fault::ping_unanswered, "ping_unanswered", 0.05},
    {Fault::connection_dropped, "connection_dropped", 0.02},
    {Fault::connection_reset, "connection_reset", 0.02},
    {Fault::connection_vanishes, "connection_vanishes", 0.01},
    {Fault::connection_stalls, "connection_stalls", 0.05},
    {Fault::half_closed, "half_closed", 0.01},
    {Fault::ping, "ping", 0.3},
    {Fault::window_frozen, "window_frozen", 0.02},
    {Fault::logout_requested, "logout_requested", 0.01},
    {Fault::drop_announced, "drop_announced", 0.01},
    {Fault::session_drop_announced, "session_drop_announced", 0.01},
    {Fault::parameters_requested, "parameters_requested", 0.005},
    {Fault::vendor_event, "vendor_event", 0.02},
    {Fault::session_stolen, "session_stolen", 0.01},
    {Fault::unit_hangs, "unit_hangs", 0.01},
    {Fault::reset_by_others, "reset_by_others", 0.02},
    {Fault::power_loss, "power_loss", 0.01},
    {Fault::failover, "failover", 0.02},
    {Fault::controller_down, "controller_down", 0.01},
    {Fault::controller_frozen, "controller_frozen", 0.01},
    {Fault::unit_unmapped, "unit_unmapped", 0.01},
    {Fault::unit_remapped, "unit_remapped", 0.01},
    {Fault::identity_unreadable, "identity_unreadable", 0.01},
    {Fault::capacity_grown, "capacity_grown", 0.01},
    {Fault::write_protected, "write_protected", 0.005},
    {Fault::thin_threshold, "thin_threshold", 0.02},
    {Fault::inquiry_changed, "inquiry_changed", 0.02},
    {Fault::deadly_read, "deadly_read", 0},
    {Fault::ended_answer_stalls, "ended_answer_stalls", 0},
};
// clang-format on

constexpr bool fault_rows_in_order() {
  if (std::size(kFaultRows) != kFaults) return false;
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (kFaultRows[i].fault != static_cast<Fault>(i)) return false;
  }
  return true;
}
static_assert(fault_rows_in_order(), "a row for each fault, in the order of the enumeration");

}  // namespace

const char* to_string(Fault fault) noexcept {
  return fault == Fault::none ? "none" : kFaultRows[static_cast<std::size_t>(fault)].name;
}

Fault find_fault(std::string_view name) noexcept {
  for (const FaultRow& row : kFaultRows) {
    if (row.name == name) return row.fault;
  }
  return Fault::none;
}

TargetFaults TargetFaults::draw(Random& random) {
  TargetFaults faults;
  for (const FaultRow& row : std::span(kFaultRows).first(kFirstUndrawnFault)) {
    const bool absent = random.chance(0.5);
    // What has few occasions would never strike if it were as rare as that.
    const auto share = static_cast<double>(random.spread(row.likely < 0.1 ? 1 : 64, 1000)) / 1000;
    if (!absent) faults[row.fault] = row.likely * share;
  }
  faults.tick = random.spread(20, 500) * proto::kMillisecond;
  faults.longest_delay = random.spread(10, 10'000) * proto::kMillisecond;
  faults.longest_outage = random.spread(100, 60'000) * proto::kMillisecond;
  faults.longest_ghost = random.spread(100, 30'000) * proto::kMillisecond;
  return faults;
}

FaultDesk::FaultDesk(const TargetFaults& faults, Random random, TargetObserver* observer)
    : faults_(faults), observer_(observer) {
  for (std::size_t i = 0; i < kFaults; ++i) {
    streams_[i].random = random.fork();
    streams_[i].rate = faults.rate[i];
  }
}

void FaultDesk::tell(Fault fault) {
  observer_->on_fault(fault);
}

std::map<std::string, std::uint64_t> FaultDesk::seen() const {
  std::map<std::string, std::uint64_t> result;
  for (std::size_t i = 0; i < kFaults; ++i) {
    if (streams_[i].count > 0) result[kFaultRows[i].name] = streams_[i].count;
  }
  return result;
}

}  // namespace nbdgw::sim
