#include "gateway/device/lun_inventory.hpp"

#include <algorithm>

#include "proto/scsi/report_luns.hpp"

namespace nbdgw::device {
namespace {

/// Room for 255 LUNs at first; the answer tells if more is needed.
constexpr std::uint32_t kFirstAllocation = 2048;
constexpr std::uint32_t kLargestAllocation =
    static_cast<std::uint32_t>(proto::scsi::LunList::kHeaderLength + LunInventory::kMaxLuns * 8);

}  // namespace

LunInventory::LunInventory(initiator::CommandTransport& transport, LunInventoryObserver* observer)
    : runner_(transport, *this, 0, kFirstAllocation), observer_(observer), allocation_length_(kFirstAllocation) {}

void LunInventory::start(proto::Micros now) {
  luns_.clear();
  failure_.clear();
  enter(State::asking, now);
}

bool LunInventory::contains(std::uint64_t lun) const noexcept {
  return std::find(luns_.begin(), luns_.end(), lun) != luns_.end();
}

void LunInventory::enter(State state, proto::Micros now) {
  state_ = state;
  switch (state) {
    case State::idle:
      break;
    case State::asking: {
      const proto::scsi::ReportLuns question{.select_report = 0, .allocation_length = allocation_length_};
      runner_.start(question.build(), allocation_length_, now);
      break;
    }
    case State::done:
    case State::failed:
      if (observer_ != nullptr) observer_->on_inventory_done(*this, now);
      break;
  }
}

void LunInventory::on_command_over(const Disposition& disposition, std::span<const std::uint8_t> data,
                                   proto::Micros now) {
  if (disposition.action == Action::hold) return enter(State::asking, now);
  if (disposition.action == Action::error) {
    failure_ = "REPORT LUNS failed: " + explain(runner_.command());
    return enter(State::failed, now);
  }
  const auto list = proto::scsi::LunList::parse(data);
  if (!list) {
    failure_ = "REPORT LUNS was answered with " + std::to_string(data.size()) + " bytes, too few for a list";
    return enter(State::failed, now);
  }
  const auto needed = static_cast<std::uint32_t>(std::min<std::uint64_t>(list->needed_length(), kLargestAllocation));
  if (needed > allocation_length_) {
    allocation_length_ = needed;
    runner_.resize_buffer(needed);
    return enter(State::asking, now);
  }
  for (std::size_t i = 0; i < list->size(); ++i) luns_.push_back((*list)[i]);
  enter(State::done, now);
}

}  // namespace nbdgw::device
