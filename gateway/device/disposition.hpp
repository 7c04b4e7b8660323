#pragma once

#include <cstdint>
#include <cstring>
#include <string>
#include <type_traits>

#include "gateway/initiator/scsi_command.hpp"
#include "proto/time.hpp"

/// What to do about a SCSI command that came back: the one place where status and sense are judged.
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
  unsupported,    // the target does not know this command or this form of it: do it in another way, if there is one
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
  /// Another disk may be behind the LUN now, or none: nothing may be sent before it was looked at, and nothing is
  /// worth anything that comes of what is under way.
  bool identity_in_doubt = false;
  bool not_ready = false;          // for how long, whoever looks at it finds out
  bool inventory_changed = false;  // LUNs came or went: that holds for all LUNs of the session
  bool threshold_reached = false;  // the thin pool runs low
  bool queue_full = false;         // fewer commands at a time, please

  bool any() const noexcept;  // in line below: asked for every command that ends
  Notes& operator|=(const Notes& other) noexcept;
};

inline bool Notes::any() const noexcept {
  static constexpr Notes kNone{};
  static_assert(std::is_trivially_copyable_v<Notes>);
  return std::memcmp(this, &kNone, sizeof kNone) != 0;
}

/// How often one command was sent again, and why. Kept by the command's owner from its first sending to its end,
/// counted by decide(). Each kind of trouble has its own limit.
///
/// A command that comes back because the ladder was climbed for the sake of another one, or because we have ended the
/// session for another reason of ours, has done nothing wrong, and is not counted (`ScsiCommand::lost_by_us`). One
/// that was itself overdue is (`ScsiCommand::overdue`): a command that hangs the LUN again and again must come to an
/// end. So must one at which the target drops its connections; but who is to blame for a loss nobody tells. One that
/// was under way at more losses than it has retries ends, but not before kLossPatience, for a path that comes and
/// goes is no reason to fail what takes long.
struct Attempts {
  std::uint8_t errors = 0;           // up to the retries given to decide()
  std::uint8_t waits = 0;            // up to kMaxWaits
  std::uint8_t unit_attentions = 0;  // up to kMaxUnitAttentions
  std::uint8_t losses = 0;           // of the session, with the command under way
  proto::Micros lost_for = 0;        // since the first of them; for the owner to set before decide()
  /// A reset or login of our own has just raised unit attentions: those are not counted. For the owner to set before
  /// decide(); it must see to it that such a time has an end.
  bool attentions_expected = false;
};

/// Retries after an error that may pass (aborted commands, short transfers, nonsense) and after being overdue, unless
/// the configuration says otherwise.
inline constexpr std::uint8_t kDefaultRetries = 5;
/// Losses of the session count against a command only after this time.
inline constexpr proto::Micros kLossPatience = 30 * proto::kSecond;
/// Retries after unit attentions. A reset may leave several in line (29h, 2Ah, 3Fh), for each command of a burst.
inline constexpr std::uint8_t kMaxUnitAttentions = 16;
/// Retries after BUSY, TASK SET FULL and "becoming ready": with the delays below they last about two minutes, as long
/// as a session may be away (the replacement timeout).
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
/// asked for has unmapped nothing. Such a shortfall is an error that may pass, and uses up retries (where whole
/// blocks have moved, the owner has less to do and may take it for none: Disposition::moved). Sense is looked at with
/// CHECK CONDITION only: tgtd attaches some to GOOD. Allocates nothing.
///
/// Whatever the action, the command is not running at the target any more, or, after a lost session, will not be once
/// anything else can be sent.
Disposition decide(const initiator::ScsiCommand& command, CommandKind kind, Attempts& attempts,
                   std::uint8_t retries = kDefaultRetries) noexcept;

/// GOOD, and all of its data has moved: what nearly every command comes to, and decide() calls done, whatever the
/// kind. For those who judge one for each request.
inline bool went_well(const initiator::ScsiCommand& command) noexcept {
  return command.outcome == initiator::Outcome::completed && command.status == 0 &&
         command.transferred == command.data_length && (command.residual_underflow | command.residual_overflow) == 0;
}

/// For logs and error replies: "CHECK CONDITION: MEDIUM ERROR, unrecovered read error (3/11/00)".
std::string explain(const initiator::ScsiCommand& command);

const char* to_string(Error error) noexcept;
const char* to_string(Action action) noexcept;

/// Whether a WRITE has the FUA bit; (10), (12) and (16) have it in the same place (SBC-4 5.48 and following).
bool has_fua(const initiator::ScsiCommand& command) noexcept;

}  // namespace nbdgw::device
