#pragma once

#include <cstdint>

#include "tests/sim/target/faults.hpp"
#include "tests/sim/target/medium.hpp"

namespace nbdgw::sim {

class CommandTable;
struct TargetCommand;

/// A task management function, as it comes.
struct FunctionSeen {
  std::uint32_t session = 0;
  std::uint32_t itt = 0;
  std::uint8_t function = 0;
  std::uint8_t operation = 0xff;  // of the command that is to be aborted, if it is there
  std::uint64_t lun = 0;          // as it came
  Micros age = -1;                // of the command that is to be aborted, since it came; -1: it has not
  friend bool operator==(const FunctionSeen&, const FunctionSeen&) = default;
};

/// Is told what happens at a target. It changes nothing of it.
class TargetObserver : public MediumObserver {
 public:
  /// A command that writes blocks has its turn, and it is known which blocks. `command` is in the table.
  virtual void on_writer(const CommandTable&, const TargetCommand&) {}
  /// A login has begun: of a new session (`leading`), or of a further connection.
  virtual void on_login(bool /*leading*/) {}
  /// An attempt to connect to that controller; `silent`: nobody answers. `in_session`: there is a session.
  virtual void on_connect(std::uint16_t /*controller*/, bool /*silent*/, bool /*in_session*/) {}
  /// The login was sent elsewhere, and comes again at once.
  virtual void on_redirect() {}
  /// The initiator knows of what happened to the disk's cache then (on_power_loss()): it has acknowledged the answer
  /// that tells it. Of losses of power also of those since `from`, which nothing else has told.
  virtual void on_loss_known(const Medium&, Micros /*from*/, Micros /*lost_at*/) {}
  /// A command is answered whose sender did not know, when it sent that, of the last change of the disk; `knows`: but
  /// has acknowledged by now what tells of it.
  virtual void on_unwarned_answer(const TargetCommand&, bool /*knows*/) {}
  virtual void on_fault(Fault) {}
  /// ABORT TASK has come for this command.
  virtual void on_abort(const CommandTable&, const TargetCommand&) {}
  virtual void on_function(const CommandTable&, const FunctionSeen&) {}
  virtual void on_function_answered(const CommandTable&, const FunctionSeen&, std::uint8_t /*response*/) {}
  /// The answer to this command tells that somebody has reset the unit, or has ended commands there.
  virtual void on_reset_told(const CommandTable&, const TargetCommand&) {}
  /// A READ that costs its session.
  virtual void on_deadly(const TargetCommand&) {}
  /// The command with this CmdSN was rejected, and the session waits for another one in its place.
  virtual void on_hole(std::uint32_t /*session*/, std::uint32_t /*cmd_sn*/) {}

 protected:
  ~TargetObserver() = default;
};

}  // namespace nbdgw::sim
