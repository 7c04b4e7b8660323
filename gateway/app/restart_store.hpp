#pragma once

#include <string>
#include <vector>

#include "gateway/net/inherited_sockets.hpp"
#include "gateway/shard/kept_state.hpp"

namespace nbdgw::app {

/// Where what one process leaves lies until the next one comes: systemd's store of descriptors (sd_notify(3),
/// FDSTORE; FileDescriptorStoreMax= of the unit). It holds the sockets of clients, and one memory file that says what
/// they are.
///
/// It is there where systemd is, and FDSTORE in the environment says that the unit has one: systemd does so from 254
/// on, for older ones the unit does.
class RestartStore {
 public:
  /// `passed`: of the descriptors that systemd has passed those that its store held (is_stored()).
  explicit RestartStore(std::vector<net::InheritedSockets::Named> passed);

  /// Whether a descriptor that systemd has passed under that name is one that a process before this one has stored. A
  /// socket unit may have any name, ours too: what tells the two apart is that a socket of a unit listens, and what
  /// was stored does not.
  static bool is_stored(const std::string& name, int fd);

  bool is_there() const noexcept;
  /// What the process before has left. The store has let go of it: should we be killed, nobody takes it for the state
  /// of then.
  shard::KeptState& kept() noexcept { return kept_; }
  /// For the next process; returns when the store has it. If it does not take it, that is logged: these clients lose
  /// their connections when this process ends. False: it has not taken all.
  static bool put(const shard::KeptState& state);

 private:
  shard::KeptState kept_;
};

}  // namespace nbdgw::app
