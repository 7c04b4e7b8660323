#pragma once

#include <cstdint>
#include <string>

#include "proto/disk_identity.hpp"

/// What is known about a logical unit, and what follows from it for those who send commands to it.
namespace nbdgw::device {

enum class Medium : std::uint8_t { unknown, solid_state, rotating };

/// What a probe found out. Lengths and counts are in logical blocks unless they say otherwise; 0 in a limit means
/// that the unit does not report one.
struct Facts {
  std::uint32_t block_length = 0;  // bytes, a power of two, kMinBlockLength..kMaxBlockLength
  std::uint64_t blocks = 0;
  bool capacity_16 = true;                  // READ CAPACITY(16) is known; else `blocks` is below 2^32
  std::uint32_t physical_block_length = 0;  // bytes

  std::string vendor;
  std::string product;
  std::string revision;
  std::string serial;      // VPD 80h; empty if not reported
  std::string identifier;  // VPD 83h, the best designator: "naa.6001405..."; empty if not reported

  bool write_protected = false;
  bool dpofua = false;      // WRITE with the FUA bit may be sent
  bool write_cache = true;  // volatile: FLUSH needs SYNCHRONIZE CACHE. Assumed when the unit does not tell
  Medium medium = Medium::unknown;
  std::uint16_t rotation_rate = 0;  // turns per minute, if rotating and told

  bool lbpme = false;  // thin: unmapping may be asked for
  bool lbprz = false;  // unmapped blocks read as zeroes
  bool lbpu = false;   // by UNMAP
  bool lbpws = false;  // by WRITE SAME(16) with the UNMAP bit

  std::uint32_t max_transfer = 0;
  std::uint32_t optimal_transfer = 0;
  std::uint32_t optimal_transfer_granularity = 0;
  std::uint32_t max_unmap_lba_count = 0;    // 0: no UNMAP
  std::uint32_t max_unmap_descriptors = 0;  // 0: no UNMAP
  std::uint32_t unmap_granularity = 1;      // > 0
  std::uint32_t unmap_alignment = 0;        // < unmap_granularity: granules begin at this LBA plus multiples
  std::uint64_t max_write_same = 0;

  /// WRITE SAME(16) is worth trying: nothing tells beforehand, so true until the unit has refused one.
  bool write_same = true;

  proto::DiskIdentity identity() const { return {identifier, serial}; }
  std::uint64_t capacity_bytes() const noexcept { return blocks * block_length; }
};

inline constexpr std::uint32_t kMinBlockLength = 512;
inline constexpr std::uint32_t kMaxBlockLength = 64 * 1024;
/// Sizes beyond this do not fit the signed 64-bit offsets of the clients' systems.
inline constexpr std::uint64_t kMaxCapacityBytes = 0x7fff'ffff'ffff'ffffULL;

/// One READ or WRITE moves this much at most, whatever the unit allows.
inline constexpr std::uint32_t kMaxCommandBytes = 1024 * 1024;
/// One UNMAP covers this much at most, so that a large TRIM neither times out nor holds up other requests for long.
inline constexpr std::uint64_t kMaxUnmapBytes = 1024ULL * 1024 * 1024;
/// One WRITE SAME covers this much at most: a unit that really writes zeroes at 20 MB/s is done with it well within
/// the command timeout of 15 s.
inline constexpr std::uint64_t kMaxWriteSameBytes = 32ULL * 1024 * 1024;

/// Blocks of one WRITE SAME(16) where the unit does not report a limit: what Linux assumes (its SD_MAX_WS10_BLOCKS).
/// Units are known that keep 16 bits of the count, and take the 0 that is left of 65,536 for "to the end of the
/// disk".
inline constexpr std::uint32_t kAssumedWriteSameBlocks = 0xffff;

// The limits of all commands that have a number of blocks: here a limit that is not reported becomes the one that is
// assumed, and whoever builds a command asks here.

/// Blocks of one READ or WRITE, at least 1; kMaxCommandBytes, which is below what Linux assumes, if nothing is
/// reported.
std::uint32_t max_transfer_blocks(const Facts& facts) noexcept;

/// Whether UNMAP may be sent.
bool can_unmap(const Facts& facts) noexcept;
/// Blocks of one UNMAP (one descriptor), a multiple of the granularity if it can be; 0 if UNMAP may not be sent, as
/// where no limit is reported (Linux, too, then does without).
std::uint32_t max_unmap_blocks(const Facts& facts) noexcept;

/// Whether a WRITE SAME(16) of zeroes may have the UNMAP bit: what it unmaps reads as zeroes for sure.
bool can_write_same_unmap(const Facts& facts) noexcept;
/// Blocks of one WRITE SAME(16), whole physical blocks if it can be; 0 if it should not be tried.
std::uint32_t max_write_same_blocks(const Facts& facts) noexcept;

/// What the 10-byte forms of READ, WRITE and WRITE SAME reach: an LBA of 32 bits (SBC-4 5.17).
inline constexpr std::uint64_t kReachOf10 = 0x1'0000'0000ULL;
/// Blocks of one command of 10 bytes at most: of what fits in 16 bits, a power of two, so that it ends with a whole
/// physical block.
inline constexpr std::uint32_t kMaxBlocks10 = 0x8000;

struct BlockRange {
  std::uint64_t lba = 0;
  std::uint64_t blocks = 0;  // 0: nothing left
  friend bool operator==(const BlockRange&, const BlockRange&) = default;
};

/// The whole granules of unmapping inside the range (rounded inward: a TRIM may do less, never more). `lba + blocks`
/// must not wrap.
BlockRange whole_granules(const Facts& facts, BlockRange range) noexcept;

}  // namespace nbdgw::device
