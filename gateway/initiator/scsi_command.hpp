#pragma once

#include <sys/uio.h>

#include <array>
#include <cstdint>
#include <optional>
#include <span>

#include "gateway/initiator/left_writes.hpp"
#include "gateway/initiator/proof.hpp"
#include "proto/scsi/sense.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

enum class Direction : std::uint8_t { none, read, write };

/// How a command ended, as the layer above must treat it.
enum class Outcome : std::uint8_t {
  pending,
  /// The target answered: `status` is valid, and `sense` for CHECK CONDITION.
  completed,
  /// The session was lost, and `proof` tells why the target cannot run it any more, or does no harm by it. It may or
  /// may not have run. Safe to queue again.
  transport_disrupted,
  /// A task management function over it completed: the target runs it no more (RFC 7143 section 11.5), as `proof`
  /// tells. It may or may not have run. Safe to queue again.
  aborted,
  /// The target answered, but nonsense: an iSCSI response other than "completed at target", sense that does not fit,
  /// a residual beyond the transfer (iscsi_scsi_cmd_rsp). The command is over at the target.
  bad_target,
  /// Taken back by recall() before it was given to a connection: the target has never heard of it. Safe to queue
  /// again.
  recalled,
  /// The session is being closed for good, or could not be had within the replacement timeout. Not running anywhere.
  path_lost,
};

struct ScsiCommand;

/// Whoever queued a command. Called from Session::deliver(), never from inside a protocol step, so that it may queue
/// further commands at once.
class CommandSink {
 public:
  virtual void on_command_done(ScsiCommand& command, proto::Micros now) = 0;

 protected:
  ~CommandSink() = default;
};

/// One SCSI command, owned by its sink and lent to the session from queuecommand() until on_command_done(). All
/// memory it points to must stay until then.
struct ScsiCommand {
  static constexpr std::size_t kMaxCdb = 32;
  static constexpr std::size_t kMaxSense = 96;

  // What to do.
  std::uint64_t lun = 0;  // the 8 bytes of SAM-5 4.7, as a big-endian number
  std::array<std::uint8_t, kMaxCdb> cdb{};
  std::uint8_t cdb_length = 0;
  Direction direction = Direction::none;
  std::span<const iovec> data;    // exactly data_length bytes
  std::uint32_t data_length = 0;  // Expected Data Transfer Length
  CommandSink* sink = nullptr;
  /// It is sent to look at the LUN: no work of clients, so that it succeeds proves little.
  bool looks = false;
  /// Of one that writes nothing. Its good end is told only when all commands of the LUN are over that were with the
  /// target then. One of them may have been told before of what the good end hides, as a unit attention or a deferred
  /// error is told once; and whose answer is sent first is up to the target, also on one connection.
  bool ends_last = false;
  /// How often the ladder was climbed for its sake. For its owner to clear when it becomes another command.
  std::uint8_t climbs = 0;

  // What came of it.
  Outcome outcome = Outcome::pending;
  std::uint8_t status = 0;  // SAM-5 status
  std::uint8_t sense_length = 0;
  std::array<std::uint8_t, kMaxSense> sense{};
  std::uint32_t residual_underflow = 0;  // bytes of data_length that were not transferred
  std::uint32_t residual_overflow = 0;   // bytes the target wanted beyond data_length
  /// With `completed`: bytes of the data, from the first on, that have really moved, by our own count and whatever
  /// the status and the residual say. Of a read: received. Of a write: asked for by the target (or sent unasked, as
  /// far as negotiated) and sent; what it asks for twice counts once.
  std::uint32_t transferred = 0;
  /// It was not answered within the command timeout, and the ladder was climbed for it: with `aborted` and
  /// `transport_disrupted`, tells a command that caused trouble from those that only suffered from it.
  bool overdue = false;
  /// With `transport_disrupted`: it is we who have ended the session (ladder, operator, another portal), and the
  /// command has done nothing for it.
  bool lost_by_us = false;
  /// Why the target cannot run it any more: there whenever it comes back, but as path_lost.
  std::optional<Proof> proof;
  static constexpr proto::Micros kNotStarted = -1;
  proto::Micros started_at = kNotStarted;  // when it was given to a connection, the last time it was queued

  /// Since when it is held in the session, because that was lost while the target had it, and nothing proves yet that
  /// it will not run it any more. To be read while it is lent: it will come back, but nobody knows when.
  static constexpr proto::Micros kNotHeld = proto::kNever;
  proto::Micros held_since = kNotHeld;

  // Link of the session's queues while the command is lent to it.
  ScsiCommand* next = nullptr;
};

/// What CHECK CONDITION has said (SPC-5 4.4); none: it has not ended so, or without sense data that can be read.
std::optional<proto::scsi::Sense> sense_of(const ScsiCommand& command) noexcept;

/// Whether a healthy target may be at work on it for long: SYNCHRONIZE CACHE, UNMAP, WRITE SAME, PRE-FETCH.
inline bool may_be_slow(const ScsiCommand& command) noexcept {
  switch (command.cdb[0]) {
    case 0x34:  // PRE-FETCH(10)
    case 0x35:  // SYNCHRONIZE CACHE(10)
    case 0x41:  // WRITE SAME(10)
    case 0x42:  // UNMAP
    case 0x90:  // PRE-FETCH(16)
    case 0x91:  // SYNCHRONIZE CACHE(16)
    case 0x93:  // WRITE SAME(16)
      return true;
    default:
      return false;
  }
}

/// Where SCSI commands go: an iSCSI session, or a test's stand-in.
class CommandTransport {
 public:
  /// Takes the command; it is never refused. It waits inside for a login that is under way, for the command window
  /// and for a free task. If the session is lost, or the login fails, before it was sent, it comes back as
  /// transport_disrupted; so it does if it was queued before the loss was told (Session::next_event()), for somebody
  /// has to look at the LUN before anything is sent to it in a new session. Its end is told by
  /// CommandSink::on_command_done().
  virtual void queuecommand(ScsiCommand& command, proto::Micros now) = 0;

  /// Takes back what waits inside for this LUN and was not given to a connection: those commands come back as
  /// Outcome::recalled. What has its CmdSN cannot be taken back any more. A transport in which nothing waits has
  /// nothing to do.
  virtual void recall(std::uint64_t lun) { static_cast<void>(lun); }

  /// The session before this one, in this process or the one before, was given up while it had commands with the
  /// target that write to this LUN: nothing goes there before it is proven that they will not run any more. `left`:
  /// where they were; empty: nobody knows, and any login is taken for the end of that session.
  virtual void suspect(std::uint64_t lun, std::span<const LeftWrites> left) {
    static_cast<void>(lun);
    static_cast<void>(left);
  }
  /// That is still to be proven.
  virtual bool suspects(std::uint64_t lun) const noexcept { return static_cast<void>(lun), false; }
  /// Where commands are that write to this LUN, and that nothing proves to be over: those of a session that was given
  /// up, and those that it suspects.
  virtual std::vector<LeftWrites> left_writes(std::uint64_t lun) const {
    static_cast<void>(lun);
    return {};
  }

 protected:
  ~CommandTransport() = default;
};

}  // namespace nbdgw::initiator
