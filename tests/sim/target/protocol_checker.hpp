#pragma once

#include <cstdint>
#include <string>

#include "tests/sim/target/pdu.hpp"

namespace nbdgw::sim {

class TargetConnection;
class TargetSession;
struct TargetCommand;
struct CommandRecord;

/// Hears what the initiator does against the rules (RFC 7143).
class ProtocolComplaints {
 public:
  virtual void on_violation(const std::string& what) = 0;

 protected:
  ~ProtocolComplaints() = default;
};

/// The sequence numbers of a connection, as far as they bind what comes next.
struct SequenceWatch {
  bool acknowledges = false;  // exp_stat_sn is there
  std::uint32_t exp_stat_sn = 0;
  bool counts = false;  // least_cmd_sn is there
  std::uint32_t least_cmd_sn = 0;
};

/// The target as judge of the initiator. It changes nothing of what the target does.
class ProtocolChecker {
 public:
  explicit ProtocolChecker(ProtocolComplaints* complaints) : complaints_(complaints) {}

  void complain(const TargetConnection& connection, const std::string& what);
  void complain(const std::string& what);

  /// Any request in full feature phase: flags, lengths and sequence numbers.
  void on_request(TargetConnection& connection, const pdu::Request& request);
  /// A command, with its tag and place in the session.
  void on_command(TargetConnection& connection, const pdu::Request& request);
  /// Whether these data may come, and belong where they say.
  bool on_data_out(TargetConnection& connection, const TargetCommand& command, const pdu::Request& request);
  void on_function(TargetConnection& connection, const pdu::Request& request, const TargetCommand* referenced,
                   const CommandRecord* record);
  void on_logout(TargetConnection& connection, const pdu::Request& request);

 private:
  void check_lengths(TargetConnection& connection, const pdu::Request& request);
  void check_stat_sn(TargetConnection& connection, const pdu::Request& request);
  void check_cmd_sn(TargetConnection& connection, const pdu::Request& request);

  ProtocolComplaints* complaints_;
};

}  // namespace nbdgw::sim
