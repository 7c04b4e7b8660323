#include <algorithm>
#include <array>
#include <bit>
#include <cstdio>
#include <optional>
#include <utility>

#include "gateway/device/logical_unit.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/capacity.hpp"
#include "proto/scsi/inquiry.hpp"
#include "proto/scsi/lun.hpp"
#include "proto/scsi/mode.hpp"
#include "proto/scsi/sense.hpp"

/// The half of LogicalUnit that understands the answers.
namespace nbdgw::device {
namespace {

namespace scsi = proto::scsi;

using State = LogicalUnit::State;
using Failure = LogicalUnit::Failure;

/// The pages that are asked for, in this order.
struct VpdStep {
  State state;
  std::uint8_t page;
};
constexpr VpdStep kVpdSteps[] = {
    {State::vpd_serial, scsi::vpd::kUnitSerialNumber},
    {State::vpd_identification, scsi::vpd::kDeviceIdentification},
    {State::vpd_limits, scsi::vpd::kBlockLimits},
    {State::vpd_medium, scsi::vpd::kBlockDeviceCharacteristics},
    {State::vpd_provisioning, scsi::vpd::kLogicalBlockProvisioning},
};

/// Empty if the geometry can be served.
std::string geometry_trouble(const scsi::Capacity& capacity) {
  const std::uint32_t length = capacity.block_length;
  if (!std::has_single_bit(length) || length < kMinBlockLength || length > kMaxBlockLength) {
    return "its blocks are " + std::to_string(length) + " bytes long; only powers of two from " +
           std::to_string(kMinBlockLength) + " to " + std::to_string(kMaxBlockLength) + " can be served";
  }
  if (capacity.last_lba >= kMaxCapacityBytes / length)
    return "it says that its last block is " + std::to_string(capacity.last_lba) + ", which is beyond any real size";
  return {};
}

std::string device_type_name(std::uint8_t type) {
  switch (type) {
    case 0x01:
      return "a tape drive";
    case 0x03:
      return "a processor";
    case 0x05:
      return "a CD or DVD drive";
    case 0x08:
      return "a medium changer";
    case 0x0c:
      return "a storage array controller";
    case 0x0d:
      return "an enclosure";
    case 0x0e:
      return "a simplified direct-access (RBC) device";
    case 0x11:
      return "an object store";
    case 0x14:
      return "a host-managed zoned disk";
    case 0x1e:
      return "a well-known logical unit";
    default:
      return "a device of type " + std::to_string(type);
  }
}

}  // namespace

std::string LogicalUnit::lun_text() const {
  if (const auto number = scsi::decode_lun(lun_)) return "LUN " + std::to_string(*number);
  std::array<char, 32> text{};
  std::snprintf(text.data(), text.size(), "LUN 0x%016llx", static_cast<unsigned long long>(lun_));
  return text.data();
}

/// The end of the last command says that there is no such unit.
bool LogicalUnit::is_absent() const noexcept {
  const auto sense = sense_of(runner_.command());
  return sense && sense->key == scsi::SenseKey::illegal_request &&
         sense->asc == scsi::asc::kLogicalUnitNotSupported.asc;
}

void LogicalUnit::gone(unsigned qualifier, proto::Micros now) {
  fail(Failure::not_there,
       "the target has no unit there (peripheral qualifier " + std::to_string(qualifier) +
           "); check the LUN and its mapping",
       now);
}

void LogicalUnit::required_step_failed(Error error, proto::Micros now) {
  const auto sense = sense_of(runner_.command());
  const std::string answer = explain(runner_.command());
  if (is_absent())
    return fail(Failure::not_there, "the target has no such unit (" + answer + "); check the LUN and its mapping",
                now);
  if (sense && sense->key == scsi::SenseKey::not_ready)
    return fail(Failure::not_ready, "the unit is not ready (" + answer + "); bring it online on the target", now);
  if (error == Error::not_permitted)
    return fail(Failure::command_failed, "the target refuses access (" + answer + "); see who holds a reservation",
                now);
  return fail(Failure::command_failed, std::string("the probe failed at ") + to_string(state_) + " (" + answer + ")",
              now);
}

void LogicalUnit::inquiry_done(std::span<const std::uint8_t> data, proto::Micros now) {
  auto inquiry = scsi::StandardInquiry::parse(data);
  if (!inquiry) {
    return fail(Failure::command_failed,
                "INQUIRY was answered with " + std::to_string(data.size()) + " bytes, too few to tell what it is",
                now);
  }
  if (inquiry->qualifier != scsi::peripheral::kConnected || inquiry->device_type == scsi::peripheral::kUnknown) {
    return gone(inquiry->qualifier, now);
  }
  if (inquiry->device_type != scsi::peripheral::kDirectAccess) {
    return fail(Failure::not_a_disk,
                "this is " + device_type_name(inquiry->device_type) + ", not a disk; check the LUN", now);
  }
  found_.vendor = std::move(inquiry->vendor);
  found_.product = std::move(inquiry->product);
  found_.revision = std::move(inquiry->revision);
  enter(State::vpd_supported, now);
}

State LogicalUnit::next_vpd(State after) const noexcept {
  for (const VpdStep& step : kVpdSteps) {
    if (step.state > after && pages_.has(step.page)) return step.state;
  }
  return State::capacity_16;
}

void LogicalUnit::vpd_done(std::span<const std::uint8_t> data) {
  switch (state_) {
    case State::vpd_supported:
      if (const auto pages = scsi::SupportedPages::parse(data)) pages_ = *pages;
      return;
    case State::vpd_serial:
      if (auto page = scsi::UnitSerialNumber::parse(data)) found_.serial = std::move(page->serial);
      return;
    case State::vpd_identification:
      if (const auto page = scsi::DeviceIdentification::parse(data)) {
        if (const scsi::Designator* best = page->best()) found_.identifier = best->text();
      }
      return;
    case State::vpd_limits:
      return limits_done(data);
    case State::vpd_medium:
      if (const auto page = scsi::BlockDeviceCharacteristics::parse(data)) {
        const std::uint16_t rate = page->rotation_rate;
        if (rate == scsi::BlockDeviceCharacteristics::kNonRotating) found_.medium = Medium::solid_state;
        if (rate > 0x0400 && rate != 0xffff) {  // what is below and FFFFh is reserved (SBC-4 table 238)
          found_.medium = Medium::rotating;
          found_.rotation_rate = rate;
        }
      }
      return;
    case State::vpd_provisioning:
      if (const auto page = scsi::LogicalBlockProvisioning::parse(data)) {
        found_.lbpu = page->lbpu;
        found_.lbpws = page->lbpws;
      }
      return;
    default:
      return;
  }
}

void LogicalUnit::limits_done(std::span<const std::uint8_t> data) noexcept {
  const auto limits = scsi::BlockLimits::parse(data);
  if (!limits) return;
  found_.max_transfer = limits->max_transfer;
  found_.optimal_transfer = limits->optimal_transfer;
  found_.optimal_transfer_granularity = limits->optimal_transfer_granularity;
  found_.max_unmap_lba_count = limits->max_unmap_lba_count;
  found_.max_unmap_descriptors = limits->max_unmap_descriptor_count;
  found_.unmap_granularity = std::max<std::uint32_t>(limits->optimal_unmap_granularity, 1);
  found_.unmap_alignment = limits->unmap_granularity_alignment.value_or(0) % found_.unmap_granularity;
  found_.max_write_same = limits->max_write_same;
}

void LogicalUnit::capacity_done(std::span<const std::uint8_t> data, proto::Micros now) {
  const bool ten = state_ == State::capacity_10;
  const auto capacity = ten ? scsi::Capacity::parse10(data) : scsi::Capacity::parse16(data);
  if (!capacity) {
    return fail(Failure::command_failed,
                "only " + std::to_string(data.size()) + " bytes came as the answer to READ CAPACITY" +
                    (ten ? "(10)" : "(16)") + ", too few to tell a size",
                now);
  }
  if (ten && capacity->last_lba == 0xffffffffU) {
    return fail(Failure::geometry,
                "it has more blocks than READ CAPACITY(10) can tell, 2^32, and does not know READ CAPACITY(16); it "
                "cannot be served so",
                now);
  }
  if (std::string trouble = geometry_trouble(*capacity); !trouble.empty())
    return fail(Failure::geometry, std::move(trouble), now);
  if (has_facts_ && capacity->block_length != facts_.block_length) {
    return fail(Failure::geometry,
                "its block length changed from " + std::to_string(facts_.block_length) + " to " +
                    std::to_string(capacity->block_length) + " bytes; restart the export to serve it so",
                now);
  }
  found_.block_length = capacity->block_length;
  found_.blocks = capacity->last_lba + 1;
  found_.capacity_16 = !ten;
  if (!ten) {
    found_.physical_block_length = capacity->block_length << capacity->blocks_per_physical_exponent;
    found_.lbpme = capacity->lbpme;
    found_.lbprz = capacity->lbprz;
  } else if (!capacity_only_) {
    found_.physical_block_length = capacity->block_length;
  }
  if (capacity_only_) return finish(now);
  enter(State::mode_6, now);
}

void LogicalUnit::mode_done(std::span<const std::uint8_t> data, proto::Micros now) {
  const auto parameters = scsi::ModeParameters::parse(data, state_ == State::mode_10);
  if (!parameters) {
    // As if the unit did not know the command.
    if (state_ == State::mode_6) return enter(State::mode_10, now);
    if (state_ == State::mode_10) return enter(State::mode_all, now);
    return finish(now);
  }
  found_.write_protected = parameters->write_protected;
  found_.dpofua = parameters->dpofua;
  found_.write_cache = parameters->write_cache_enabled.value_or(true);
  finish(now);
}

void LogicalUnit::identity_answered(const Disposition& disposition, std::span<const std::uint8_t> data,
                                    proto::Micros now) {
  const bool there = !data.empty() && data[0] >> 5 == scsi::peripheral::kConnected;
  if (disposition.action == Action::done && there) vpd_done(data);
  if (state_ == State::vpd_serial && there && !known_.designator.empty())
    return enter(State::vpd_identification, now);
  identity_only_ = false;
  if (proto::same_disk(known_, found_.identity()) != proto::SameDisk::yes) {
    const bool ended = runner_.command().outcome == initiator::Outcome::path_lost;  // that says nothing of the unit
    if (observer_ != nullptr && !ended) {
      Notes notes;
      notes.identity_in_doubt = true;
      observer_->on_unit_notes(*this, notes, now);
    }
    return begin(now);
  }
  enter(State::ready, now);
  if (std::exchange(refresh_pending_, false)) return refresh_capacity(now);
  if (observer_ != nullptr) observer_->on_probe_done(*this, now);
}

/// False: it is not, or not provably, the unit that was here before, and the probe has failed for it.
bool LogicalUnit::check_identity(proto::Micros now) {
  const auto name = [](const proto::DiskIdentity& unit) {
    return unit.designator.empty() ? unit.serial : unit.designator;
  };
  proto::DiskIdentity found = found_.identity();
  switch (proto::same_disk(known_, found)) {
    case proto::SameDisk::yes:
      // What it has not told this time is not forgotten.
      if (found.designator.empty()) found.designator = known_.designator;
      if (found.serial.empty()) found.serial = known_.serial;
      break;
    case proto::SameDisk::no:
      if (!has_facts_) break;  // expected only: nobody has been served from this one yet
      fail(Failure::identity_changed,
           "this is another unit now (" + name(found) + ", serial " + found.serial + ") than at first (" +
               name(known_) + ", serial " + known_.serial +
               "), and is not touched; map the old one back, or restart the export if this is wanted",
           now);
      return false;
    case proto::SameDisk::cannot_tell:
      if (NBDGW_MUTANT(identity_forgotten)) break;
      fail(Failure::identity_unread,
           "it does not say which unit it is (VPD pages 80h and 83h); at first it was " + name(known_) +
               ". It is asked again, and not touched meanwhile; if this is how it is meant to be, stop and start the "
               "gateway",
           now);
      return false;
  }
  found_.identifier = found.designator;
  found_.serial = found.serial;
  known_ = std::move(found);
  return true;
}

}  // namespace nbdgw::device
