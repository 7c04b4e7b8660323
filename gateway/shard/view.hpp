#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "gateway/bridge/counters.hpp"
#include "gateway/bridge/export.hpp"
#include "gateway/device/facts.hpp"
#include "gateway/initiator/connection.hpp"
#include "gateway/initiator/session.hpp"
#include "gateway/nbd/close_reason.hpp"
#include "gateway/nbd/connection.hpp"
#include "gateway/nbd/counters.hpp"
#include "gateway/shard/admin_state.hpp"
#include "proto/time.hpp"

/// What the gateway looks like from outside: plain copies, made by the shards on their own threads and handed to
/// whoever asked (the admin server). Nothing here refers back into the core. Times are durations in microseconds, as
/// of the moment of the copy.
namespace nbdgw::shard {

struct ClientView {
  std::uint64_t id = 0;  // over the whole gateway, from 1; never used again
  std::string peer;      // "127.0.0.1:51234", "[::1]:51234" or "unix"
  std::string exported;  // empty: still in the handshake
  proto::Micros age = 0;
  nbd::Connection::Phase phase{};
  bool tls = false;
  bool structured_replies = false;
  bool stalled = false;          // waits for payload memory
  bool flush_will_fail = false;  // writes may be lost, and it was not told yet
  std::uint32_t in_flight = 0;
  nbd::Counters counters;
};

struct ExportView {
  std::string name;
  std::string target;  // the configuration's name
  std::uint16_t lun = 0;
  AdminState admin_state = AdminState::ready;
  bridge::ExportState state{};
  std::string reason;    // offline, refused: why
  bool required = true;  // the gateway is ready only while it is online
  bool leaving = false;  // a reload takes it away; what is configured under its name, if anything, is another one
  bool known = false;    // info and facts are valid
  nbd::ExportInfo info;  // as NBD clients see it
  device::Facts facts;   // the LUN's
  bridge::ExportCounters counters;
  nbd::Counters nbd;  // of all its clients, also those that are gone
  std::uint32_t clients = 0;
  std::uint64_t clients_total = 0;
  std::uint32_t in_flight = 0;       // NBD requests
  std::uint32_t held = 0;            // of these, requests that wait for the path to come back
  bool same_disk = false;            // others may serve it, too, unfenced
  proto::Micros held_for = 0;        // since when there is no path; 0: there is one
  proto::Micros down_for = 0;        // since when it is not online, from its beginning if it never was; 0: it is
  proto::Micros oldest_request = 0;  // age of the oldest request in flight
  std::uint32_t tasks_queued = 0;    // SCSI tasks that wait for the path or for queue depth
  std::uint32_t tasks_delayed = 0;   // that wait for their retry
  std::uint32_t tasks_in_flight = 0;
  std::uint32_t tasks_held = 0;   // of these, that the session holds for want of a proof: they take no queue depth
  std::uint32_t queue_depth = 0;  // as adapted to TASK SET FULL
  std::uint64_t unflushed_writes = 0;
  std::uint64_t doubtful_writes = 0;
  std::uint64_t flushes_to_fail = 0;  // for these
};

struct ConnectionView {
  std::uint16_t cid = 0;
  initiator::ConnectionState state{};
  std::string portal;  // where it is, or was last, connected to: "host:port"
  bool header_digest = false;
  bool data_digest = false;
  bool pinging = false;   // a NOP-Out waits for its answer
  proto::Micros age = 0;  // in this state
  proto::Micros silent_for = 0;
  std::uint32_t tasks = 0;
  std::uint64_t outstanding_bytes = 0;
  initiator::ConnectionCounters counters;
};

/// The rung that is being climbed now.
struct ClimbView {
  initiator::Rung rung{};
  initiator::RungScope scope{};
  std::uint64_t lun = initiator::RecoveryEvent::kNoLun;  // as on the wire
  std::uint16_t cid = 0;
  std::uint32_t request_id = 0;  // asked for by hand; 0: the ladder's own doing
  std::string cause;
  proto::Micros age = 0;
};

struct SessionView {
  std::string target;  // the configuration's name
  std::string iqn;
  initiator::SessionState state{};
  std::string trouble;    // why it is not logged in
  proto::Micros age = 0;  // since it is logged in, or since it is not
  std::uint16_t tsih = 0;
  std::string isid;                    // 12 hexadecimal digits
  std::string portal;                  // where it is, or tries to be: "host:port"
  std::optional<std::uint16_t> group;  // TargetPortalGroupTag, as the target told it last
  std::string portal_reason;           // why there
  std::uint32_t cmd_sn = 0;
  std::uint32_t exp_cmd_sn = 0;
  std::uint32_t max_cmd_sn = 0;
  std::uint32_t window = 0;  // commands that the target takes now: MaxCmdSN + 1 - CmdSN, 0 when closed
  std::uint32_t tasks = 0;   // in use, management included
  std::uint32_t tasks_max = 0;
  std::uint32_t connections_wanted = 0;
  std::optional<ClimbView> climb;
  initiator::SessionCounters counters;
  std::vector<ConnectionView> connections;
};

/// A SCSI task in the session's table.
struct TaskView {
  std::uint32_t itt = 0;
  std::uint32_t cmd_sn = 0;
  std::uint16_t cid = 0;
  std::uint16_t lun = 0;
  std::uint8_t opcode = 0;   // byte 0 of the CDB
  std::uint64_t lba = 0;     // 0 where the command has none
  std::uint32_t length = 0;  // bytes of data
  initiator::TaskState state{};
  bool overdue = false;  // a matter for the ladder
  proto::Micros age = 0;
  proto::Micros idle = 0;      // since the last PDU of it
  proto::Micros deadline = 0;  // until the ladder looks at it; 0: it is past
};

struct ShardView {
  std::uint32_t index = 0;
  std::uint64_t memory_used = 0;
  std::uint64_t memory_limit = 0;
  std::uint64_t turns = 0;                                 // of its loop
  std::uint32_t handshakes = 0;                            // clients that are still in it
  std::array<std::uint64_t, nbd::kCloseReasons> closed{};  // NBD connections that have ended, by CloseReason
  std::vector<ExportView> exports;
  std::vector<SessionView> sessions;
  std::vector<ClientView> clients;  // only if asked for
};

/// An export of the configuration in force that is not there, or only just: it waits for what a reload takes away
/// before (its own predecessor, for instance).
struct MissingExport {
  std::string name;
  bool required = true;
};

/// What a view is asked to have beside the rest.
struct ViewOptions {
  bool clients = false;  // each NBD client, too; their numbers are there anyway
};

struct GatewayView {
  bool draining = false;  // asked for by an operator: no new clients on any export
  std::uint32_t clients = 0;
  std::uint32_t clients_max = 0;
  std::uint64_t accepted = 0;
  std::uint64_t over_limit = 0;
  std::uint64_t out_of_descriptors = 0;
  std::vector<std::string> addresses;
  std::vector<MissingExport> missing;
  std::vector<ShardView> shards;  // by index
};

}  // namespace nbdgw::shard
