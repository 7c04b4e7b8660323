#include "gateway/initiator/recovery_event.hpp"

namespace nbdgw::initiator {

const char* to_string(Rung rung) noexcept {
  switch (rung) {
    case Rung::timeout:
      return "timeout";
    case Rung::abort_task:
      return "abort_task";
    case Rung::abort_task_set:
      return "abort_task_set";
    case Rung::clear_task_set:
      return "clear_task_set";
    case Rung::lu_reset:
      return "lu_reset";
    case Rung::target_warm_reset:
      return "target_warm_reset";
    case Rung::target_cold_reset:
      return "target_cold_reset";
    case Rung::session_reset:
      return "session_reset";
    case Rung::relogin:
      return "relogin";
  }
  return "?";
}

const char* now_text(Rung rung) noexcept {
  switch (rung) {
    case Rung::timeout:
      return "is asking a connection whether it lives";
    case Rung::abort_task:
      return "is aborting a task";
    case Rung::abort_task_set:
      return "is aborting our tasks of a LUN";
    case Rung::clear_task_set:
      return "is clearing all tasks of a LUN";
    case Rung::lu_reset:
      return "is resetting a LUN";
    case Rung::target_warm_reset:
      return "is resetting the target";
    case Rung::target_cold_reset:
      return "is resetting the target, sessions and all";
    case Rung::session_reset:
      return "is dropping all connections";
    case Rung::relogin:
      return "is logging in again";
  }
  return "?";
}

const char* done_text(Rung rung) noexcept {
  switch (rung) {
    case Rung::timeout:
      return "asked a connection whether it lives, for a command was not answered";
    case Rung::abort_task:
      return "aborted a task";
    case Rung::abort_task_set:
      return "aborted our tasks of a LUN";
    case Rung::clear_task_set:
      return "cleared all tasks of a LUN";
    case Rung::lu_reset:
      return "reset a LUN";
    case Rung::target_warm_reset:
      return "reset the target";
    case Rung::target_cold_reset:
      return "reset the target, sessions and all";
    case Rung::session_reset:
      return "dropped all connections";
    case Rung::relogin:
      return "logged in again";
  }
  return "?";
}

const char* to_string(RungScope scope) noexcept {
  switch (scope) {
    case RungScope::task:
      return "task";
    case RungScope::lun:
      return "lun";
    case RungScope::target:
      return "target";
    case RungScope::session:
      return "session";
  }
  return "?";
}

const char* to_string(RungOutcome outcome) noexcept {
  switch (outcome) {
    case RungOutcome::success:
      return "success";
    case RungOutcome::not_found:
      return "not_found";
    case RungOutcome::refused:
      return "refused";
    case RungOutcome::timed_out:
      return "timed_out";
    case RungOutcome::failed:
      return "failed";
  }
  return "?";
}

}  // namespace nbdgw::initiator
