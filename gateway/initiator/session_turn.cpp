// Whether a session has something to do, as deliver() and data_xmit() would do it.
#include <algorithm>

#include "gateway/initiator/session.hpp"
#include "proto/serial.hpp"

namespace nbdgw::initiator {

using proto::iscsi::TaskManagementFunction;

/// As data_xmit() would do it.
bool Session::could_send_command() const noexcept {
  if (pending_.empty() || state_ != SessionState::logged_in || queue_suspended_) return false;
  if (!window_open() || !tasks_.scsi_available() || pick_connection() == nullptr) return false;
  return pending_.any([&](std::uint64_t lun) { return escalation_.may_send_command(lun); });
}

bool Session::wants_turn() const noexcept {
  if (done_first_ != nullptr || has_events() || has_socket_requests() || has_recovery_events()) return true;
  if (could_send_command() || escalation_.wants_step()) return true;
  return std::ranges::any_of(connections_, [](const auto& connection) { return connection->could_send_data(); });
}

/// Whether fill_send_queue() would.
bool Connection::could_send_data() const noexcept {
  if (data_first_ == nullptr || state_ != ConnectionState::started || tx_suspended_ || !stream_.send_queue().room())
    return false;
  for (const Task* task = data_first_; task != nullptr; task = task->next) {
    if (task->sequence_count == 0) continue;
    if (task->sequences[task->first_sequence].ttt == proto::iscsi::kReservedTag) return true;
    if (session_.escalation_.would_send_data(*task)) return true;
  }
  return false;
}

/// As round_is_over() would do it: it is over, or a connection that was not asked can be.
bool Escalation::could_go_on_with_round() const noexcept {
  const std::uint32_t highest = highest_cmd_sn_in_scope();
  bool over = true;
  for (const auto& connection : session_.connections_) {
    if (connection.get() == tmf_.connection || !round_concerns(*connection, highest)) continue;
    if (tmf_.round == 0) return true;
    const bool asked = connection->round_ == tmf_.round;
    if (!asked && connection->round_ping_ == nullptr && !owes_promised_data(*connection) &&
        connection->stream_.send_queue().management_room() && session_.tasks_.management_available()) {
      return true;
    }
    if (!asked || connection->round_ping_ != nullptr) over = false;
  }
  return over;
}

/// As send_tmf() would do it.
bool Escalation::could_send_tmf() const noexcept {
  const Connection* const way = way_for_tmf();
  if (way == nullptr || owes_promised_data(*way)) return false;
  if (way != tmf_.connection) return true;  // there was none before
  const bool asks = tmf_.function != TaskManagementFunction::abort_task && may_ask();
  if (asks && !could_go_on_with_round()) return false;
  return way->stream_.send_queue().management_room() && session_.tasks_.management_available();
}

bool Escalation::wants_step() const noexcept {
  if (session_.state_ != SessionState::logged_in) return false;
  if (tmf_.state == TmfState::queued) {
    if (tmf_.task != nullptr) return false;
    return (climb_->itt != proto::iscsi::kReservedTag && is_over(*climb_)) || could_send_tmf();
  }
  if (tmf_.state != TmfState::initial) return true;
  if (verifying()) {
    return !verification_lent_ && session_.window_open() && session_.tasks_.scsi_available() &&
           session_.pick_connection() != nullptr;
  }
  const bool overdue = session_.running_.first_overdue() != nullptr && resume_at_ == proto::kNever;
  return overdue || !requests_.empty() || held_.awaits_reset();
}

}  // namespace nbdgw::initiator
