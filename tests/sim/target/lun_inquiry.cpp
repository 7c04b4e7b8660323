// What a unit says of itself.
#include <algorithm>
#include <string_view>

#include "tests/sim/target/lun.hpp"

namespace nbdgw::sim {
namespace {

void append_text(ByteBuffer& to, std::string_view text, std::size_t length) {
  std::uint8_t* field = to.grow(length);
  std::fill_n(field, length, static_cast<std::uint8_t>(' '));
  std::copy_n(text.begin(), std::min(text.size(), length), field);
}

void append_designator(ByteBuffer& to, std::uint8_t code_set, std::uint8_t type, Bytes value) {
  std::uint8_t* header = to.grow(4);
  header[0] = code_set;
  header[1] = type;  // associated with the logical unit
  header[2] = 0;
  header[3] = static_cast<std::uint8_t>(value.size());
  to.append(value);
}

Bytes bytes_of(std::string_view text) noexcept {
  return {reinterpret_cast<const std::uint8_t*>(text.data()), text.size()};
}

bool is_identity(std::uint8_t page) noexcept {
  return page == 0x80 || page == 0x83;
}

}  // namespace

Reply LogicalUnit::cut(std::size_t allocated) const noexcept {
  return {.data = reply_.view().first(std::min(allocated, reply_.size()))};
}

Reply LogicalUnit::inquiry(const TargetCommand& command) {
  const std::size_t allocated = be16(&command.cdb[3]);
  if ((command.cdb[1] & 1) != 0) {
    Reply reply = vital_product_data(command.cdb[2]);
    Nexus* const nexus = find(command.origin.session);
    if (nexus != nullptr && is_identity(command.cdb[2])) nexus->named = reply.status == scsi::kGood;
    return reply.status == scsi::kGood ? cut(allocated) : reply;
  }
  if (command.cdb[2] != 0) return {scsi::kCheckCondition, scsi::kInvalidField, {}};
  reply_.append_zeroes(8);
  std::uint8_t* data = reply_.data();
  data[2] = 6;     // SPC-4
  data[3] = 2;     // the format of this
  data[4] = 69;    // bytes behind this one
  data[7] = 0x02;  // takes several commands
  append_text(reply_, "SIMULATR", 8);
  append_text(reply_, "ARRAY", 16);
  append_text(reply_, "1", 4);
  reply_.append_zeroes(22);
  for (const std::uint32_t standard : {0x00a0U, 0x0460U, 0x04c0U, 0x0960U}) {  // SAM-5, SPC-4, SBC-3, iSCSI
    put_be16(reply_.grow(2), standard);
  }
  reply_.append_zeroes(8);
  return cut(allocated);
}

Reply LogicalUnit::vital_product_data(std::uint8_t page) {
  reply_.append_zeroes(4);
  reply_.data()[1] = page;
  const MediumOptions& options = medium_->options();
  if (is_identity(page) && !identity_readable_) return {scsi::kCheckCondition, scsi::kInvalidField, {}};
  switch (page) {
    case 0x00: {
      constexpr std::uint8_t kPages[] = {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2};
      reply_.append(kPages);
      break;
    }
    case 0x80:
      append_text(reply_, options.serial, options.serial.size());
      break;
    case 0x83:
      identification_page();
      break;
    case 0xb0:
      block_limits_page();
      break;
    case 0xb1:
      reply_.append_zeroes(60);
      put_be16(reply_.data() + 4, 1);  // does not rotate
      break;
    case 0xb2: {
      std::uint8_t* body = reply_.grow(4);
      body[0] = 0;
      body[1] =
          static_cast<std::uint8_t>((options.unmap ? 0x80 : 0) | (options.unmap && options.write_same ? 0x60 : 0) |
                                    (options.unmapped_reads_zeroes ? 0x04 : 0));
      body[2] = options.unmap ? 2 : 0;
      body[3] = 0;
      break;
    }
    default:
      return {scsi::kCheckCondition, scsi::kInvalidField, {}};
  }
  put_be16(reply_.data() + 2, static_cast<std::uint32_t>(reply_.size() - 4));
  return {};
}

void LogicalUnit::identification_page() {
  const MediumOptions& options = medium_->options();
  if (!options.t10.empty()) append_designator(reply_, 2, 1, bytes_of(options.t10));
  if (options.naa != 0) {
    std::uint8_t naa[8];
    put_be64(naa, options.naa);
    append_designator(reply_, 1, 3, naa);
  }
}

void LogicalUnit::block_limits_page() {
  const MediumOptions& options = medium_->options();
  reply_.append_zeroes(60);
  std::uint8_t* data = reply_.data();
  put_be32(data + 8, options.most_blocks);
  if (options.unmap) {
    put_be32(data + 20, options.most_unmapped);
    put_be32(data + 24, kMostDescriptors);
    put_be32(data + 28, 1);  // granularity
  }
  if (options.write_same) put_be64(data + 36, options.most_same);
}

Reply LogicalUnit::read_capacity_10() {
  reply_.append_zeroes(8);
  const std::uint64_t last = medium_->blocks() - 1;
  put_be32(reply_.data(), static_cast<std::uint32_t>(std::min<std::uint64_t>(last, 0xffffffff)));
  put_be32(reply_.data() + 4, medium_->block_size());
  return {.data = reply_.view()};
}

Reply LogicalUnit::read_capacity_16(std::uint32_t allocated) {
  const MediumOptions& options = medium_->options();
  reply_.append_zeroes(32);
  std::uint8_t* data = reply_.data();
  put_be64(data, options.blocks - 1);
  put_be32(data + 8, options.block_size);
  data[13] = options.physical_exponent;
  if (options.unmap) data[14] = static_cast<std::uint8_t>(0x80 | (options.unmapped_reads_zeroes ? 0x40 : 0));
  return cut(allocated);
}

Reply LogicalUnit::mode_sense(const TargetCommand& command) {
  const bool ten = command.cdb[0] == scsi::kModeSense10;
  const std::uint8_t page = command.cdb[2] & 0x3f;
  if (page != 0x08 && page != 0x3f) return {scsi::kCheckCondition, scsi::kInvalidField, {}};
  const MediumOptions& options = medium_->options();
  const std::size_t header = ten ? 8 : 4;
  reply_.append_zeroes(header + 20);
  std::uint8_t* data = reply_.data();
  data[ten ? 3 : 2] = static_cast<std::uint8_t>((write_protected_ ? 0x80 : 0) | (options.fua ? 0x10 : 0));
  if (ten) {
    put_be16(data, static_cast<std::uint32_t>(reply_.size() - 2));
  } else {
    data[0] = static_cast<std::uint8_t>(reply_.size() - 1);
  }
  data[header] = 0x08;  // caching
  data[header + 1] = 18;
  data[header + 2] = options.write_cache ? 0x04 : 0;
  return cut(ten ? be16(&command.cdb[7]) : command.cdb[4]);
}

}  // namespace nbdgw::sim
