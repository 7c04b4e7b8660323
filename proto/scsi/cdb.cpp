#include "proto/scsi/cdb.hpp"

#include <algorithm>

#include "proto/assert.hpp"
#include "proto/bytes/endian.hpp"

namespace nbdgw::proto::scsi {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint8_t kServiceActionMask = 0x1f;
constexpr std::uint8_t kDpo = 0x10;
constexpr std::uint8_t kFua = 0x08;
constexpr std::uint8_t kImmediate = 0x02;
constexpr std::uint8_t kDisableBlockDescriptors = 0x08;
constexpr std::uint8_t kWriteSameAnchor = 0x10;
constexpr std::uint8_t kWriteSameUnmap = 0x08;
constexpr std::uint8_t kNoDataOutBuffer = 0x01;

Cdb begin(Opcode opcode) noexcept {
  Cdb cdb;
  cdb.bytes[0] = static_cast<std::uint8_t>(opcode);
  cdb.length = static_cast<std::uint8_t>(cdb_length(cdb.bytes[0]));
  return cdb;
}

Cdb begin(ServiceActionIn16 action) noexcept {
  Cdb cdb = begin(Opcode::service_action_in_16);
  cdb.bytes[1] = static_cast<std::uint8_t>(action);
  return cdb;
}

bool is(Bytes cdb, Opcode opcode) noexcept {
  const auto code = static_cast<std::uint8_t>(opcode);
  return cdb.size() >= cdb_length(code) && cdb[0] == code;
}

bool is(Bytes cdb, ServiceActionIn16 action) noexcept {
  return is(cdb, Opcode::service_action_in_16) && (cdb[1] & kServiceActionMask) == static_cast<std::uint8_t>(action);
}

std::uint8_t bit(bool flag, std::uint8_t mask) noexcept {
  return flag ? mask : std::uint8_t{0};
}

/// WRPROTECT, RDPROTECT, VRPROTECT: the top three bits of byte 1.
std::uint8_t protect_bits(std::uint8_t protect) noexcept {
  return static_cast<std::uint8_t>(protect << 5);
}
std::uint8_t protect_of(Bytes cdb) noexcept {
  return static_cast<std::uint8_t>(cdb[1] >> 5);
}

/// Where the 10-byte and the 16-byte block commands keep address and count.
struct Range {
  std::uint64_t lba;
  std::uint32_t blocks;
};

void put_range10(Cdb& cdb, std::uint64_t lba, std::uint32_t blocks) noexcept {
  NBDGW_ASSERT(lba <= 0xffffffffU && blocks <= 0xffff, "a 10-byte command holds 32 bits of address, 16 of length");
  store_be32(&cdb.bytes[2], static_cast<std::uint32_t>(lba));
  store_be16(&cdb.bytes[7], static_cast<std::uint16_t>(blocks));
}

void put_range16(Cdb& cdb, std::uint64_t lba, std::uint32_t blocks) noexcept {
  store_be64(&cdb.bytes[2], lba);
  store_be32(&cdb.bytes[10], blocks);
}

Range range10(Bytes cdb) noexcept {
  return {load_be32(&cdb[2]), load_be16(&cdb[7])};
}
Range range16(Bytes cdb) noexcept {
  return {load_be64(&cdb[2]), load_be32(&cdb[10])};
}

}  // namespace

Cdb test_unit_ready() noexcept {
  return begin(Opcode::test_unit_ready);
}

Cdb RequestSense::build() const noexcept {
  Cdb cdb = begin(Opcode::request_sense);
  cdb.bytes[1] = bit(descriptor_format, 0x01);
  cdb.bytes[4] = allocation_length;
  return cdb;
}

std::optional<RequestSense> RequestSense::parse(Bytes cdb) noexcept {
  if (!is(cdb, Opcode::request_sense)) return std::nullopt;
  return RequestSense{.descriptor_format = (cdb[1] & 0x01) != 0, .allocation_length = cdb[4]};
}

Cdb Inquiry::build() const noexcept {
  Cdb cdb = begin(Opcode::inquiry);
  cdb.bytes[1] = bit(evpd, 0x01);
  cdb.bytes[2] = page;
  store_be16(&cdb.bytes[3], allocation_length);
  return cdb;
}

std::optional<Inquiry> Inquiry::parse(Bytes cdb) noexcept {
  if (!is(cdb, Opcode::inquiry)) return std::nullopt;
  return Inquiry{.evpd = (cdb[1] & 0x01) != 0, .page = cdb[2], .allocation_length = load_be16(&cdb[3])};
}

