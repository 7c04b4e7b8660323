#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "proto/iscsi/pdu.hpp"
#include "proto/time.hpp"

namespace nbdgw::iscsi_target {

class Connection;
class Session;
struct Task;

/// Who may interfere with what a target does: tests and faults. A server without a gate pays a null check where one
/// could act.
class Gate {
 public:
  /// Where every SCSI command passes.
  enum class Passage : std::uint8_t {
    begin,    // its turn has come: it enters the task set, before it is judged and before it asks for data
    execute,  // all its data is there
    respond,  // its answer is ready to be sent
  };
  /// What becomes of a command there.
  enum class Decision : std::uint8_t {
    proceed,
    /// At `execute` and `respond`: the task stays where it is until Session::resume() takes it on, or until it is
    /// aborted. At `begin`: it gathers its data, and is judged only when it is about to be executed.
    hold,
    answer,   // not executed: what was set in the task (set_status() and the like) is its answer
    discard,  // ends without an answer
  };

  /// At `respond` the task's status, sense and data may be changed.
  virtual Decision pass(Task& task, Passage passage, proto::Micros now) = 0;

  /// A task that was held, or that has `followed` set, has been aborted: it must not be resumed.
  virtual void on_gone(Task& task) = 0;

  enum class Management : std::uint8_t {
    proceed,
    answer,   // with `result`, and without any effect
    silence,  // neither answer nor effect
  };
  /// A task management request whose turn has come.
  virtual Management manage(Session&, Connection&, const proto::iscsi::TaskManagementRequest&,
                            proto::iscsi::TaskManagementResult&, proto::Micros) {
    return Management::proceed;
  }

  /// Whether a task management request has to wait for something that is under way. Whoever says so calls
  /// Session::go_on() when it is over.
  virtual bool delays(const Session&, const Connection&, const proto::iscsi::TaskManagementRequest&) { return false; }

  struct LoginAnswer {
    proto::iscsi::LoginStatus status{};
    std::string text;  // key=value pairs, each ended by a zero
  };
  /// A login request, before it is looked at: what it is refused with.
  virtual std::optional<LoginAnswer> refuse_login(const proto::iscsi::LoginRequest&) { return std::nullopt; }

  enum class Damage : std::uint8_t { none, header_digest, data_digest };
  /// Which digest of a PDU leaves wrong. `task`: whose PDU it is, null: none's. Only asked where there are digests.
  virtual Damage damage(const Connection&, const Task* /*task*/, bool /*has_header_digest*/,
                        bool /*is_data_in_with_digest*/) {
    return Damage::none;
  }

 protected:
  ~Gate() = default;
};

}  // namespace nbdgw::iscsi_target
