#include "tests/sim/checkers/patience_checker.hpp"

#include <algorithm>

#include "gateway/device/disposition.hpp"

namespace nbdgw::sim {
namespace {

enum class Reason : std::uint8_t {
  none,   // it passes by itself, or does no harm at all
  tried,  // a command may come back for it, once
  good,   // an error may be all that there is to say
};

Reason reason_in(Fault fault) noexcept {
  switch (fault) {
    case Fault::recovered_error:
    case Fault::odd_r2t:
    case Fault::sense_with_good:
    case Fault::close_unanswered:
    case Fault::login_refused:
    case Fault::login_redirected:
    case Fault::login_moved:
    case Fault::login_hangs:
    case Fault::login_drops:
    case Fault::login_long:
    case Fault::ping:
    case Fault::vendor_event:
    case Fault::failover:
    case Fault::unit_unmapped:
    case Fault::identity_unreadable:
    case Fault::capacity_grown:
    case Fault::thin_threshold:
    case Fault::inquiry_changed:
    case Fault::deadly_read:
      return Reason::none;
    case Fault::short_read:
    case Fault::short_read_untold:
    case Fault::short_write:
    case Fault::busy:
    case Fault::task_set_full:
    case Fault::aborted_command:
    case Fault::task_aborted:
    case Fault::target_failure:
    case Fault::unit_attention:
    case Fault::reject_counted:
    case Fault::connection_dropped:
    case Fault::connection_reset:
    case Fault::half_closed:
    case Fault::logout_requested:
    case Fault::drop_announced:
    case Fault::session_drop_announced:
    case Fault::parameters_requested:
    case Fault::reset_by_others:
      return Reason::tried;
    default:
      return Reason::good;
  }
}

/// What a command may be answered with in its turn, again and again while it is sent again: that ends, too.
bool is_told(Fault fault) noexcept {
  switch (fault) {
    case Fault::failover:
    case Fault::unit_unmapped:
    case Fault::identity_unreadable:
    case Fault::capacity_grown:
    case Fault::thin_threshold:
    case Fault::inquiry_changed:
      return true;
    default:
      return false;
  }
}

bool speaks_of_cache(const AskedRequest& request) noexcept {
  return request.command == NbdCommand::flush || request.flags == kFua;
}

}  // namespace

bool passes(Fault fault) noexcept {
  return reason_in(fault) == Reason::none;
}

void PatienceChecker::begin(const GatewaySetup::Target& hastiest) {
  outlasts_hangs_ = hastiest.settings.command_timeout > site_.longest_outage();
  for (const bridge::ExportConfig& each : hastiest.exports) {
    if (each.hold_timeout == proto::kNever) retries_[each.name] = each.retries;
  }
}

void PatienceChecker::on_fault(Fault fault) noexcept {
  const bool in_parts = fault == Fault::recovered_error && site_.habits().recovers_parts;
  const bool in_time = fault == Fault::unit_hangs && outlasts_hangs_;
  const Reason reason = in_parts ? Reason::tried : in_time ? Reason::none : reason_in(fault);
  ended_ += reason == Reason::tried ? 1 : 0;
  if (is_told(fault)) told_at_.push_back(timeline_.now());
  lasts_ = lasts_ || reason == Reason::good;
}

void PatienceChecker::on_reply(const Client& client, const AskedRequest& request, std::uint32_t error) {
  if (error == 0 || lasts_ || speaks_of_cache(request)) return;
  const auto judged = retries_.find(client.habits().exported);
  if (judged == retries_.end() || ended_ > judged->second) return;
  const auto told = told_at_.end() - std::ranges::lower_bound(told_at_, request.asked_at);
  if (2 * told > device::kMaxUnitAttentions) return;  // that it goes, and that it comes back
  complaints_.complain("patience", client.name() + " is told error " + std::to_string(error) +
                                       " for a request of cell " + std::to_string(request.cell) +
                                       ", and all that has struck at " + site_.iqn() +
                                       " passes, or was to be tried again (" + std::to_string(ended_) + " of " +
                                       std::to_string(judged->second) + " times)");
}

}  // namespace nbdgw::sim
