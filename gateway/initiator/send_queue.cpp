#include "gateway/initiator/send_queue.hpp"

#include <algorithm>
#include <cstddef>

#include "proto/assert.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/crc32c.hpp"

namespace nbdgw::initiator {
namespace {

static_assert(offsetof(OutgoingPdu, extra) == offsetof(OutgoingPdu, bhs) + proto::iscsi::kBhsLength,
              "header and extra bytes are sent as one piece");

void store_digest(std::uint8_t* to, std::uint32_t crc) noexcept {
  for (int i = 0; i < 4; ++i) to[i] = static_cast<std::uint8_t>(crc >> (8 * i));
}

/// The pieces of a PDU's data from `skip` on; returns how many entries were filled, and how many bytes they cover.
std::size_t data_pieces(const OutgoingPdu& pdu, std::size_t skip, std::span<iovec> out,
                        std::size_t& covered) noexcept {
  if (pdu.plain != nullptr) {
    if (out.empty()) return covered = 0;
    covered = pdu.data_length - skip;
    out[0] = {const_cast<std::uint8_t*>(pdu.plain) + skip, covered};
    return 1;
  }
  return proto::slice(pdu.task->command->data, pdu.data_offset + skip, pdu.data_length - skip, out, &covered);
}

std::uint32_t data_digest_of(const OutgoingPdu& pdu) noexcept {
  std::uint32_t crc = 0;
  std::array<iovec, 16> pieces;
  for (std::size_t done = 0; done < pdu.data_length;) {
    std::size_t covered = 0;
    const std::size_t n = data_pieces(pdu, done, pieces, covered);
    crc = proto::crc32c(crc, std::span<const iovec>(pieces).first(n));
    done += covered;
  }
  return proto::crc32c(crc, pdu.tail.data(), proto::iscsi::padding(pdu.data_length));
}

}  // namespace

SendQueue::SendQueue() : ring_(kMaxPdus + kManagementPdus) {}

OutgoingPdu& SendQueue::push() noexcept {
  NBDGW_ASSERT(count_ < ring_.size(), "there is room in the send queue");
  std::size_t index = first_ + count_;
  if (index >= ring_.size()) index -= ring_.size();
  ++count_;
  OutgoingPdu& pdu = ring_[index];
  pdu.extra_length = 0;
  pdu.tail_length = 0;
  pdu.dropped = false;
  pdu.task = nullptr;
  pdu.plain = nullptr;
  pdu.data_offset = 0;
  pdu.data_length = 0;
  return pdu;
}

void SendQueue::seal(bool header_digest, bool data_digest) noexcept {
  std::size_t index = first_ + count_ - 1;
  if (index >= ring_.size()) index -= ring_.size();
  OutgoingPdu& pdu = ring_[index];
  if (header_digest) {
    store_digest(&pdu.extra[pdu.extra_length], proto::crc32c(0, pdu.bhs.data(), pdu.header_length()));
    pdu.extra_length += static_cast<std::uint8_t>(proto::iscsi::kDigestLength);
  }
  if (pdu.data_length > 0) {
    const auto pad = static_cast<std::uint8_t>(proto::iscsi::padding(pdu.data_length));
    pdu.tail.fill(0);
    pdu.tail_length = pad;
    if (data_digest) {
      store_digest(&pdu.tail[pad], data_digest_of(pdu));
      pdu.tail_length = static_cast<std::uint8_t>(pad + proto::iscsi::kDigestLength);
    }
  }
  if (pdu.task != nullptr) ++pdu.task->references;
  bytes_ += pdu.length();
}

std::size_t SendQueue::tx_buffers(std::span<iovec> out) noexcept {
  std::size_t used = 0;
  std::size_t skip = sent_of_first_;
  std::size_t index = first_;
  for (std::size_t i = 0; i < count_; ++i) {
    OutgoingPdu& pdu = ring_[index];
    if (++index == ring_.size()) index = 0;
    if (skip < pdu.header_length()) {
      if (used == out.size()) return used;
      out[used++] = {pdu.bhs.data() + skip, pdu.header_length() - skip};
      skip = 0;
    } else {
      skip -= pdu.header_length();
    }
    if (skip < pdu.data_length) {
      std::size_t covered = 0;
      const std::size_t wanted = pdu.data_length - skip;
      used += data_pieces(pdu, skip, out.subspan(used), covered);
      if (covered < wanted) return used;
      skip = 0;
    } else {
      skip -= pdu.data_length;
    }
    if (skip < pdu.tail_length) {
      if (used == out.size()) return used;
      out[used++] = {pdu.tail.data() + skip, pdu.tail_length - skip};
    }
    skip = 0;
  }
  return used;
}

}  // namespace nbdgw::initiator