Cdb ModeSense::build() const noexcept {
  Cdb cdb = begin(ten ? Opcode::mode_sense_10 : Opcode::mode_sense_6);
  cdb.bytes[1] = bit(disable_block_descriptors, kDisableBlockDescriptors);
  cdb.bytes[2] = static_cast<std::uint8_t>((page_control << 6) | (page & 0x3f));
  cdb.bytes[3] = subpage;
  if (ten) {
    store_be16(&cdb.bytes[7], allocation_length);
  } else {
    cdb.bytes[4] = static_cast<std::uint8_t>(std::min<std::uint16_t>(allocation_length, 255));
  }
  return cdb;
}

std::optional<ModeSense> ModeSense::parse(Bytes cdb) noexcept {
  const bool ten = is(cdb, Opcode::mode_sense_10);
  if (!ten && !is(cdb, Opcode::mode_sense_6)) return std::nullopt;
  return ModeSense{.disable_block_descriptors = (cdb[1] & kDisableBlockDescriptors) != 0,
                   .page_control = static_cast<std::uint8_t>(cdb[2] >> 6),
                   .page = static_cast<std::uint8_t>(cdb[2] & 0x3f),
                   .subpage = cdb[3],
                   .allocation_length = ten ? load_be16(&cdb[7]) : std::uint16_t{cdb[4]},
                   .ten = ten};
}

Cdb ReportLuns::build() const noexcept {
  Cdb cdb = begin(Opcode::report_luns);
  cdb.bytes[2] = select_report;
  store_be32(&cdb.bytes[6], allocation_length);
  return cdb;
}

std::optional<ReportLuns> ReportLuns::parse(Bytes cdb) noexcept {
  if (!is(cdb, Opcode::report_luns)) return std::nullopt;
  return ReportLuns{.select_report = cdb[2], .allocation_length = load_be32(&cdb[6])};
}

Cdb read_capacity_10() noexcept {
  return begin(Opcode::read_capacity_10);
}

Cdb ReadCapacity16::build() const noexcept {
  Cdb cdb = begin(ServiceActionIn16::read_capacity_16);
  store_be32(&cdb.bytes[10], allocation_length);
  return cdb;
}

std::optional<ReadCapacity16> ReadCapacity16::parse(Bytes cdb) noexcept {
  if (!is(cdb, ServiceActionIn16::read_capacity_16)) return std::nullopt;
  return ReadCapacity16{.allocation_length = load_be32(&cdb[10])};
}

Cdb ReadWrite::build() const noexcept {
  Cdb cdb = begin(write ? Opcode::write_16 : Opcode::read_16);
  cdb.bytes[1] = static_cast<std::uint8_t>(protect_bits(protect) | bit(dpo, kDpo) | bit(fua, kFua));
  put_range16(cdb, lba, blocks);
  return cdb;
}

Cdb ReadWrite::build10() const noexcept {
  Cdb cdb = begin(write ? Opcode::write_10 : Opcode::read_10);
  cdb.bytes[1] = static_cast<std::uint8_t>(protect_bits(protect) | bit(dpo, kDpo) | bit(fua, kFua));
  put_range10(cdb, lba, blocks);
  return cdb;
}

std::optional<ReadWrite> ReadWrite::parse(Bytes cdb) noexcept {
  const bool ten = is(cdb, Opcode::read_10) || is(cdb, Opcode::write_10);
  if (!ten && !is(cdb, Opcode::read_16) && !is(cdb, Opcode::write_16)) return std::nullopt;
  const Range range = ten ? range10(cdb) : range16(cdb);
  return ReadWrite{.write = is(cdb, Opcode::write_10) || is(cdb, Opcode::write_16),
                   .lba = range.lba,
                   .blocks = range.blocks,
                   .fua = (cdb[1] & kFua) != 0,
                   .dpo = (cdb[1] & kDpo) != 0,
                   .protect = protect_of(cdb)};
}

Cdb SynchronizeCache::build() const noexcept {
  Cdb cdb = begin(Opcode::synchronize_cache_16);
  cdb.bytes[1] = bit(immediate, kImmediate);
  put_range16(cdb, lba, blocks);
  return cdb;
}

Cdb SynchronizeCache::build10() const noexcept {
  Cdb cdb = begin(Opcode::synchronize_cache_10);
  cdb.bytes[1] = bit(immediate, kImmediate);
  put_range10(cdb, lba, blocks);
  return cdb;
}

