#pragma once

#include <cstdint>
#include <string>

#include "gateway/initiator/scsi_command.hpp"
#include "proto/time.hpp"

/// What to do about a SCSI command that came back: the one place where status and sense are judged (design 5.7).
namespace nbdgw::device {

/// What the command was for; the same answer means different things to a read and to a write.
enum class CommandKind : std::uint8_t { read, write, flush, unmap, write_same, other };

/// Why a command failed for good, in words of no protocol.
enum class Error : std::uint8_t {
  none,
  io,             // medium, hardware, or beyond all retries
  no_space,       // thin pool exhausted, or written beyond the end
  invalid,        // beyond the end
  not_permitted,  // write protected, or reserved by another initiator
  unsupported,    // the target does not know this command or this form of it: do it in another way
};

enum class Action : std::uint8_t {
  done,         // the command has done what it should
  retry_now,    // queue it again
  retry_later,  // queue it again after `delay`
  hold,         // the session was lost: queue it again once it is back
  error,        // give up with `error`
};

/// What a command's end tells about the unit, beside the command itself. Each is to be acted upon whatever the
/// action.
struct Notes {
  bool unit_attention = false;     // absorbed; for counting
  bool cache_may_be_lost = false;  // writes acknowledged but not flushed may be gone: the next FLUSH must fail
  bool power_on = false;           // the same, unless a reset or login of our own explains it (29/00, 29/02)
  bool capacity_changed = false;   // read the capacity again
  bool facts_changed = false;      // probe again: mode parameters, INQUIRY data or the medium changed
  bool inventory_changed = false;  // LUNs came or went
  bool threshold_reached = false;  // the thin pool runs low
  bool queue_full = false;         // fewer commands at a time, please

  bool any() const noexcept;
  Notes& operator|=(const Notes& other) noexcept;
};

/// How often one command was sent again, and why. Kept by the command's owner from its first sending to its end,
/// counted by decide(). Each kind of trouble has its own limit.
///
/// A command that comes back because the ladder was climbed, or the session lost, for the sake of another one has
/// done nothing wrong, and is not counted. One that was itself overdue is (`ScsiCommand::overdue`): a command that
/// hangs the LUN, or brings the session down, again and again must come to an end.
struct Attempts {
  std::uint8_t errors = 0;           // up to the retries given to decide()
  std::uint8_t waits = 0;            // up to kMaxWaits
  std::uint8_t unit_attentions = 0;  // up to kMaxUnitAttentions
  /// A reset or login of our own has just raised unit attentions: those are not counted. For the owner to set before
  /// decide(); it must see to it that such a time has an end.
  bool attentions_expected = false;
};

/// Retries after an error that may pass (aborted commands, short transfers, nonsense) and after being overdue, unless
/// the configuration says otherwise.
inline constexpr std::uint8_t kDefaultRetries = 5;
/// Retries after unit attentions. A reset may leave several in line (29h, 2Ah, 3Fh), for each command of a burst.
inline constexpr std::uint8_t kMaxUnitAttentions = 16;
/// Retries after BUSY, TASK SET FULL and "becoming ready": with the delays below they last about two minutes, as long
/// as a session may be away (replacement timeout, design section 6).
inline constexpr std::uint8_t kMaxWaits = 32;
inline constexpr proto::Micros kFirstWait = 10 * proto::kMillisecond;  // doubled each time
inline constexpr proto::Micros kLongestWait = 5 * proto::kSecond;

/// The delay before the retry that follows `waits` earlier ones.
proto::Micros wait_before_retry(std::uint8_t waits) noexcept;
/// The same after an error: at once for the first time, then there is no point in spending the rest within a
/// millisecond.
proto::Micros wait_before_error_retry(std::uint8_t errors) noexcept;

struct Disposition {
  Action action = Action::done;
  Error error = Error::none;  // with Action::error
  proto::Micros delay = 0;    // with Action::retry_later
  Notes notes;
  bool short_transfer = false;  // it would be done, but for data that did not move
  /// With short_transfer: so many bytes have moved, by the target's count and our own; only the rest need be sent
  /// again. 0: the two counts do not fit each other, or do not tell.
  std::uint32_t moved = 0;
};

/// Judges a command that came back through CommandSink::on_command_done(), and counts the attempt. A command that
/// takes or brings data of a fixed length (all kinds but flush and other) is never done before all of it has moved,
/// whatever its status: a READ would hand on what was in the memory before, and an UNMAP whose parameter list nobody
/// asked for has unmapped nothing. Such a shortfall is an error that may pass, and uses up retries. Sense is looked
/// at with CHECK CONDITION only: tgtd attaches some to GOOD (reference 6.2, trap 12). Allocates nothing.
///
/// Whatever the action, the command is not running at the target any more, or, after a lost session, will not be once
/// anything else can be sent.
Disposition decide(const initiator::ScsiCommand& command, CommandKind kind, Attempts& attempts,
                   std::uint8_t retries = kDefaultRetries) noexcept;

/// For logs and error replies: "CHECK CONDITION: MEDIUM ERROR, unrecovered read error (3/11/00)".
std::string explain(const initiator::ScsiCommand& command);

const char* to_string(Error error) noexcept;
const char* to_string(Action action) noexcept;

}  // namespace nbdgw::device
