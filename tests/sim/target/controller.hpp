#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/target/line.hpp"
#include "tests/sim/target/lun.hpp"

namespace nbdgw::sim {

class Array;
class TargetConnection;

struct ControllerOptions {
  std::vector<std::string> addresses;  // "10.1.0.1:3260"
  std::uint16_t group_tag = 1;         // TargetPortalGroupTag
};

/// What a line tells its connection. Not used after the line's end.
class ConnectionPort {
 public:
  ConnectionPort() = default;
  ConnectionPort(Array& array, TargetConnection& connection) : array_(&array), connection_(&connection) {}
  /// `more`: what belongs to them follows at once.
  void on_bytes(const Piece& bytes, bool more = false);
  /// The initiator sends no more; with `reset` the connection is no more.
  void on_end(bool reset);

 private:
  Array* array_ = nullptr;
  TargetConnection* connection_ = nullptr;
};

/// One of the array's, with addresses of its own: a target portal group.
class Controller {
 public:
  enum class Answer : std::uint8_t { accept, refuse, silence };

  Controller(Array& array, ControllerOptions options, std::uint16_t index);

  std::uint16_t index() const noexcept { return index_; }
  const ControllerOptions& options() const noexcept { return options_; }

  /// What an attempt to connect would be answered.
  Answer answer() const noexcept;
  /// An attempt.
  Answer on_connect();
  /// After `accept`.
  ConnectionPort connect(Line& line);

  AccessState access() const noexcept { return access_; }
  void set_access(AccessState state) noexcept { access_ = state; }
  /// It is off: nobody answers, and connections are gone. Or nobody listens, and they are reset.
  void go_down(bool silent);
  void come_up() noexcept { down_ = false; }
  bool is_down() const noexcept { return down_; }
  /// It stands still: what its initiators send stays unread, or (frozen_paths) does not even come, and nothing is
  /// sent.
  void freeze(bool yes);
  bool is_frozen() const noexcept { return frozen_; }

 private:
  Array& array_;
  const ControllerOptions options_;
  const std::uint16_t index_;
  AccessState access_ = AccessState::active;
  bool down_ = false;
  bool silent_ = false;
  bool frozen_ = false;
};

}  // namespace nbdgw::sim