std::optional<SynchronizeCache> SynchronizeCache::parse(Bytes cdb) noexcept {
  const bool ten = is(cdb, Opcode::synchronize_cache_10);
  if (!ten && !is(cdb, Opcode::synchronize_cache_16)) return std::nullopt;
  const Range range = ten ? range10(cdb) : range16(cdb);
  return SynchronizeCache{.lba = range.lba, .blocks = range.blocks, .immediate = (cdb[1] & kImmediate) != 0};
}

Cdb Unmap::build() const noexcept {
  Cdb cdb = begin(Opcode::unmap);
  cdb.bytes[1] = bit(anchor, 0x01);
  store_be16(&cdb.bytes[7], parameter_list_length);
  return cdb;
}

std::optional<Unmap> Unmap::parse(Bytes cdb) noexcept {
  if (!is(cdb, Opcode::unmap)) return std::nullopt;
  return Unmap{.anchor = (cdb[1] & 0x01) != 0, .parameter_list_length = load_be16(&cdb[7])};
}

Cdb WriteSame::build() const noexcept {
  Cdb cdb = begin(Opcode::write_same_16);
  cdb.bytes[1] = static_cast<std::uint8_t>(protect_bits(protect) | bit(anchor, kWriteSameAnchor) |
                                           bit(unmap, kWriteSameUnmap) | bit(no_data_out, kNoDataOutBuffer));
  put_range16(cdb, lba, blocks);
  return cdb;
}

Cdb WriteSame::build10() const noexcept {
  NBDGW_ASSERT(!no_data_out, "WRITE SAME(10) always carries its block");
  Cdb cdb = begin(Opcode::write_same_10);
  cdb.bytes[1] =
      static_cast<std::uint8_t>(protect_bits(protect) | bit(anchor, kWriteSameAnchor) | bit(unmap, kWriteSameUnmap));
  put_range10(cdb, lba, blocks);
  return cdb;
}

std::optional<WriteSame> WriteSame::parse(Bytes cdb) noexcept {
  const bool ten = is(cdb, Opcode::write_same_10);
  if (!ten && !is(cdb, Opcode::write_same_16)) return std::nullopt;
  const Range range = ten ? range10(cdb) : range16(cdb);
  return WriteSame{.lba = range.lba,
                   .blocks = range.blocks,
                   .unmap = (cdb[1] & kWriteSameUnmap) != 0,
                   .anchor = (cdb[1] & kWriteSameAnchor) != 0,
                   .no_data_out = !ten && (cdb[1] & kNoDataOutBuffer) != 0,
                   .protect = protect_of(cdb)};
}

Cdb GetLbaStatus::build() const noexcept {
  Cdb cdb = begin(ServiceActionIn16::get_lba_status);
  put_range16(cdb, lba, allocation_length);
  return cdb;
}

std::optional<GetLbaStatus> GetLbaStatus::parse(Bytes cdb) noexcept {
  if (!is(cdb, ServiceActionIn16::get_lba_status)) return std::nullopt;
  return GetLbaStatus{.lba = load_be64(&cdb[2]), .allocation_length = load_be32(&cdb[10])};
}

Cdb PreFetch::build() const noexcept {
  Cdb cdb = begin(Opcode::pre_fetch_16);
  cdb.bytes[1] = bit(immediate, kImmediate);
  put_range16(cdb, lba, blocks);
  return cdb;
}

std::optional<PreFetch> PreFetch::parse(Bytes cdb) noexcept {
  if (!is(cdb, Opcode::pre_fetch_16)) return std::nullopt;
  const Range range = range16(cdb);
  return PreFetch{.lba = range.lba, .blocks = range.blocks, .immediate = (cdb[1] & kImmediate) != 0};
}

Cdb Verify::build() const noexcept {
  Cdb cdb = begin(Opcode::verify_16);
  cdb.bytes[1] = static_cast<std::uint8_t>(protect_bits(protect) | bit(dpo, kDpo) | ((byte_check & 0x03) << 1));
  put_range16(cdb, lba, blocks);
  return cdb;
}

std::optional<Verify> Verify::parse(Bytes cdb) noexcept {
  if (!is(cdb, Opcode::verify_16)) return std::nullopt;
  const Range range = range16(cdb);
  return Verify{.lba = range.lba,
                .blocks = range.blocks,
                .byte_check = static_cast<std::uint8_t>((cdb[1] >> 1) & 0x03),
                .dpo = (cdb[1] & kDpo) != 0,
                .protect = protect_of(cdb)};
}

}  // namespace nbdgw::proto::scsi
