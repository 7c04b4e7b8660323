// What a unit does with blocks.
#include <algorithm>

#include "tests/sim/target/lun.hpp"

namespace nbdgw::sim {
namespace {

using BlockKind = scsi::BlockCommand::Kind;

Reply check_condition(const scsi::Sense& sense) noexcept {
  return {scsi::kCheckCondition, sense, {}};
}

constexpr std::uint8_t kFuaBit = 0x08;
constexpr std::uint8_t kUnmapBit = 0x08;  // of WRITE SAME
constexpr std::uint8_t kNoDataOutBit = 0x01;
constexpr std::uint8_t kAnchorBit = 0x10;       // of WRITE SAME
constexpr std::uint8_t kUnmapAnchorBit = 0x01;  // of UNMAP
constexpr std::uint8_t kProtectField = 0xe0;    // RDPROTECT, WRPROTECT

}  // namespace

Reply LogicalUnit::perform(TargetCommand& command, std::size_t data_length, Micros now) {
  reply_.clear();
  // Blocks are those of the disk that was there when the command came; the rest is about the one that is there now.
  const bool blocks = command.block.kind != BlockKind::none;
  if (!blocks && medium_ == nullptr) return check_condition(scsi::kNoSuchUnit);
  switch (command.cdb[0]) {
    case scsi::kTestUnitReady:
      return {};
    case scsi::kInquiry:
      return inquiry(command);
    case scsi::kRequestSense:
      reply_.append_zeroes(18);
      reply_.data()[0] = 0x70;
      reply_.data()[7] = 10;
      return cut(command.cdb[4]);
    case scsi::kModeSense6:
    case scsi::kModeSense10:
      return mode_sense(command);
    case scsi::kReadCapacity10:
      return read_capacity_10();
    case scsi::kServiceActionIn16:
      if ((command.cdb[1] & 0x1f) != scsi::kReadCapacity16 || !medium_->options().sixteen) break;
      return read_capacity_16(be32(&command.cdb[10]));
    case scsi::kUnmap:
      if (!command.medium->options().unmap) break;
      return unmap(command, now);
    default:
      if (!blocks) break;
      return transfer(command, data_length, now);
  }
  return check_condition(scsi::kInvalidOperation);
}

/// READ, WRITE, WRITE SAME and SYNCHRONIZE CACHE.
Reply LogicalUnit::transfer(TargetCommand& command, std::size_t data_length, Micros now) {
  Medium& medium = *command.medium;
  const MediumOptions& options = medium.options();
  const scsi::BlockCommand& block = command.block;
  if (block.sixteen && !options.sixteen) return check_condition(scsi::kInvalidOperation);
  if (!medium.contains(block.lba, block.blocks)) return check_condition(scsi::kOutOfRange);
  const bool moves = block.kind == BlockKind::read || block.kind == BlockKind::write;
  // Nothing is formatted with protection information (SBC-4 4.21).
  if (block.kind != BlockKind::synchronize && (command.cdb[1] & kProtectField) != 0)
    return check_condition(scsi::kInvalidField);
  if (moves && options.most_blocks != 0 && block.blocks > options.most_blocks)
    return check_condition(scsi::kInvalidField);
  const bool fua = (command.cdb[1] & kFuaBit) != 0;
  if (moves && fua && (!options.fua || options.refuses_fua)) return check_condition(scsi::kInvalidField);
  switch (block.kind) {
    case BlockKind::read:
      return {.data = medium.read(block.lba, block.blocks, command.origin)};
    case BlockKind::write: {
      const std::size_t length = std::min<std::size_t>(data_length, block.blocks * options.block_size);
      const std::size_t whole = length - length % options.block_size;
      medium.write(block.lba, command.data.view().first(whole), fua, now, command.origin);
      return {};
    }
    case BlockKind::write_same: {
      const bool unmaps = (command.cdb[1] & kUnmapBit) != 0;
      if (!options.write_same || (unmaps && !options.unmap)) return check_condition(scsi::kInvalidOperation);
      if ((command.cdb[1] & (kNoDataOutBit | kAnchorBit)) != 0) return check_condition(scsi::kInvalidField);
      const std::uint64_t count = options.short_counts ? block.blocks & 0xffff : block.blocks;
      const std::uint64_t blocks = count != 0 ? count : medium.blocks() - block.lba;
      if (options.most_same != 0 && blocks > options.most_same) return check_condition(scsi::kInvalidField);
      if (data_length < options.block_size) return check_condition(scsi::kInvalidField);
      medium.write_same(block.lba, blocks, command.data.view().first(options.block_size), now, command.origin);
      return {};
    }
    case BlockKind::synchronize:
      medium.synchronize(block.lba, block.blocks, now, command.origin);
      return {};
    case BlockKind::unmap:
    case BlockKind::none:
      break;
  }
  return check_condition(scsi::kInvalidOperation);
}

Reply LogicalUnit::unmap(TargetCommand& command, Micros now) {
  Medium& medium = *command.medium;
  if ((command.cdb[1] & kUnmapAnchorBit) != 0) return check_condition(scsi::kInvalidField);
  const Bytes list = command.data.view().bytes();
  if (list.empty()) return {};
  if (list.size() < 8) return check_condition({5, 0x1a, 0});
  const std::size_t descriptors = std::min<std::size_t>(be16(&list[2]), list.size() - 8) / 16;
  if (descriptors > kMostDescriptors) return check_condition(scsi::kInvalidParameter);
  std::uint64_t total = 0;
  for (std::size_t i = 0; i < descriptors; ++i) {
    const std::uint64_t lba = be64(&list[8 + 16 * i]);
    const std::uint64_t blocks = be32(&list[16 + 16 * i]);
    if (!medium.contains(lba, blocks)) return check_condition(scsi::kOutOfRange);
    total += blocks;
  }
  if (total > medium.options().most_unmapped) return check_condition(scsi::kInvalidParameter);
  for (std::size_t i = 0; i < descriptors; ++i) {
    medium.unmap(be64(&list[8 + 16 * i]), be32(&list[16 + 16 * i]), now, command.origin);
  }
  return {};
}

}  // namespace nbdgw::sim
