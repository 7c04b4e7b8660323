#pragma once

#include <cstddef>
#include <cstdint>

#include "gateway/device/facts.hpp"
#include "proto/bytes/buffer_pool.hpp"
#include "proto/time.hpp"

/// Every limit of the bridge. What an operator may change is in ExportConfig (export.hpp), with these as defaults.
namespace nbdgw::bridge {

/// Bytes that one SCSI command carries at most.
inline constexpr std::uint32_t kMaxPart = device::kMaxCommandBytes;

/// A request is not cut into parts smaller than this, so that their number is bounded whatever limits a LUN reports.
/// Where the LUN takes less at once, a part is carried by several commands, one after the other.
inline constexpr std::uint32_t kMinPart = 64 * 1024;

/// Entries of a scatter list that hold one part, or one block.
inline constexpr std::size_t kPartBlocks = proto::BufferPool::blocks_for(kMaxPart);
inline constexpr std::size_t kEdgeBlocks = proto::BufferPool::blocks_for(device::kMaxBlockLength);

/// Requests in flight on one export, over all its connections: eight connections of the Linux client (128 tags each).
inline constexpr std::size_t kRequestsPerExport = 1024;

/// Of the payload memory, the share that is set aside for one small request of each connection (Shares): one in so
/// many.
inline constexpr std::uint64_t kReservedPart = 8;

/// Parts in flight on one export; a request of 32 MiB has 33 at most where the LUN takes 1 MiB at once.
inline constexpr std::size_t kSegmentsPerExport = 2048;

/// SCSI commands lent to the session at once, for one export.
inline constexpr std::uint32_t kQueueDepth = 128;

/// A queue depth that TASK SET FULL or BUSY has lowered goes up by one for as many commands as it has, all ended
/// well, but not before the target has turned none away for this time: it tells when it is full, not when it is not.
inline constexpr proto::Micros kQueueDepthRest = 5 * proto::kSecond;

/// Commands of one TRIM or WRITE_ZEROES in flight at once. Such a request may be 4 GiB long: its commands are made as
/// they are needed, and it must not take the whole queue.
inline constexpr std::uint32_t kRangeCommands = 8;

/// Bytes of one READ or WRITE (NBD protocol, "Block sizes": 32 MiB are to be expected of every server).
inline constexpr std::uint32_t kMaxPayload = 32 * 1024 * 1024;

/// Advertised when the LUN does not want more (NBD protocol, default of the preferred block size).
inline constexpr std::uint32_t kPreferredBlock = 4096;

/// What one request of this size takes at most, wherever it begins.
constexpr std::size_t segments_for(std::uint32_t payload) noexcept {
  return payload / kMinPart + 2;
}
/// Its parts begin and end with blocks that are not whole, each with a block to read the rest of it into; and large
/// blocks of the pool are cut into small ones. Bytes.
inline constexpr std::size_t kMemoryAround =
    std::size_t{4} * device::kMaxBlockLength + std::size_t{4} * proto::BufferPool::kLargeBlock;
constexpr std::size_t memory_for(std::uint32_t payload) noexcept {
  return payload + kMemoryAround;
}
/// The other way round: a payload for which this memory is enough, whole large blocks and at least one.
constexpr std::uint32_t payload_for(std::uint64_t memory) noexcept {
  const std::uint64_t payload = memory > kMemoryAround ? memory - kMemoryAround : 0;
  const std::uint64_t blocks = payload / proto::BufferPool::kLargeBlock;
  const std::uint64_t most = kMaxPayload / proto::BufferPool::kLargeBlock;
  return static_cast<std::uint32_t>((blocks == 0     ? 1
                                     : blocks < most ? blocks
                                                     : most) *
                                    proto::BufferPool::kLargeBlock);
}

/// How long requests are held while there is no path to the LUN, from its loss on; then they fail: the
/// replacement timeout, two minutes as open-iscsi has it.
inline constexpr proto::Micros kHoldTimeout = 120 * proto::kSecond;

/// No array is power-cycled and answers again in less. Many targets raise "power on or reset" (29/00) at every login:
/// after an outage that was shorter it says nothing about the cache. Longer than it takes until a gateway that has
/// crashed is back.
inline constexpr proto::Micros kPowerCycleTime = 5 * proto::kSecond;

/// A LUN that has answered within this time has not become another disk since: to delete one and make another takes
/// two programs that an administrator starts (tgtadm: 0.9 ms and more each, measured).
inline constexpr proto::Micros kTrustedSilence = proto::kMillisecond / 2;

/// While the LUN is smaller than it was, its capacity is read again this often.
inline constexpr proto::Micros kRecheckInterval = 5 * proto::kSecond;

/// That the thin pool behind the LUN runs low is told so often at most, however many commands hear of it.
inline constexpr proto::Micros kThresholdInterval = 60 * proto::kSecond;

/// The capacity of a LUN that is online is read again about this often: there are targets that do not tell when it
/// grows. Of many LUNs of one session each is asked by itself, and no faster than one in kLeastCapacityPause.
inline constexpr proto::Micros kCapacityPoll = 60 * proto::kSecond;
inline constexpr proto::Micros kLeastCapacityPause = 100 * proto::kMillisecond;

/// A LUN of which nothing was heard for so long may be as unusable over its path as another one of the session is.
inline constexpr proto::Micros kUnheard = 5 * proto::kSecond;

}  // namespace nbdgw::bridge
