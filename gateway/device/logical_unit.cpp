#include "gateway/device/logical_unit.hpp"

#include <algorithm>
#include <utility>

#include "proto/assert.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/capacity.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/inquiry.hpp"

namespace nbdgw::device {
namespace {

namespace scsi = proto::scsi;

/// INQUIRY data beyond the fixed fields is of no use here, and old devices know a one-byte length only.
constexpr std::uint16_t kInquiryLength = 255;
/// VPD pages; the low byte (FCh) is what a device sees that knows one-byte lengths only.
constexpr std::uint16_t kVpdLength = 1020;
/// MODE SENSE(6) allows 255; a multiple of four is what devices are used to.
constexpr std::uint16_t kModeLength = 252;
constexpr std::size_t kReplyBytes = 1024;
/// A unit that keeps saying, while it is probed, that it changed is taken as it is after this many new beginnings;
/// one that says that it may be another unit is left alone until the next probe.
constexpr std::uint8_t kMaxRestarts = 3;

using State = LogicalUnit::State;

bool is_probing(State state) noexcept {
  return state != State::idle && state != State::ready && state != State::failed;
}

/// Which state may follow which. A probe only goes forward, and may begin again or end at any point.
bool may_follow(State from, State to) noexcept {
  switch (to) {
    case State::idle:
    case State::test_unit_ready:
      return true;
    case State::failed:
      return is_probing(from);
    case State::ready:
      return is_probing(from) &&
             (from >= State::capacity_16 || from == State::vpd_serial || from == State::vpd_identification);
    case State::capacity_16:
      return from == State::ready || (from >= State::vpd_supported && from <= State::vpd_provisioning);
    case State::vpd_serial:
    case State::vpd_identification:
      return from == State::ready || (is_probing(from) && from < to);
    default:
      return is_probing(from) && from < to;
  }
}

scsi::Cdb vpd_page(std::uint8_t page) noexcept {
  return scsi::Inquiry{.evpd = true, .page = page, .allocation_length = kVpdLength}.build();
}

}  // namespace

LogicalUnit::LogicalUnit(initiator::CommandTransport& transport, std::uint64_t lun, LogicalUnitObserver* observer)
    : runner_(transport, *this, lun, kReplyBytes), observer_(observer), lun_(lun) {}

void LogicalUnit::probe(proto::Micros now) {
  stopped_ = false;
  restarts_ = 0;
  if (runner_.running() && !runner_.cut_short()) {
    begin_again_ = true;
  } else {
    begin(now);
  }
}

void LogicalUnit::begin(proto::Micros now) {
  begin_again_ = false;
  unsettled_ = false;
  refresh_pending_ = false;
  capacity_only_ = false;
  identity_only_ = false;
  reprobe_at_ = proto::kNever;
  found_ = {};
  pages_ = {};
  failure_ = Failure::none;
  failure_text_.clear();
  enter(State::test_unit_ready, now);
}

void LogicalUnit::refresh_capacity(proto::Micros now) {
  if (state_ == State::ready) {
    found_ = facts_;
    capacity_only_ = true;
    failure_ = Failure::none;
    failure_text_.clear();
    enter(State::capacity_16, now);
  } else if (identity_only_ || (is_probing(state_) && state_ >= State::capacity_16)) {
    refresh_pending_ = true;
  }
}

bool LogicalUnit::confirm_identity(proto::Micros now) {
  if (state_ != State::ready || runner_.running() || !known_.known()) return false;
  identity_only_ = true;
  found_ = facts_;
  found_.serial.clear();
  found_.identifier.clear();
  // A designator that no other disk has is enough.
  const bool serial = !known_.serial.empty() && !proto::is_unique(known_);
  enter(serial ? State::vpd_serial : State::vpd_identification, now);
  return true;
}

void LogicalUnit::note(const Notes& notes, proto::Micros now) {
  // Else a probe that already runs is told by its own commands. But a unit attention is told once, and by what this
  // one was told to, the probe's commands will not hear of it.
  if (notes.identity_in_doubt && (state_ == State::ready || is_probing(state_))) {
    probe(now);
  } else if (notes.facts_changed && (state_ == State::ready || identity_only_)) {
    probe(now);
  } else if (notes.capacity_changed) {
    refresh_capacity(now);
  }
}

void LogicalUnit::stop(proto::Micros now) {
  stopped_ = true;
  begin_again_ = false;
  reprobe_at_ = proto::kNever;
  if (runner_.cut_short()) enter(State::idle, now);
}

proto::Micros LogicalUnit::next_deadline() const noexcept {
  return std::min(reprobe_at_, runner_.next_deadline());
}

void LogicalUnit::on_deadline(proto::Micros now) {
  if (reprobe_at_ <= now) {
    probe(now);
  } else {
    runner_.on_deadline(now);
  }
}

void LogicalUnit::enter(State state, proto::Micros now) {
  NBDGW_ASSERT(may_follow(state_, state), "a step of the probe that leads nowhere");
  state_ = state;
  send_command(now);
}

void LogicalUnit::send_command(proto::Micros now) {
  const auto mode_sense = [](bool ten, bool header_only) {
    return scsi::ModeSense{.disable_block_descriptors = !header_only,
                           .page_control = 0,
                           .page = header_only ? scsi::mode_page::kAll : scsi::mode_page::kCaching,
                           .subpage = 0,
                           .allocation_length = kModeLength,
                           .ten = ten}
        .build();
  };
  switch (state_) {
    case State::test_unit_ready:
      return runner_.start(scsi::test_unit_ready(), 0, now);
    case State::inquiry: {
      const scsi::Inquiry standard{.evpd = false, .page = 0, .allocation_length = kInquiryLength};
      return runner_.start(standard.build(), kInquiryLength, now);
    }
    case State::vpd_supported:
      return runner_.start(vpd_page(scsi::vpd::kSupportedPages), kVpdLength, now);
    case State::vpd_serial:
      return runner_.start(vpd_page(scsi::vpd::kUnitSerialNumber), kVpdLength, now);
    case State::vpd_identification:
      return runner_.start(vpd_page(scsi::vpd::kDeviceIdentification), kVpdLength, now);
    case State::vpd_limits:
      return runner_.start(vpd_page(scsi::vpd::kBlockLimits), kVpdLength, now);
    case State::vpd_medium:
      return runner_.start(vpd_page(scsi::vpd::kBlockDeviceCharacteristics), kVpdLength, now);
    case State::vpd_provisioning:
      return runner_.start(vpd_page(scsi::vpd::kLogicalBlockProvisioning), kVpdLength, now);
    case State::capacity_16: {
      const scsi::ReadCapacity16 question{.allocation_length = scsi::Capacity::kLength16};
      return runner_.start(question.build(), scsi::Capacity::kLength16, now);
    }
    case State::capacity_10:
      return runner_.start(scsi::read_capacity_10(), scsi::Capacity::kLength10, now);
    case State::mode_6:
      return runner_.start(mode_sense(false, false), kModeLength, now);
    case State::mode_10:
      return runner_.start(mode_sense(true, false), kModeLength, now);
    case State::mode_all:
      return runner_.start(mode_sense(false, true), kModeLength, now);
    case State::idle:
    case State::ready:
    case State::failed:
      return;
  }
}

void LogicalUnit::on_notes(const Notes& notes, proto::Micros now) {
  // The capacity is read after this anyway, unless it has been read already.
  if (notes.capacity_changed && (state_ > State::capacity_10 || identity_only_)) refresh_pending_ = true;
  // The other way round: what was read before this may be stale. The first step reads nothing.
  const bool stale = notes.facts_changed || (notes.unit_attention && notes.identity_in_doubt);
  if (stale && state_ != State::test_unit_ready && !begin_again_) {
    begin_again_ = restarts_ < kMaxRestarts;
    unsettled_ = !begin_again_ && notes.identity_in_doubt;
    if (begin_again_) ++restarts_;
  }
  if (observer_ != nullptr) observer_->on_unit_notes(*this, notes, now);
}

void LogicalUnit::on_command_over(const Disposition& disposition, std::span<const std::uint8_t> data,
                                  proto::Micros now) {
  if (stopped_) return enter(State::idle, now);
  // After a loss of the session everything is asked again, so that all facts are of one unit.
  if (begin_again_ || disposition.action == Action::hold) return begin(now);
  if (identity_only_) return identity_answered(disposition, data, now);
  if (unsettled_) {
    return fail(Failure::identity_unread,
                "it says again and again, while it is probed, that it may be another unit (" + last_answer() + ")",
                now);
  }
  if (disposition.action == Action::error) return step_failed(disposition, now);
  step_done(data, now);
}

void LogicalUnit::step_done(std::span<const std::uint8_t> data, proto::Micros now) {
  switch (state_) {
    case State::test_unit_ready:
      return enter(State::inquiry, now);
    case State::inquiry:
      return inquiry_done(data, now);
    case State::vpd_supported:
    case State::vpd_serial:
    case State::vpd_identification:
    case State::vpd_limits:
    case State::vpd_medium:
    case State::vpd_provisioning:
      // What is told of a unit that has gone meanwhile is of another one (tgtd: of LUN 0).
      if (!data.empty() && data[0] >> 5 != scsi::peripheral::kConnected) return gone(data[0] >> 5, now);
      vpd_done(data);
      return enter(next_vpd(state_), now);
    case State::capacity_16:
    case State::capacity_10:
      return capacity_done(data, now);
    case State::mode_6:
    case State::mode_10:
    case State::mode_all:
      return mode_done(data, now);
    case State::idle:
    case State::ready:
    case State::failed:
      break;
  }
  NBDGW_ASSERT(false, "no command is out in this state");
}

void LogicalUnit::step_failed(const Disposition& disposition, proto::Micros now) {
  if (runner_.command().outcome == initiator::Outcome::path_lost)
    return fail(Failure::path_lost, "the iSCSI session ended while the unit was probed", now);
  // Whichever step it is: what is not there does not lack a page.
  if (is_absent()) return required_step_failed(disposition.error, now);
  switch (state_) {
    case State::test_unit_ready:
      // A unit that does not know this command is as good as ready.
      if (disposition.error == Error::unsupported) return enter(State::inquiry, now);
      return required_step_failed(disposition.error, now);
    case State::inquiry:
    case State::capacity_10:
      return required_step_failed(disposition.error, now);
    case State::vpd_supported:
    case State::vpd_serial:
    case State::vpd_identification:
    case State::vpd_limits:
    case State::vpd_medium:
    case State::vpd_provisioning:
      return enter(next_vpd(state_), now);
    case State::capacity_16:
      // Of a unit that knows the command READ CAPACITY(10) is not asked for: beyond 2^32 blocks it tells no size.
      if (disposition.error == Error::unsupported) return enter(State::capacity_10, now);
      return required_step_failed(disposition.error, now);
    case State::mode_6:
      return enter(State::mode_10, now);
    case State::mode_10:
      return enter(State::mode_all, now);
    case State::mode_all:
      return finish(now);
    case State::idle:
    case State::ready:
    case State::failed:
      break;
  }
  NBDGW_ASSERT(false, "no command is out in this state");
}

void LogicalUnit::fail(Failure failure, std::string why, proto::Micros now) {
  // Whether that is so of the unit as a whole the probe says: a port may have gone into standby while nobody used it.
  if (capacity_only_ && failure == Failure::not_ready && !NBDGW_MUTANT(idle_standby_unseen)) return begin(now);
  failure_ = failure;
  failure_text_ = lun_text() + ": " + std::move(why);
  // A re-read that did not work out leaves the old capacity; only what makes the old facts wrong takes them away.
  const bool facts_still_good = capacity_only_ && failure != Failure::geometry && failure != Failure::path_lost &&
                                failure != Failure::not_there;
  capacity_only_ = false;
  if (facts_still_good) {
    enter(State::ready, now);
  } else {
    if (failure != Failure::path_lost) reprobe_at_ = now + kReprobeDelay;
    enter(State::failed, now);
  }
  if (observer_ != nullptr) observer_->on_probe_done(*this, now);
}

void LogicalUnit::finish(proto::Micros now) {
  if (!capacity_only_ && !check_identity(now)) return;
  facts_ = found_;
  has_facts_ = true;
  capacity_only_ = false;
  restarts_ = 0;
  enter(State::ready, now);
  if (std::exchange(refresh_pending_, false)) return refresh_capacity(now);
  if (observer_ != nullptr) observer_->on_probe_done(*this, now);
}

const char* to_string(LogicalUnit::State state) noexcept {
  switch (state) {
    case State::idle:
      return "idle";
    case State::test_unit_ready:
      return "test_unit_ready";
    case State::inquiry:
      return "inquiry";
    case State::vpd_supported:
      return "vpd_supported";
    case State::vpd_serial:
      return "vpd_serial";
    case State::vpd_identification:
      return "vpd_identification";
    case State::vpd_limits:
      return "vpd_limits";
    case State::vpd_medium:
      return "vpd_medium";
    case State::vpd_provisioning:
      return "vpd_provisioning";
    case State::capacity_16:
      return "capacity_16";
    case State::capacity_10:
      return "capacity_10";
    case State::mode_6:
      return "mode_6";
    case State::mode_10:
      return "mode_10";
    case State::mode_all:
      return "mode_all";
    case State::ready:
      return "ready";
    case State::failed:
      return "failed";
  }
  return "unknown";
}

const char* to_string(LogicalUnit::Failure failure) noexcept {
  switch (failure) {
    case LogicalUnit::Failure::none:
      return "none";
    case LogicalUnit::Failure::path_lost:
      return "path_lost";
    case LogicalUnit::Failure::not_there:
      return "not_there";
    case LogicalUnit::Failure::not_ready:
      return "not_ready";
    case LogicalUnit::Failure::not_a_disk:
      return "not_a_disk";
    case LogicalUnit::Failure::geometry:
      return "geometry";
    case LogicalUnit::Failure::identity_changed:
      return "identity_changed";
    case LogicalUnit::Failure::identity_unread:
      return "identity_unread";
    case LogicalUnit::Failure::command_failed:
      return "command_failed";
  }
  return "unknown";
}

}  // namespace nbdgw::device
