#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "proto/iscsi/chap.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

/// Where a target listens. `host` is a name or an address (IPv6 without brackets).
struct Portal {
  std::string host;
  std::uint16_t port = 3260;

  bool operator==(const Portal&) const = default;
};

/// How a digest is offered (RFC 7143 section 13.1).
enum class DigestOffer : std::uint8_t { none, prefer_none, prefer_crc32c, require_crc32c };

/// CHAP credentials (RFC 7143 section 12.1). Empty `user`: no CHAP. Empty `mutual_user`: the target need not prove
/// itself.
struct ChapSettings {
  std::string user;
  std::string secret;
  std::string mutual_user;
  std::string mutual_secret;
  /// In the order of preference.
  std::vector<proto::iscsi::ChapAlgorithm> algorithms{proto::iscsi::kAllChapAlgorithms.begin(),
                                                      proto::iscsi::kAllChapAlgorithms.end()};

  bool operator==(const ChapSettings&) const = default;
};

/// Whether a login that reinstates the session is believed to have ended the writes that were under way with all of
/// their data sent, or their LUNs are reset first. Some targets close the old connections, but leave alone what is
/// inside SCSI already.
enum class AfterReinstatement : std::uint8_t { reset, trust };

/// Whether a login into another target portal group is believed to have ended the writes of the session before. By
/// itself it ends nothing: that is another controller.
enum class OtherGroup : std::uint8_t { prove, trust };

/// What becomes of a negotiated DefaultTime2Wait (RFC 7143 section 13.15), the pause between the loss of a session
/// and the next login. Common targets say 2 s and mind nothing. What a Logout Response or an asynchronous message
/// names is always kept.
enum class Time2Wait : std::uint8_t { ignore, negotiated };

/// Everything that a session to one target is set up with. Lengths in bytes.
struct SessionSettings {
  std::string label;  // the configuration's name of the target, for logs
  std::string initiator_name;
  std::string target_name;      // IQN; empty for a discovery session
  std::vector<Portal> portals;  // tried in turn; never empty
  std::uint16_t connections = 1;
  std::optional<std::uint16_t>
      only_group;  // TargetPortalGroupTag; a login that leads elsewhere ends before it counts
  DigestOffer header_digest = DigestOffer::none;
  DigestOffer data_digest = DigestOffer::none;
  ChapSettings chap;
  bool immediate_data = true;
  bool initial_r2t = false;
  std::uint32_t first_burst_length = 256 * 1024;
  std::uint32_t max_burst_length = 1024 * 1024;
  std::uint32_t max_recv_data_segment_length = 256 * 1024;
  std::uint16_t max_outstanding_r2t = 4;
  std::uint16_t queue_depth = 128;  // SCSI tasks in flight over the session
  /// Silence on a command after which the escalation ladder looks at it, and how long each rung may take.
  proto::Micros command_timeout = 15 * proto::kSecond;
  proto::Micros slow_command_timeout = 90 * proto::kSecond;  // of those that may_be_slow()
  proto::Micros abort_timeout = 10 * proto::kSecond;
  proto::Micros lu_reset_timeout = 15 * proto::kSecond;
  proto::Micros target_reset_timeout = 30 * proto::kSecond;
  /// Whether Data-Out that the target asked for is withheld while a reset is under way. Some targets answer a reset
  /// only once they have the data.
  bool fast_abort = true;
  AfterReinstatement after_reinstatement = AfterReinstatement::reset;
  OtherGroup other_group = OtherGroup::prove;
  Time2Wait time2wait = Time2Wait::ignore;
  proto::Micros login_timeout = 15 * proto::kSecond;
  proto::Micros logout_timeout = 15 * proto::kSecond;
  proto::Micros nop_interval = 5 * proto::kSecond;
  proto::Micros nop_timeout = 5 * proto::kSecond;

  /// Where a session was that a process before this one has left without a word: the first login goes there, if it is
  /// one of the portals, and to the same address of it, if that is known; and it waits for so long.
  std::optional<Portal> first_portal;
  std::string first_address;
  proto::Micros first_pause = 0;

  bool operator==(const SessionSettings&) const = default;
};

}  // namespace nbdgw::initiator
