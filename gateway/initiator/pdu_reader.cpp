#include "gateway/initiator/pdu_reader.hpp"

#include <algorithm>
#include <cstring>

#include "proto/assert.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/crc32c.hpp"

namespace nbdgw::initiator {

using proto::iscsi::kBhsLength;
using proto::iscsi::kDigestLength;

namespace {

/// A digest as it stands on the wire: the remainder's bytes from low to high (RFC 7143 section 13.1).
std::uint32_t load_digest(const std::uint8_t* from) noexcept {
  return std::uint32_t{from[0]} | (std::uint32_t{from[1]} << 8) | (std::uint32_t{from[2]} << 16) |
         (std::uint32_t{from[3]} << 24);
}

}  // namespace

PduReader::PduReader() noexcept {
  control_list_ = {control_.data(), control_.size()};
}

void PduReader::reset() noexcept {
  phase_ = Phase::header;
  header_digest_ = data_digest_ = last_was_large_ = false;
  max_data_length_ = proto::iscsi::kDefaultMaxRecvDataSegmentLength;
  placement_ = {};
  data_length_ = data_left_ = trailer_length_ = trailer_left_ = 0;
  begin_ = end_ = 0;
  ++generation_;
}

void PduReader::set_digests(bool header, bool data) noexcept {
  header_digest_ = header;
  data_digest_ = data;
}

std::size_t PduReader::rx_buffers(std::span<iovec> out) noexcept {
  NBDGW_ASSERT(out.size() >= 3, "the shell offers entries for data, trailer and headers");
  std::size_t used = 0;
  if (phase_ != Phase::header) {
    std::size_t covered = 0;
    if (data_left_ > 0) {
      used = data_buffers(out.first(out.size() - 2), covered);
      if (covered < data_left_) return used;
    }
    if (trailer_left_ > 0) out[used++] = {&trailer_[trailer_length_ - trailer_left_], trailer_left_};
  }
  if (begin_ == end_) begin_ = end_ = 0;
  if (begin_ > 0 && kStaging - end_ < kStaging / 2) {
    std::memmove(staging_.data(), &staging_[begin_], end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  const bool large = phase_ == Phase::header ? last_was_large_ : data_left_ >= kLargeSegment;
  const std::size_t room = kStaging - end_;
  // Enough for any header, however much of it is there already.
  out[used++] = {&staging_[end_], large ? std::min(room, kHeaderRoom) : room};
  return used;
}

std::size_t PduReader::data_buffers(std::span<iovec> out, std::size_t& covered) noexcept {
  if (placement_.discard) {
    covered = std::min<std::size_t>(data_left_, control_.size());
    out[0] = {control_.data(), covered};
    return 1;
  }
  return proto::slice(placement_.list, placement_.offset + (data_length_ - data_left_), data_left_, out, &covered);
}

ConnectionError PduReader::on_received(std::size_t bytes, PduHandler& handler, proto::Micros now) {
  if (phase_ != Phase::header) {
    const auto data = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, data_left_));
    data_left_ -= data;
    bytes -= data;
    const auto trailer = static_cast<std::uint32_t>(std::min<std::size_t>(bytes, trailer_left_));
    trailer_left_ -= trailer;
    bytes -= trailer;
  }
  end_ += bytes;
  NBDGW_ASSERT(end_ <= kStaging, "no more was received than there was room for");
  return parse(handler, now);
}

ConnectionError PduReader::parse(PduHandler& handler, proto::Micros now) {
  const std::uint32_t generation = generation_;
  for (;;) {
    if (phase_ == Phase::header) {
      bool complete = false;
      const ConnectionError error = parse_header(handler, now, complete);
      if (error != ConnectionError::none || !complete) return error;
    }
    if (phase_ == Phase::data) {
      take_data_from_staging();
      if (data_left_ > 0) return ConnectionError::none;
      phase_ = Phase::trailer;
    }
    take_trailer_from_staging();
    if (trailer_left_ > 0) return ConnectionError::none;
    const ConnectionError error = finish(handler, now);
    if (error != ConnectionError::none || generation != generation_) return error;
  }
}

ConnectionError PduReader::parse_header(PduHandler& handler, proto::Micros, bool& complete) {
  const std::size_t available = end_ - begin_;
  if (available < kBhsLength) return ConnectionError::none;
  const std::uint8_t* at = &staging_[begin_];
  const std::uint32_t ahs_length = std::uint32_t{at[4]} * 4;
  if (ahs_length > kMaxAhsLength) return ConnectionError::ahs_length;
  const std::size_t covered = kBhsLength + ahs_length;
  const std::size_t whole = covered + (header_digest_ ? kDigestLength : 0);
  if (available < whole) return ConnectionError::none;
  if (header_digest_ && proto::crc32c(0, at, covered) != load_digest(at + covered)) {
    return ConnectionError::header_digest;
  }
  std::memcpy(bhs_.data(), at, kBhsLength);
  begin_ += whole;

  data_length_ = data_left_ = proto::iscsi::Prefix::decode(bhs_).data_length;
  last_was_large_ = data_length_ >= kLargeSegment;
  trailer_length_ = trailer_left_ =
      data_length_ == 0
          ? 0
          : proto::iscsi::padding(data_length_) + (data_digest_ ? static_cast<std::uint32_t>(kDigestLength) : 0);
  if (data_length_ > max_data_length_) return ConnectionError::data_length;
  placement_ = {};
  if (data_length_ > 0) {
    const std::uint32_t generation = generation_;
    placement_ = handler.place(bhs_);
    if (generation != generation_) return ConnectionError::none;
    if (placement_.error != ConnectionError::none) return placement_.error;
    if (placement_.list.empty() && !placement_.discard) {
      if (data_length_ > kMaxControlLength) return ConnectionError::data_length;
      placement_.list = {&control_list_, 1};
      placement_.offset = 0;
    }
  }
  phase_ = Phase::data;
  complete = true;
  return ConnectionError::none;
}

void PduReader::take_data_from_staging() noexcept {
  const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(end_ - begin_, data_left_));
  if (n == 0) return;
  if (!placement_.discard) {
    proto::copy_in(placement_.list, placement_.offset + (data_length_ - data_left_), &staging_[begin_], n);
  }
  begin_ += n;
  data_left_ -= n;
}

