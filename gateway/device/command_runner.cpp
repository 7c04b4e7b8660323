#include "gateway/device/command_runner.hpp"

#include <algorithm>

#include "proto/assert.hpp"

namespace nbdgw::device {

CommandRunner::CommandRunner(initiator::CommandTransport& transport, Owner& owner, std::uint64_t lun,
                             std::size_t buffer_bytes)
    : transport_(transport), owner_(owner), buffer_(buffer_bytes) {
  command_.lun = lun;
  command_.sink = this;
  command_.looks = true;
}

void CommandRunner::start(const proto::scsi::Cdb& cdb, std::uint32_t data_length, proto::Micros now) {
  NBDGW_ASSERT(!running(), "one command at a time");
  NBDGW_ASSERT(data_length <= buffer_.size(), "the reply fits the buffer");
  static_assert(proto::scsi::Cdb::kMaxLength <= initiator::ScsiCommand::kMaxCdb);
  command_.cdb.fill(0);
  std::copy_n(cdb.bytes.begin(), cdb.length, command_.cdb.begin());
  command_.cdb_length = cdb.length;
  command_.direction = data_length == 0 ? initiator::Direction::none : initiator::Direction::read;
  command_.data_length = data_length;
  data_ = {buffer_.data(), data_length};
  command_.data = data_length == 0 ? std::span<const iovec>() : std::span<const iovec>(&data_, 1);
  attempts_ = {};
  command_.climbs = 0;
  cut_short_ = false;
  queue(now);
}

void CommandRunner::queue(proto::Micros now) {
  // Zeroes where the target sends less than it says.
  std::fill_n(buffer_.begin(), command_.data_length, std::uint8_t{0});
  command_.outcome = initiator::Outcome::pending;
  command_.status = 0;
  command_.sense_length = 0;
  command_.residual_underflow = 0;
  command_.residual_overflow = 0;
  command_.transferred = 0;
  command_.overdue = false;
  command_.lost_by_us = false;
  command_.next = nullptr;
  retry_at_ = proto::kNever;
  lent_ = true;
  transport_.queuecommand(command_, now);
}

bool CommandRunner::cut_short() noexcept {
  retry_at_ = proto::kNever;
  if (lent_) cut_short_ = true;
  return !lent_;
}

void CommandRunner::resize_buffer(std::size_t bytes) {
  NBDGW_ASSERT(!running(), "the buffer belongs to the command while that runs");
  buffer_.resize(bytes);
}

void CommandRunner::on_deadline(proto::Micros now) {
  if (retry_at_ <= now && !lent_) queue(now);
}

void CommandRunner::on_command_done(initiator::ScsiCommand& command, proto::Micros now) {
  Disposition disposition = decide(command, CommandKind::other, attempts_);
  // Still as if lent, so that an owner who wants to begin something else in here only cuts this one short.
  if (disposition.notes.any()) owner_.on_notes(disposition.notes, now);
  lent_ = false;
  if (cut_short_) {
    cut_short_ = false;
    disposition.action = Action::hold;
  }
  switch (disposition.action) {
    case Action::retry_now:
      queue(now);
      return;
    case Action::retry_later:
      retry_at_ = now + disposition.delay;
      return;
    case Action::done:
    case Action::hold:
    case Action::error:
      break;
  }
  const bool has_data = disposition.action == Action::done;
  owner_.on_command_over(disposition, has_data ? received() : std::span<const std::uint8_t>(), now);
}

std::span<const std::uint8_t> CommandRunner::received() const noexcept {
  // A target may send less than the allocation length without a residual; what it did not send is not there.
  const std::uint32_t missing = std::min(command_.residual_underflow, command_.data_length);
  return std::span(buffer_).first(std::min(command_.data_length - missing, command_.transferred));
}

}  // namespace nbdgw::device
