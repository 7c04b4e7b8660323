#include "gateway/admin/audit.hpp"

#include "gateway/net/log.hpp"

namespace nbdgw::admin {

const char* to_string(Verb verb) noexcept {
  switch (verb) {
    case Verb::drain:
      return "drain";
    case Verb::undrain:
      return "undrain";
    case Verb::set_export_state:
      return "set_export_state";
    case Verb::rescan_export:
      return "rescan_export";
    case Verb::disconnect_client:
      return "disconnect_client";
    case Verb::abort_task:
      return "abort_task";
    case Verb::abort_task_set:
      return "abort_task_set";
    case Verb::clear_task_set:
      return "clear_task_set";
    case Verb::reset_lun:
      return "reset_lun";
    case Verb::reset_target:
      return "reset_target";
    case Verb::reset_session:
      return "reset_session";
    case Verb::drop_connection:
      return "drop_connection";
    case Verb::set_log_level:
      return "set_log_level";
    case Verb::reload_config:
      return "reload_config";
    case Verb::post_fault:
      return "post_fault";
    case Verb::delete_fault:
      return "delete_fault";
  }
  return "?";
}

const char* to_string(ChangeOutcome outcome) noexcept {
  switch (outcome) {
    case ChangeOutcome::accepted:
      return "accepted";
    case ChangeOutcome::refused:
      return "refused";
    case ChangeOutcome::dry_run:
      return "dry_run";
  }
  return "?";
}

void Audit::record(const Change& change, ChangeOutcome outcome, std::string_view detail) noexcept {
  counts_[static_cast<std::size_t>(change.verb)][static_cast<std::size_t>(outcome)].fetch_add(
      1, std::memory_order_relaxed);
  // What a client, a certificate or a path has said must neither end the line nor look like another field.
  net::log::info({.client = net::log::address_in(change.who)},
                 "admin: by={} verb={} object={} dry_run={} outcome={} detail={}",
                 net::log::quoted(change.who, net::log::kWhole), to_string(change.verb),
                 net::log::quoted(change.object, net::log::kWhole), change.dry_run, to_string(outcome),
                 net::log::quoted(detail, net::log::kWhole));
}

}  // namespace nbdgw::admin
