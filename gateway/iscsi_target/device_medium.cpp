#include <algorithm>
#include <array>
#include <cstring>

#include "gateway/iscsi_target/device_server.hpp"
#include "gateway/iscsi_target/medium_limits.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/lba_status.hpp"
#include "proto/scsi/unmap.hpp"

namespace nbdgw::iscsi_target::detail {

namespace scsi = proto::scsi;

namespace {

constexpr std::size_t kChunk = 64 * 1024;
constexpr std::uint32_t kMaxBlock = 4096;

/// False, and the sense is set, if the medium failed.
bool succeeded(Execution& execution, MediumResult result, scsi::AdditionalSense io_error) {
  if (result == MediumResult::ok) return true;
  const bool full = result == MediumResult::no_space;
  const auto code = full ? scsi::asc::kSpaceAllocationFailed : io_error;
  check_condition(execution, make_sense(full ? scsi::SenseKey::data_protect : scsi::SenseKey::medium_error, code));
  return false;
}

bool wrote(Execution& execution, MediumResult result) {
  return succeeded(execution, result, scsi::asc::kWriteError);
}

std::uint64_t offset_of(const Execution& execution) noexcept {
  return execution.plan.lba * execution.unit->block_size();
}

void read(Execution& execution) {
  execution.moved = execution.plan.length;
  // Without room for all of it only what there is room for is read.
  succeeded(execution, execution.unit->medium().read(offset_of(execution), execution.data),
            scsi::asc::kUnrecoveredReadError);
}

void write(Execution& execution) {
  const LogicalUnit& unit = *execution.unit;
  // An initiator that announced less than the CDB asks for: the whole blocks of what it sent are written.
  const std::uint32_t length = execution.data_length / unit.block_size() * unit.block_size();
  std::array<iovec, 64> piece;
  for (std::uint32_t done = 0; done < length;) {
    std::size_t covered = 0;
    const std::size_t n = proto::slice(execution.data, done, length - done, piece, &covered);
    if (!wrote(execution, unit.medium().write(offset_of(execution) + done, std::span(piece).first(n)))) return;
    done += static_cast<std::uint32_t>(covered);
  }
  if (execution.plan.fua && unit.write_cache() &&
      !wrote(execution, unit.medium().flush_range(offset_of(execution), length)))
    return;
  execution.moved = execution.plan.length;
}

/// Writes one block over and over.
MediumResult write_pattern(Medium& medium, std::uint64_t offset, std::uint64_t length,
                           std::span<const std::byte> block) {
  std::array<std::byte, kChunk> chunk;
  for (std::size_t at = 0; at < chunk.size(); at += block.size()) std::memcpy(&chunk[at], block.data(), block.size());
  while (length > 0) {
    const iovec piece{chunk.data(), static_cast<std::size_t>(std::min<std::uint64_t>(length, chunk.size()))};
    if (const auto result = medium.write(offset, {&piece, 1}); result != MediumResult::ok) return result;
    offset += piece.iov_len;
    length -= piece.iov_len;
  }
  return MediumResult::ok;
}

void write_same(Execution& execution) {
  const Plan& plan = execution.plan;
  Medium& medium = execution.unit->medium();
  const std::uint32_t block_size = execution.unit->block_size();
  if (execution.data_length < plan.length)
    return check_condition(execution, illegal_request(scsi::asc::kParameterListLengthError));
  std::array<std::byte, kMaxBlock> block{};
  proto::copy_out(execution.data, 0, block.data(), plan.length);
  const bool zeroes =
      std::all_of(block.begin(), block.begin() + block_size, [](auto b) { return b == std::byte{0}; });
  const std::uint64_t offset = offset_of(execution);
  const std::uint64_t length = plan.blocks * block_size;
  // Only blocks that would read the same may be unmapped instead of written (SBC-4 5.50).
  const MediumResult result = !zeroes      ? write_pattern(medium, offset, length, std::span(block).first(block_size))
                              : plan.unmap ? medium.discard(offset, length)
                                           : medium.write_zeroes(offset, length);
  if (wrote(execution, result)) execution.moved = plan.length;
}

void unmap(Execution& execution) {
  execution.moved = execution.plan.length;
  if (execution.plan.length == 0) return;
  std::array<std::uint8_t, scsi::unmap_list_length(kMaxUnmapDescriptors)> bytes;
  const std::uint32_t length = std::min<std::uint32_t>(execution.data_length, bytes.size());
  proto::copy_out(execution.data, 0, bytes.data(), length);
  const auto list = scsi::UnmapList::parse(std::span(bytes).first(length));
  if (!list || execution.data_length < execution.plan.length)
    return check_condition(execution, illegal_request(scsi::asc::kParameterListLengthError));

  const LogicalUnit& unit = *execution.unit;
  std::uint64_t sum = 0;
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto range = (*list)[i];
    if (range.lba > unit.blocks() || range.blocks > unit.blocks() - range.lba)
      return check_condition(execution, illegal_request(scsi::asc::kLbaOutOfRange));
    sum += range.blocks;
  }
  if (sum > kMaxUnmapBytes / unit.block_size())
    return check_condition(execution, illegal_request(scsi::asc::kInvalidFieldInParameterList));
  for (std::size_t i = 0; i < list->size(); ++i) {
    const auto range = (*list)[i];
    if (range.blocks == 0) continue;
    const auto result =
        unit.medium().discard(range.lba * unit.block_size(), std::uint64_t{range.blocks} * unit.block_size());
    if (!wrote(execution, result)) return;
  }
}

void get_lba_status(Execution& execution) {
  const auto cdb = scsi::GetLbaStatus::parse(execution.cdb);
  const LogicalUnit& unit = *execution.unit;
  const std::uint32_t block = unit.block_size();
  const std::size_t room = std::clamp<std::size_t>(
      cdb->allocation_length < scsi::LbaStatusList::kHeaderLength
          ? 0
          : (cdb->allocation_length - scsi::LbaStatusList::kHeaderLength) / scsi::LbaStatusList::kDescriptorLength,
      1, kMaxLbaStatusDescriptors);
  std::vector<scsi::LbaExtent> extents;
  std::uint64_t lba = cdb->lba;
  while (lba < unit.blocks() && extents.size() < room) {
    const std::uint64_t most = std::min<std::uint64_t>(unit.blocks() - lba, 0xffffffff);
    const MediumExtent extent = unit.medium().extent(lba * block, most * block);
    // A run that ends inside a block: that block is partly stored, so it counts as stored.
    const bool whole = extent.length >= block;
    const auto blocks = static_cast<std::uint32_t>(whole ? extent.length / block : 1);
    const bool mapped = extent.mapped || !whole;
    extents.push_back(
        {lba, blocks, mapped ? scsi::ProvisioningStatus::mapped_or_unknown : scsi::ProvisioningStatus::deallocated});
    lba += blocks;
  }
  answer(execution, scsi::LbaStatusList::build(extents), cdb->allocation_length);
}

/// Reads the range, and compares it with the data that came along if that was asked for.
void verify(Execution& execution) {
  const std::uint64_t length = execution.plan.blocks * execution.unit->block_size();
  if (execution.data_length < execution.plan.length)
    return check_condition(execution, illegal_request(scsi::asc::kParameterListLengthError));
  std::array<std::byte, kChunk> stored;
  std::array<std::byte, kChunk> sent;
  for (std::uint64_t done = 0; done < length;) {
    const iovec piece{stored.data(), static_cast<std::size_t>(std::min<std::uint64_t>(length - done, kChunk))};
    if (!succeeded(execution, execution.unit->medium().read(offset_of(execution) + done, {&piece, 1}),
                   scsi::asc::kUnrecoveredReadError))
      return;
    if (execution.plan.compare) {
      proto::copy_out(execution.data, static_cast<std::size_t>(done), sent.data(), piece.iov_len);
      if (std::memcmp(sent.data(), stored.data(), piece.iov_len) != 0)
        return check_condition(execution, make_sense(scsi::SenseKey::miscompare, scsi::asc::kMiscompare));
    }
    done += piece.iov_len;
  }
  execution.moved = execution.plan.length;
}

}  // namespace

void execute_on_medium(Execution& execution) {
  switch (execution.plan.operation) {
    case Operation::read:
      return read(execution);
    case Operation::write:
      return write(execution);
    case Operation::synchronize_cache:
      wrote(execution, execution.unit->medium().flush());
      return;
    case Operation::unmap:
      return unmap(execution);
    case Operation::write_same:
      return write_same(execution);
    case Operation::get_lba_status:
      return get_lba_status(execution);
    case Operation::pre_fetch:
      // All there is of it can be had (SBC-4 5.14: CONDITION MET says that it fits the cache).
      execution.status = scsi::Status::condition_met;
      return;
    default:
      return verify(execution);
  }
}

}  // namespace nbdgw::iscsi_target::detail
