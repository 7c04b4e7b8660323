#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/target/commands.hpp"
#include "tests/sim/target/controller.hpp"
#include "tests/sim/target/lun.hpp"
#include "tests/sim/target/pdu.hpp"

namespace nbdgw::sim {

/// Who logs in, to what.
struct SessionIdentity {
  std::string initiator;
  std::array<std::uint8_t, 6> isid{};
  std::string target;
  friend bool operator==(const SessionIdentity&, const SessionIdentity&) = default;
};

/// What was negotiated for a session; the defaults of RFC 7143 section 13.
struct SessionTerms {
  std::uint32_t max_connections = 1;
  std::uint32_t max_burst = 262144;
  std::uint32_t first_burst = 65536;
  std::uint32_t max_r2t = 1;
  bool initial_r2t = true;
  bool immediate_data = true;
};

/// An I_T nexus: its connections, and the order of commands over all of them.
class TargetSession {
 public:
  TargetSession(Array& array, Controller& controller, SessionIdentity identity, const SessionTerms& terms,
                std::uint32_t number, std::uint32_t cmd_sn);

  std::uint32_t number() const noexcept { return number_; }
  std::uint16_t tsih() const noexcept { return static_cast<std::uint16_t>(number_ % 0xffff + 1); }
  const SessionIdentity& identity() const noexcept { return identity_; }
  Controller& controller() noexcept { return controller_; }
  const SessionTerms& terms() const noexcept { return terms_; }
  std::vector<TargetConnection*>& connections() noexcept { return connections_; }
  TargetConnection* find_connection(std::uint16_t cid) const noexcept;
  bool ended() const noexcept { return ended_; }
  void set_ended() noexcept { ended_ = true; }

  // ---- requests ----

  void receive(TargetConnection& connection, const pdu::Request& request);
  /// What waits behind a hole and came over it is lost, and so is its place in the order.
  void on_connection_lost(TargetConnection& connection);

  // ---- the order of commands ----

  std::uint32_t exp_cmd_sn() const noexcept { return exp_cmd_sn_; }
  std::uint32_t max_cmd_sn() const noexcept { return max_cmd_sn_; }
  /// Something that waits has this number.
  bool has_parked(std::uint32_t cmd_sn) const noexcept;
  bool has_hole() const noexcept { return !parked_.empty(); }
  /// The number counts as received, without a command.
  void fill(std::uint32_t cmd_sn);
  /// A command that waits is ended; its number stays taken.
  void void_parked(TargetCommand& command) noexcept;
  void freeze_window(bool yes);
  bool window_frozen() const noexcept { return window_frozen_; }
  void command_entered() noexcept { ++live_; }
  void command_left();

  // ---- commands by tag ----

  TargetCommand* find(std::uint32_t itt) const noexcept;
  void add(TargetCommand& command) noexcept;
  void remove(TargetCommand& command) noexcept;
  /// The record of the command that had that CmdSN; null: none had.
  const CommandRecord* record_of(std::uint32_t cmd_sn) const noexcept;

  // ---- what it was told ----

  /// The answer with this StatSN told that.
  void told(const News& news, const TargetConnection& connection, std::uint32_t stat_sn);
  std::uint32_t functions_out = 0;  // without an answer
  std::uint32_t functions = 0;      // that have come

 private:
  struct Parked {
    std::uint32_t cmd_sn;
    bool counts;                   // takes a number
    TargetCommand* command;        // a SCSI command
    TargetConnection* connection;  // null, and no command: nothing is left of it
    pdu::Header bhs;
  };
  struct Told {
    News news;
    std::uint32_t connection;
    std::uint32_t stat_sn;
  };
  static constexpr std::size_t kBuckets = 256;
  static std::size_t bucket_of(std::uint32_t itt) noexcept { return (itt ^ (itt >> 13)) % kBuckets; }

  void in_order(TargetConnection& connection, const pdu::Request& request);
  void execute(TargetConnection& connection, const pdu::Request& request);
  void park(TargetConnection& connection, const pdu::Request& request);
  void drain();
  void nop_out(TargetConnection& connection, const pdu::Request& request);
  void logout(TargetConnection& connection, const pdu::Request& request);
  bool rejects(TargetConnection& connection, const pdu::Request& request);
  void take_acknowledgement(TargetConnection& connection, const pdu::Request& request);
  void open_window() noexcept;

  Array& array_;
  Controller& controller_;
  const SessionIdentity identity_;
  const SessionTerms terms_;
  const std::uint32_t number_;
  const std::uint32_t first_cmd_sn_;
  std::uint32_t exp_cmd_sn_;
  std::uint32_t max_cmd_sn_;
  std::uint32_t live_ = 0;  // commands that have entered and are not over
  bool window_frozen_ = false;
  bool ended_ = false;
  std::vector<TargetConnection*> connections_;
  std::vector<Parked> parked_;
  std::vector<Told> told_;
  std::vector<std::uint32_t> records_;  // by CmdSN, from the first one on
  std::array<TargetCommand*, kBuckets> buckets_{};
};

}  // namespace nbdgw::sim
