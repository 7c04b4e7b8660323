#pragma once

#include <cstdint>

#include "tests/sim/target/faults.hpp"
#include "tests/sim/target/medium.hpp"

namespace nbdgw::sim {

class CommandTable;
struct TargetCommand;

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
  /// that tells it.
  virtual void on_loss_known(const Medium&, Micros /*lost_at*/) {}
  /// A command is answered whose sender did not know, when it sent that, of the last change of the disk; `knows`: but
  /// has acknowledged by now what tells of it.
  virtual void on_unwarned_answer(const TargetCommand&, bool /*knows*/) {}
  virtual void on_fault(Fault) {}
  /// ABORT TASK has come for this command.
  virtual void on_abort(const CommandTable&, const TargetCommand&) {}

 protected:
  ~TargetObserver() = default;
};

}  // namespace nbdgw::sim
