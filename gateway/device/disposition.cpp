#include "gateway/device/disposition.hpp"

#include <algorithm>
#include <optional>

#include "proto/assert.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/sense.hpp"

namespace nbdgw::device {
namespace {

namespace scsi = proto::scsi;
using initiator::Outcome;
using initiator::ScsiCommand;
using scsi::SenseKey;

/// What a row of the tables says, before attempts are counted and the kind of command is looked at.
enum class Meaning : std::uint8_t {
  done,
  attention,  // a unit attention: the command did not run, send it again
  absent,     // there is no such unit: to be sent again once it is back
  retry,      // an error that may pass
  wait,       // the unit cannot now
  unready,    // the same, and nobody knows for how long
  io,
  no_space,
  out_of_range,  // no_space for what writes, invalid for the rest
  not_permitted,
  unsupported,
};

constexpr int kAny = -1;

struct SenseRule {
  SenseKey key;
  int asc;
  int ascq;
  Meaning meaning;
  Notes notes = {};
};

constexpr Notes kAnotherDisk{.identity_in_doubt = true};
constexpr Notes kNotReady{.not_ready = true};

/// The first row that fits counts. Codes: SPC-5 annex F.
constexpr SenseRule kSenseRules[] = {
    // A "false check condition": nothing is wrong, but nobody says that the data was moved either.
    {SenseKey::no_sense, kAny, kAny, Meaning::retry},
    {SenseKey::recovered_error, kAny, kAny, Meaning::done},

    // In transit from one state to another.
    {SenseKey::not_ready, 0x04, 0x00, Meaning::wait, kNotReady},  // cause not reportable
    {SenseKey::not_ready, 0x04, 0x01, Meaning::wait, kNotReady},  // becoming ready
    {SenseKey::not_ready, 0x04, 0x04, Meaning::wait, kNotReady},  // format
    {SenseKey::not_ready, 0x04, 0x05, Meaning::wait, kNotReady},  // rebuild
    {SenseKey::not_ready, 0x04, 0x06, Meaning::wait, kNotReady},  // recalculation
    {SenseKey::not_ready, 0x04, 0x07, Meaning::wait, kNotReady},  // operation
    {SenseKey::not_ready, 0x04, 0x08, Meaning::wait, kNotReady},  // long write
    {SenseKey::not_ready, 0x04, 0x09, Meaning::wait, kNotReady},  // self-test
    {SenseKey::not_ready, 0x04, 0x0a, Meaning::wait, kNotReady},  // asymmetric access state transition
    {SenseKey::not_ready, 0x04, 0x14, Meaning::wait, kNotReady},  // space allocation
    {SenseKey::not_ready, 0x04, 0x1a, Meaning::wait, kNotReady},  // START STOP UNIT
    {SenseKey::not_ready, 0x04, 0x1b, Meaning::wait, kNotReady},  // sanitize
    {SenseKey::not_ready, 0x04, 0x1d, Meaning::wait, kNotReady},  // configuration
    {SenseKey::not_ready, 0x04, 0x24, Meaning::wait, kNotReady},  // depopulation
    // Standby, unavailable, offline, intervention required: an array that fails over says so for a while.
    {SenseKey::not_ready, 0x04, kAny, Meaning::unready, kNotReady},
    {SenseKey::not_ready, 0x68, kAny, Meaning::unready, kNotReady},  // not configured
    {SenseKey::not_ready, kAny, kAny, Meaning::io},

    {SenseKey::medium_error, kAny, kAny, Meaning::io},
    {SenseKey::hardware_error, kAny, kAny, Meaning::io},

    {SenseKey::illegal_request, 0x1a, kAny, Meaning::unsupported},  // parameter list length
    {SenseKey::illegal_request, 0x20, kAny, Meaning::unsupported},  // operation code
    // The range was checked against the capacity, so the capacity is not what it was.
    {SenseKey::illegal_request, 0x21, kAny, Meaning::out_of_range, {.capacity_changed = true}},
    {SenseKey::illegal_request, 0x24, kAny, Meaning::unsupported},  // field in CDB
    {SenseKey::illegal_request, 0x25, kAny, Meaning::absent, {.identity_in_doubt = true}},
    {SenseKey::illegal_request, 0x26, kAny, Meaning::unsupported},  // field in parameter list
    {SenseKey::illegal_request, kAny, kAny, Meaning::io},

    {SenseKey::unit_attention, 0x28, 0x00, Meaning::attention, kAnotherDisk},  // medium may have changed
    // Power on and internal reset: memory may have been lost. "Power on, or reset of any kind" and bus reset: as
    // well,
    // but many targets say so after a LOGICAL UNIT RESET or a login. Not so a reset of the logical unit (03h), nor
    // the
    // loss of a nexus (07h). After each of them it may be another disk: a target that was started anew, or a unit
    // that
    // was made anew.
    {SenseKey::unit_attention, 0x29, 0x00, Meaning::attention, {.power_on = true, .identity_in_doubt = true}},
    {SenseKey::unit_attention,
     0x29,
     0x01,
     Meaning::attention,
     {.cache_may_be_lost = true, .identity_in_doubt = true}},
    {SenseKey::unit_attention, 0x29, 0x02, Meaning::attention, {.power_on = true, .identity_in_doubt = true}},
    {SenseKey::unit_attention,
     0x29,
     0x04,
     Meaning::attention,
     {.cache_may_be_lost = true, .identity_in_doubt = true}},
    {SenseKey::unit_attention, 0x29, kAny, Meaning::attention, kAnotherDisk},
    {SenseKey::unit_attention, 0x2a, 0x01, Meaning::attention, {.facts_changed = true}},  // mode parameters
    {SenseKey::unit_attention, 0x2a, 0x09, Meaning::attention, {.capacity_changed = true}},
    {SenseKey::unit_attention, 0x38, 0x07, Meaning::attention, {.threshold_reached = true}},
    {SenseKey::unit_attention, 0x3f, 0x01, Meaning::attention, {.facts_changed = true}},  // microcode
    {SenseKey::unit_attention, 0x3f, 0x02, Meaning::attention, {.facts_changed = true}},  // operating definition
    {SenseKey::unit_attention, 0x3f, 0x03, Meaning::attention, kAnotherDisk},             // INQUIRY data
    {SenseKey::unit_attention, 0x3f, 0x05, Meaning::attention, kAnotherDisk},             // device identifier
    {SenseKey::unit_attention,
     0x3f,
     0x0e,
     Meaning::attention,
     {.identity_in_doubt = true, .inventory_changed = true}},
    {SenseKey::unit_attention, kAny, kAny, Meaning::attention},

    {SenseKey::data_protect, 0x27, 0x07, Meaning::no_space},  // space allocation failed: the thin pool is full
    {SenseKey::data_protect, kAny, kAny, Meaning::not_permitted},

    {SenseKey::aborted_command, kAny, kAny, Meaning::retry},
    {SenseKey::volume_overflow, kAny, kAny, Meaning::no_space},
};

struct Judgement {
  Meaning meaning;
  Notes notes;
};

/// A deferred error is about an earlier command, acknowledged long ago; this one did not run (SPC-5 4.5.5).
Judgement judge_deferred(const scsi::Sense& sense) noexcept {
  const bool harmless = sense.key == SenseKey::no_sense || sense.key == SenseKey::recovered_error;
  return {Meaning::retry, {.cache_may_be_lost = !harmless}};
}

Judgement judge_sense(const ScsiCommand& command) noexcept {
  const auto sense = initiator::sense_of(command);
  if (!sense) return {Meaning::retry, {}};
  if (sense->deferred && sense->key != SenseKey::unit_attention) return judge_deferred(*sense);
  for (const SenseRule& rule : kSenseRules) {
    if (rule.key != sense->key || (rule.asc != kAny && rule.asc != sense->asc) ||
        (rule.ascq != kAny && rule.ascq != sense->ascq))
      continue;
    return {rule.meaning, rule.notes};
  }
  return {Meaning::io, {}};
}

bool is_read_or_write(CommandKind kind) noexcept {
  return kind == CommandKind::read || kind == CommandKind::write;
}

struct Transfer {
  bool complete = true;
  std::uint32_t moved = 0;  // if not: see Disposition::moved
};

Transfer transfer_of(const ScsiCommand& command, CommandKind kind) noexcept {
  if (kind == CommandKind::flush || kind == CommandKind::other) return {};
  // WRITE SAME and UNMAP: what they send is a parameter. Their residuals are none of ours (tgtd reports all of
  // UNMAP's list as one).
  if (!is_read_or_write(kind)) return {.complete = command.transferred == command.data_length, .moved = 0};
  const std::uint32_t missing = std::min(command.residual_underflow, command.data_length);
  if (command.transferred == command.data_length && missing == 0) {
    // More than we asked for is nonsense where the length follows from the CDB.
    return {.complete = command.residual_overflow == 0, .moved = 0};
  }
  if (missing == 0 && NBDGW_MUTANT(untold_shortfall_is_done)) return {};
  if (missing == 0 || command.residual_overflow != 0) return {.complete = false, .moved = 0};
  if (kind == CommandKind::write && NBDGW_MUTANT(short_write_is_done)) return {};
  // A write may have sent more than the target took: its immediate data goes unasked.
  const std::uint32_t told = command.data_length - missing;
  const bool plain = kind == CommandKind::read ? command.transferred == told : command.transferred >= told;
  return {.complete = false, .moved = plain ? told : 0};
}

Judgement judge_status(const ScsiCommand& command, CommandKind kind) noexcept {
  switch (static_cast<scsi::Status>(command.status)) {
    case scsi::Status::good:
      return {Meaning::done, {}};
    case scsi::Status::condition_met:
      return {is_read_or_write(kind) ? Meaning::retry : Meaning::done, {}};
    case scsi::Status::check_condition:
      return judge_sense(command);
    case scsi::Status::busy:
    case scsi::Status::task_set_full:
      return {Meaning::wait, {.queue_full = true}};
    case scsi::Status::aca_active:
      return {Meaning::wait, {}};  // another's condition, cleared in a while
    // The unit is fine and says no: EPERM to the client, not an I/O error that looks like a broken disk; the NBD
    // protocol has no error of its own for it.
    case scsi::Status::reservation_conflict:
      return {Meaning::not_permitted, {}};
    case scsi::Status::task_aborted:
      return {Meaning::retry, {}};  // by another initiator's reset or task management
  }
  return {Meaning::retry, {}};
}

Disposition error(Error why, const Notes& notes) noexcept {
  return {.action = Action::error, .error = why, .delay = 0, .notes = notes};
}

Disposition retry_now(const Notes& notes) noexcept {
  return {.action = Action::retry_now, .error = Error::none, .delay = 0, .notes = notes};
}

Disposition retry_after_error(const Notes& notes, Attempts& attempts, std::uint8_t retries) noexcept {
  if (attempts.errors >= retries) return error(Error::io, notes);
  const proto::Micros delay = wait_before_error_retry(attempts.errors++);
  if (delay == 0) return retry_now(notes);
  return {.action = Action::retry_later, .error = Error::none, .delay = delay, .notes = notes};
}

Disposition hold(const ScsiCommand& command, Attempts& attempts, std::uint8_t retries) noexcept {
  if (command.overdue) {
    if (attempts.errors >= retries) return error(Error::io, {});
    ++attempts.errors;
  }
  const bool to_blame = command.proof.has_value() && command.proof->was_sent() && !command.lost_by_us;
  if (to_blame && !NBDGW_MUTANT(losses_not_counted)) {
    if (attempts.losses >= retries && attempts.lost_for >= kLossPatience) return error(Error::io, {});
    attempts.losses = static_cast<std::uint8_t>(std::min(attempts.losses + 1, 255));
  }
  return {.action = Action::hold, .error = Error::none, .delay = 0, .notes = {}};
}

Disposition wait(const Notes& notes, Attempts& attempts) noexcept {
  if (attempts.waits >= kMaxWaits) return error(Error::io, notes);
  const proto::Micros delay = wait_before_retry(attempts.waits++);
  return {.action = Action::retry_later, .error = Error::none, .delay = delay, .notes = notes};
}

Disposition retry_after_attention(Notes notes, Attempts& attempts) noexcept {
  notes.unit_attention = true;
  if (attempts.attentions_expected) return retry_now(notes);
  if (attempts.unit_attentions >= kMaxUnitAttentions) return error(Error::io, notes);
  ++attempts.unit_attentions;
  return retry_now(notes);
}

/// The unit's owner looks at it before the retry, so that this waits for as long as there is none. Counted all the
/// same: a unit that is there for the probe only would never come to an end. A probe's own command fails.
Disposition retry_when_back(const Notes& notes, CommandKind kind, Attempts& attempts) noexcept {
  if (kind == CommandKind::other || NBDGW_MUTANT(unmapped_is_an_error)) return error(Error::io, notes);
  if (attempts.unit_attentions >= kMaxUnitAttentions) return error(Error::io, notes);
  ++attempts.unit_attentions;
  return retry_now(notes);
}

Disposition apply(const Judgement& judgement, CommandKind kind, Attempts& attempts, std::uint8_t retries) noexcept {
  const Notes& notes = judgement.notes;
  switch (judgement.meaning) {
    case Meaning::done:
      return {.action = Action::done, .error = Error::none, .delay = 0, .notes = notes};
    case Meaning::attention:
      return retry_after_attention(notes, attempts);
    case Meaning::absent:
      return retry_when_back(notes, kind, attempts);
    case Meaning::retry:
      return retry_after_error(notes, attempts, retries);
    case Meaning::unready:
      // A probe's own command fails: that is told, and asked again in a while, and requests are held meanwhile.
      if (kind == CommandKind::other || NBDGW_MUTANT(failover_is_an_error)) return error(Error::io, notes);
      return wait(notes, attempts);
    case Meaning::wait:
      return wait(notes, attempts);
    case Meaning::io:
      break;
    case Meaning::no_space:
      return error(kind == CommandKind::read ? Error::io : Error::no_space, notes);
    case Meaning::out_of_range: {
      const bool writes = kind == CommandKind::write || kind == CommandKind::write_same;
      return error(writes ? Error::no_space : Error::invalid, notes);
    }
    case Meaning::not_permitted:
      return error(Error::not_permitted, notes);
    case Meaning::unsupported:
      return error(Error::unsupported, notes);
  }
  return error(Error::io, notes);
}

/// GOOD, RECOVERED ERROR and the like.
bool says_done(const ScsiCommand& command) noexcept {
  return judge_status(command, CommandKind::other).meaning == Meaning::done;
}

Disposition decide_answered(const ScsiCommand& command, CommandKind kind, Attempts& attempts,
                            std::uint8_t retries) noexcept {
  Judgement judgement = judge_status(command, kind);
  const Transfer transfer = transfer_of(command, kind);
  const bool believed = NBDGW_MUTANT(recovered_error_moves_all) && command.status != 0;
  const bool short_transfer = judgement.meaning == Meaning::done && !transfer.complete && !believed;
  if (short_transfer) judgement.meaning = Meaning::retry;
  Disposition disposition = apply(judgement, kind, attempts, retries);
  disposition.short_transfer = short_transfer;
  if (short_transfer) disposition.moved = transfer.moved;
  return disposition;
}

}  // namespace

bool has_fua(const ScsiCommand& command) noexcept {
  constexpr std::uint8_t kFua = 0x08;
  return (command.cdb[1] & kFua) != 0;
}

Notes& Notes::operator|=(const Notes& other) noexcept {
  unit_attention = unit_attention || other.unit_attention;
  cache_may_be_lost = cache_may_be_lost || other.cache_may_be_lost;
  power_on = power_on || other.power_on;
  capacity_changed = capacity_changed || other.capacity_changed;
  facts_changed = facts_changed || other.facts_changed;
  identity_in_doubt = identity_in_doubt || other.identity_in_doubt;
  not_ready = not_ready || other.not_ready;
  inventory_changed = inventory_changed || other.inventory_changed;
  threshold_reached = threshold_reached || other.threshold_reached;
  queue_full = queue_full || other.queue_full;
  return *this;
}

proto::Micros wait_before_retry(std::uint8_t waits) noexcept {
  proto::Micros delay = kFirstWait;
  for (; waits > 0 && delay < kLongestWait; --waits) delay *= 2;
  return std::min(delay, kLongestWait);
}

proto::Micros wait_before_error_retry(std::uint8_t errors) noexcept {
  return errors == 0 ? 0 : wait_before_retry(static_cast<std::uint8_t>(errors - 1));
}

Disposition decide(const ScsiCommand& command, CommandKind kind, Attempts& attempts, std::uint8_t retries) noexcept {
  NBDGW_ASSERT(command.outcome != Outcome::pending, "only a command that came back can be judged");
  switch (command.outcome) {
    case Outcome::completed:
      return decide_answered(command, kind, attempts, retries);
    case Outcome::transport_disrupted:
      return hold(command, attempts, retries);
    case Outcome::recalled:
      return {.action = Action::hold, .error = Error::none, .delay = 0, .notes = {}};
    case Outcome::aborted:
      if (!command.overdue) return retry_now({});
      return retry_after_error({}, attempts, retries);
    case Outcome::bad_target:
      return retry_after_error({}, attempts, retries);
    case Outcome::path_lost:
    case Outcome::pending:
      break;
  }
  return error(Error::io, {});
}

std::string explain(const ScsiCommand& command) {
  switch (command.outcome) {
    case Outcome::pending:
      return "not answered yet";
    case Outcome::transport_disrupted:
      return "the iSCSI session was lost before the target answered";
    case Outcome::aborted:
      return command.overdue ? "it was not answered in time and had to be aborted"
                             : "it was aborted by a reset that another command made necessary";
    case Outcome::recalled:
      return "it was taken back before it was sent";
    case Outcome::bad_target:
      return "the target's answer broke the rules of iSCSI";
    case Outcome::path_lost:
      return "the iSCSI session has ended";
    case Outcome::completed:
      break;
  }
  std::string text = scsi::describe_status(command.status);
  if (command.status == static_cast<std::uint8_t>(scsi::Status::check_condition)) {
    const auto sense = initiator::sense_of(command);
    text += sense ? ": " + scsi::describe(*sense) : std::string(" without valid sense data");
  }
  if (command.residual_underflow == 0 && command.transferred < command.data_length && says_done(command)) {
    text += ", but only " + std::to_string(command.transferred) + " of " + std::to_string(command.data_length) +
            " bytes moved";
  }
  if (command.residual_underflow != 0) {
    text += ", " + std::to_string(command.residual_underflow) + " of " + std::to_string(command.data_length) +
            " bytes were not transferred";
  }
  if (command.residual_overflow != 0) {
    text += ", the target had " + std::to_string(command.residual_overflow) + " bytes more to transfer than the " +
            std::to_string(command.data_length) + " expected";
  }
  return text;
}

}  // namespace nbdgw::device
