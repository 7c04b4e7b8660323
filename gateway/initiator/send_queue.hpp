#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "gateway/initiator/task.hpp"
#include "proto/assert.hpp"
#include "proto/iscsi/pdu.hpp"

namespace nbdgw::initiator {

/// A PDU on its way out: its header is here, its data stays where it is.
struct OutgoingPdu {
  /// Extended-CDB AHS (4 + 16 bytes for the CDBs we take) and header digest.
  static constexpr std::size_t kMaxExtra = 24;

  proto::iscsi::Bhs bhs{};
  std::array<std::uint8_t, kMaxExtra> extra{};  // follows bhs directly: both are sent as one piece
  std::array<std::uint8_t, 8> tail{};           // padding and data digest
  std::uint8_t extra_length = 0;
  std::uint8_t tail_length = 0;
  bool dropped = false;                 // not to be sent after all: has no length
  Task* task = nullptr;                 // holds a reference while not sent; its data, if plain is null
  const std::uint8_t* plain = nullptr;  // data that is not a task's
  std::uint32_t data_offset = 0;        // in the task's data
  std::uint32_t data_length = 0;

  std::size_t header_length() const noexcept { return dropped ? 0 : proto::iscsi::kBhsLength + extra_length; }
  std::size_t length() const noexcept { return header_length() + data_length + tail_length; }
};

/// The PDUs of a connection that are committed to be sent, first to last. A ring of fixed size: nothing is allocated
/// later. Many PDUs leave in one gathered write.
class SendQueue {
 public:
  /// Commands and data are queued up to this many PDUs and bytes ahead of the socket; what is not yet queued can
  /// still be ordered, or be sent on another connection.
  static constexpr std::size_t kMaxPdus = 160;
  static constexpr std::size_t kMaxBytes = 512 * 1024;
  /// PDUs beyond kMaxPdus that only management may use.
  static constexpr std::size_t kManagementPdus = 32;

  SendQueue();

  bool empty() const noexcept { return count_ == 0; }
  bool room() const noexcept { return count_ < kMaxPdus && bytes_ < kMaxBytes; }
  bool management_room() const noexcept { return count_ < ring_.size(); }
  std::size_t bytes() const noexcept { return bytes_; }

  /// The next free PDU, cleared, to be filled and then sealed. There must be room.
  OutgoingPdu& push() noexcept;
  /// Finishes the PDU pushed last: padding, digests, the reference to its task.
  void seal(bool header_digest, bool data_digest) noexcept;

  /// Fills `out` with the bytes to send, in order; returns the number of entries.
  std::size_t tx_buffers(std::span<iovec> out) noexcept;
  /// `bytes` of them are sent: `on_pdu_sent(task or nullptr)` is called for each PDU that is through.
  template <typename OnPduSent>
  void on_sent(std::size_t bytes, OnPduSent on_pdu_sent) {
    NBDGW_ASSERT(bytes <= bytes_, "no more is sent than there was to send");
    bytes_ -= bytes;
    sent_of_first_ += bytes;
    while (count_ > 0 && sent_of_first_ >= ring_[first_].length()) {
      sent_of_first_ -= ring_[first_].length();
      pop(on_pdu_sent);
    }
  }
  /// The first byte of the task's data that has not left, or `end`: all before `end` has.
  std::uint32_t first_unsent(const Task& task, std::uint32_t end) const noexcept {
    for (std::size_t i = 0; i < count_; ++i) {
      const OutgoingPdu& pdu = ring_[(first_ + i) % ring_.size()];
      if (pdu.task == &task) end = std::min(end, pdu.data_offset);
    }
    return end;
  }
  /// Drops the Data-Out PDUs of this task that have not begun to be sent. They take no CmdSN, so nothing is missed.
  template <typename OnPduDropped>
  void drop_data(const Task& task, OnPduDropped on_pdu_dropped) {
    for (std::size_t i = sent_of_first_ > 0 ? 1 : 0; i < count_; ++i) {
      OutgoingPdu& pdu = ring_[(first_ + i) % ring_.size()];
      if (pdu.task != &task || !is(pdu, proto::iscsi::Opcode::data_out)) continue;
      bytes_ -= pdu.length();
      pdu.dropped = true;
      pdu.data_length = pdu.tail_length = 0;
      on_pdu_dropped(std::exchange(pdu.task, nullptr));
    }
    on_sent(0, [](Task*) {});  // none that has no length stays in front
  }
  /// Calls `on_command(task)` for each SCSI Command PDU that has not begun to be sent.
  template <typename OnCommand>
  void for_each_unsent_command(OnCommand on_command) noexcept {
    for (std::size_t i = sent_of_first_ > 0 ? 1 : 0; i < count_; ++i) {
      const OutgoingPdu& pdu = ring_[(first_ + i) % ring_.size()];
      if (pdu.task != nullptr && is(pdu, proto::iscsi::Opcode::scsi_command)) on_command(*pdu.task);
    }
  }
  /// Drops everything: the connection is gone.
  template <typename OnPduDropped>
  void clear(OnPduDropped on_pdu_dropped) {
    while (count_ > 0) pop(on_pdu_dropped);
    bytes_ = 0;
    sent_of_first_ = 0;
  }

 private:
  static bool is(const OutgoingPdu& pdu, proto::iscsi::Opcode opcode) noexcept {
    return proto::iscsi::Prefix::decode(pdu.bhs).opcode == static_cast<std::uint8_t>(opcode);
  }

  template <typename OnPdu>
  void pop(OnPdu on_pdu) {
    Task* task = ring_[first_].task;
    first_ = first_ + 1 == ring_.size() ? 0 : first_ + 1;
    --count_;
    on_pdu(task);
  }

  std::vector<OutgoingPdu> ring_;
  std::size_t first_ = 0;
  std::size_t count_ = 0;
  std::size_t bytes_ = 0;  // not yet sent, of all PDUs
  std::size_t sent_of_first_ = 0;
};

}  // namespace nbdgw::initiator