void PduReader::take_trailer_from_staging() noexcept {
  const auto n = static_cast<std::uint32_t>(std::min<std::size_t>(end_ - begin_, trailer_left_));
  if (n == 0) return;
  std::memcpy(&trailer_[trailer_length_ - trailer_left_], &staging_[begin_], n);
  begin_ += n;
  trailer_left_ -= n;
}

bool PduReader::data_digest_matches() const noexcept {
  std::uint32_t crc = 0;
  std::size_t skip = placement_.offset;
  std::size_t left = data_length_;
  for (const iovec& entry : placement_.list) {
    if (skip >= entry.iov_len) {
      skip -= entry.iov_len;
      continue;
    }
    const std::size_t n = std::min(left, entry.iov_len - skip);
    crc = proto::crc32c(crc, static_cast<const std::uint8_t*>(entry.iov_base) + skip, n);
    skip = 0;
    left -= n;
    if (left == 0) break;
  }
  const std::uint32_t pad = proto::iscsi::padding(data_length_);
  crc = proto::crc32c(crc, trailer_.data(), pad);
  return crc == load_digest(&trailer_[pad]);
}

ConnectionError PduReader::finish(PduHandler& handler, proto::Micros now) {
  if (data_digest_ && data_length_ > 0 && !placement_.discard && !data_digest_matches())
    return ConnectionError::data_digest;
  phase_ = Phase::header;
  const bool own = placement_.list.data() == &control_list_;
  return handler.complete_pdu({bhs_, own ? std::span(control_).first(data_length_) : std::span<const std::uint8_t>{}},
                              now);
}

}  // namespace nbdgw::initiator
