#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "gateway/iscsi_target/medium.hpp"
#include "proto/iscsi/chap.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/time.hpp"

/// What an embedded target is made of and how it behaves. Plain values, set before it starts.
namespace nbdgw::iscsi_target {

struct LunOptions {
  std::uint32_t number = 1;        // 0..16383
  Medium* medium = nullptr;        // must outlive the server
  std::uint32_t block_size = 512;  // bytes: 512 or 4096; the medium is a whole number of blocks
  bool read_only = false;
  bool write_cache = true;  // WCE of the caching page: what is not flushed may be lost with the power
  std::string serial;       // empty: derived from the target's name and the number
  std::string identity{};   // the name to derive from, of serial and designator; empty: the target's
};

struct TargetOptions {
  std::string name;  // TargetName
  std::string alias;
  std::vector<LunOptions> luns;
};

/// CHAP (RFC 7143 section 12.1.3). An empty user: none asked for.
struct ChapOptions {
  std::string user;  // whom the initiator has to be
  std::string secret;
  std::string mutual_user;  // who the target is, for initiators that ask
  std::string mutual_secret;
  std::vector<proto::iscsi::ChapAlgorithm> algorithms{proto::iscsi::kAllChapAlgorithms.begin(),
                                                      proto::iscsi::kAllChapAlgorithms.end()};

  bool required() const noexcept { return !user.empty(); }
  bool mutual() const noexcept { return !mutual_user.empty(); }
};

/// The embedded target's own wishes for what is negotiated.
inline proto::iscsi::OperationalWishes default_wishes() {
  proto::iscsi::OperationalWishes wishes;
  wishes.session.max_connections = 8;
  wishes.session.initial_r2t = false;
  wishes.session.max_burst_length = 1024 * 1024;
  wishes.session.first_burst_length = 256 * 1024;
  wishes.session.max_outstanding_r2t = 4;
  wishes.session.default_time2wait = 0;
  wishes.session.default_time2retain = 0;  // at level 0 nothing is kept for a connection that was lost
  wishes.max_recv_data_segment_length = 256 * 1024;
  wishes.header_digest = "None,CRC32C";  // whatever the initiator prefers
  wishes.data_digest = "None,CRC32C";
  return wishes;
}

struct ServerOptions {
  std::uint16_t portal_group_tag = 1;
  std::vector<TargetOptions> targets;
  proto::iscsi::OperationalWishes wishes = default_wishes();
  ChapOptions chap;
  /// Non-immediate commands of a session at a time: the command window.
  std::uint32_t queue_depth = 128;
  /// Payload of commands of all sessions together. A command for which nothing is left is answered TASK SET FULL.
  std::size_t buffer_bytes = 128 * 1024 * 1024;
  /// For TargetAddress in SendTargets, "host:port"; empty: where the initiator connected to.
  std::string advertised_address;
  proto::Micros login_timeout = 15 * proto::kSecond;
  /// Silence after which the target asks with a NOP-In (0: never), and how long it waits for the answer.
  proto::Micros nop_interval = 0;
  proto::Micros nop_timeout = 10 * proto::kSecond;
};

/// Bounds of ServerOptions::queue_depth.
inline constexpr std::uint32_t kMinQueueDepth = 1;
inline constexpr std::uint32_t kMaxQueueDepth = 1024;
/// Immediate SCSI commands and task management requests of a session at a time; more are rejected.
inline constexpr std::uint32_t kMaxImmediateTasks = 32;
/// R2Ts of one task at a time, whatever is negotiated.
inline constexpr std::uint32_t kMaxOutstandingR2t = 16;
/// What one command may transfer (MAXIMUM TRANSFER LENGTH of VPD B0h), bytes.
inline constexpr std::uint32_t kMaxTransferBytes = 16 * 1024 * 1024;
/// Data-In PDUs are not longer, however much the initiator would take: others want their turn.
inline constexpr std::uint32_t kMaxDataInSegment = 256 * 1024;
/// Data of a NOP-Out that is sent back (section 11.18: the rest may be cut).
inline constexpr std::uint32_t kMaxPingData = 64 * 1024;
/// Requests of one login, and text pairs gathered in one.
inline constexpr std::uint32_t kMaxLoginRequests = 64;
/// Responses, R2Ts and the like that wait to be sent on one connection. Beyond, nothing more is read from it.
inline constexpr std::uint32_t kMaxQueuedControl = 1024;
/// Sessions at a time.
inline constexpr std::size_t kMaxSessions = 1024;
/// Logical units of one target.
inline constexpr std::size_t kMaxLuns = 256;

}  // namespace nbdgw::iscsi_target
