#include "gateway/bridge/command_builder.hpp"

#include <algorithm>
#include <array>

#include "proto/assert.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/mutant.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/unmap.hpp"

namespace nbdgw::bridge {

namespace {

using initiator::Direction;

constexpr std::size_t kZeroPage = 64 * 1024;
alignas(4096) constexpr std::array<std::byte, kZeroPage> kZeroes{};

/// A zero write that fills the view: kPartBlocks pages are more than kMaxPart.
static_assert(kPartBlocks * kZeroPage >= kMaxPart);
static_assert(kZeroPage >= device::kMaxBlockLength, "WRITE SAME sends one block of the zero page");

iovec zero_iovec(std::size_t length) noexcept {
  // The transport only reads the data of a write.
  return {const_cast<std::byte*>(kZeroes.data()), length};
}

void begin(DiskCommand& command, const Abilities& can, const proto::scsi::Cdb& cdb) noexcept {
  command.lun = can.lun;
  command.cdb = cdb.bytes;
  command.cdb_length = cdb.length;
  command.direction = Direction::none;
  command.data = {};
  command.data_length = 0;
  command.outcome = initiator::Outcome::pending;
  command.status = 0;
  command.sense_length = 0;
  command.residual_underflow = 0;
  command.residual_overflow = 0;
  command.transferred = 0;
}

/// How many blocks the segment's next command has, in the 32 bits of its CDB. A count of 0 would mean "to the end of
/// the disk" to a WRITE SAME, and nothing at all to the others.
std::uint32_t take_blocks(Segment& segment, std::uint64_t limit) noexcept {
  NBDGW_ASSERT(segment.blocks_done < segment.blocks, "a command has something to do");
  NBDGW_ASSERT(limit > 0 && limit <= 0xffffffffU, "a limit that a command can keep");
  segment.command_blocks = std::min(segment.blocks - segment.blocks_done, limit);
  return static_cast<std::uint32_t>(segment.command_blocks);
}

void set_data(Segment& segment, Direction direction, std::span<const iovec> data, std::uint64_t length) noexcept {
  segment.direction = direction;
  segment.data = data;
  segment.data_length = static_cast<std::uint32_t>(length);
}

/// READ or WRITE, in the form that the LUN knows.
proto::scsi::Cdb build(const proto::scsi::ReadWrite& cdb, const Abilities& can) noexcept {
  return can.transfer_16 ? cdb.build() : cdb.build10();
}

/// READ or WRITE of the next blocks, from or into the segment's own memory.
void prepare_transfer(Segment& segment, const Abilities& can, bool write, bool fua) noexcept {
  const std::uint32_t blocks = take_blocks(segment, can.transfer);
  const proto::scsi::ReadWrite cdb{
      .write = write, .lba = segment.lba + segment.blocks_done, .blocks = blocks, .fua = write && fua};
  begin(segment, can, build(cdb, can));
  const std::uint64_t length = segment.command_blocks * can.block;
  const Direction direction = write ? Direction::write : Direction::read;
  if (segment.command_blocks == segment.blocks && length == segment.memory_bytes) {
    set_data(segment, direction, segment.memory_list(), length);
  } else {
    const std::size_t n = proto::slice(segment.memory_list(), segment.blocks_done * can.block, length, segment.view);
    set_data(segment, direction, std::span(segment.view).first(n), length);
  }
}

/// READ of the first or the last block of an unaligned WRITE: what the client sent stays, the rest goes to its place.
void prepare_edge_read(Segment& segment, const Abilities& can, bool head) noexcept {
  const std::uint64_t block = can.block;
  const std::uint64_t base = head ? 0 : (segment.blocks - 1) * block;  // of this block in the segment's memory
  const std::uint64_t skew = segment.offset - segment.lba * block;
  const std::uint64_t from = std::max(skew, base) - base;  // the client's bytes in this block
  const std::uint64_t to = std::min(skew + segment.length, base + block) - base;
  const std::span<iovec> view(segment.view);
  std::size_t n = 0;
  if (from > 0) n += proto::slice(segment.memory_list(), base, from, view);
  if (NBDGW_MUTANT(edge_read_overwrites_payload)) {
    n += proto::slice(segment.memory_list(), base + from, to - from, view.subspan(n));
  } else {
    n += proto::slice(segment.discard_list(), 0, to - from, view.subspan(n));
  }
  if (to < block) n += proto::slice(segment.memory_list(), base + to, block - to, view.subspan(n));
  segment.command_blocks = 1;
  begin(segment, can, build({.lba = segment.lba + (head ? 0 : segment.blocks - 1), .blocks = 1}, can));
  set_data(segment, Direction::read, view.first(n), block);
  NBDGW_ASSERT(proto::total_length(segment.data) == block, "an edge read is one block");
}

void prepare_zero_write(Segment& segment, const Abilities& can, bool fua) noexcept {
  const std::uint32_t blocks = take_blocks(segment, std::min<std::uint64_t>(can.transfer, kMaxPart / can.block));
  const proto::scsi::ReadWrite cdb{
      .write = true, .lba = segment.lba + segment.blocks_done, .blocks = blocks, .fua = fua};
  begin(segment, can, build(cdb, can));
  const std::uint64_t length = segment.command_blocks * can.block;
  std::size_t n = 0;
  for (std::uint64_t left = length; left > 0; left -= segment.view[n++].iov_len) {
    segment.view[n] = zero_iovec(std::min<std::uint64_t>(left, kZeroPage));
  }
  set_data(segment, Direction::write, std::span(segment.view).first(n), length);
}

void prepare_write_same(Segment& segment, const Abilities& can, bool unmap) noexcept {
  const std::uint32_t blocks = take_blocks(segment, can.write_same);
  const proto::scsi::WriteSame cdb{.lba = segment.lba + segment.blocks_done, .blocks = blocks, .unmap = unmap};
  begin(segment, can, can.write_same_16 ? cdb.build() : cdb.build10());
  segment.view[0] = zero_iovec(can.block);
  set_data(segment, Direction::write, std::span(segment.view).first(1), can.block);
}

void prepare_unmap(Segment& segment, const Abilities& can) noexcept {
  const std::uint32_t blocks = take_blocks(segment, can.unmap);
  const std::array ranges{proto::scsi::UnmapRange{segment.lba + segment.blocks_done, blocks}};
  const std::size_t length = proto::scsi::build_unmap_list(ranges, segment.unmap_parameters);
  begin(segment, can, proto::scsi::Unmap{.parameter_list_length = static_cast<std::uint16_t>(length)}.build());
  segment.view[0] = {segment.unmap_parameters.data(), length};
  set_data(segment, Direction::write, std::span(segment.view).first(1), length);
}

}  // namespace

void prepare(Segment& segment, const Abilities& can, bool fua) noexcept {
  switch (segment.operation) {
    case Operation::read:
      return prepare_transfer(segment, can, false, false);
    case Operation::edge_read:
      return prepare_transfer(segment, can, false, false);
    case Operation::write:
      return prepare_transfer(segment, can, true, fua);
    case Operation::edge_write:
      return prepare_transfer(segment, can, true, fua);
    case Operation::head_read:
      return prepare_edge_read(segment, can, true);
    case Operation::tail_read:
      return prepare_edge_read(segment, can, false);
    case Operation::write_zeroes:
      return prepare_zero_write(segment, can, fua);
    case Operation::write_same:
      return prepare_write_same(segment, can, false);
    case Operation::write_same_unmap:
      return prepare_write_same(segment, can, true);
    case Operation::unmap:
      return prepare_unmap(segment, can);
    case Operation::none:
      break;
  }
  NBDGW_ASSERT(false, "a segment that is sent has something to do");
}

void prepare_flush(DiskCommand& command, const Abilities& can) noexcept {
  const proto::scsi::SynchronizeCache whole_lun{};
  begin(command, can, can.synchronize_16 ? whole_lun.build() : whole_lun.build10());
  command.ends_last = true;  // what it says of the cache another command may have been told otherwise before
}

void place_payload(Segment& segment, std::size_t skew, std::uint32_t length) noexcept {
  const std::span<const iovec> memory = segment.memory_list();
  if (skew == 0 && proto::total_length(memory) == length) {
    segment.payload = memory;
    return;
  }
  const std::size_t n = proto::slice(memory, skew, length, segment.view);
  segment.payload = std::span<const iovec>(segment.view).first(n);
}

}  // namespace nbdgw::bridge
