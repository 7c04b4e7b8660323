#pragma once

#include <cstddef>
#include <cstdint>

#include "gateway/device/facts.hpp"
#include "proto/bytes/buffer_pool.hpp"
#include "proto/time.hpp"

/// Every limit of the bridge. What an operator may change is in ExportConfig (export.hpp), with these as defaults.
namespace nbdgw::bridge {

/// Bytes that one SCSI task carries at most (design section 5.5).
inline constexpr std::uint32_t kMaxPart = device::kMaxTaskBytes;

/// A request is not cut into parts smaller than this, so that their number is bounded whatever limits a LUN reports.
/// Where the LUN takes less at once, a part is carried by several tasks, one after the other.
inline constexpr std::uint32_t kMinPart = 64 * 1024;

/// Entries of a scatter list that hold one part, or one block.
inline constexpr std::size_t kPartBlocks = proto::BufferPool::blocks_for(kMaxPart);
inline constexpr std::size_t kEdgeBlocks = proto::BufferPool::blocks_for(device::kMaxBlockLength);

/// Requests in flight on one export, over all its connections: eight connections of the Linux client (128 tags each).
inline constexpr std::size_t kRequestsPerExport = 1024;

/// Parts in flight on one export; a request of 32 MiB has 33 at most where the LUN takes 1 MiB at once.
inline constexpr std::size_t kSegmentsPerExport = 2048;

/// SCSI tasks lent to the session at once, for one export.
inline constexpr std::uint32_t kQueueDepth = 128;

/// Good completions in a row after which a queue depth that TASK SET FULL has lowered goes up by one.
inline constexpr std::uint32_t kQueueDepthRecovery = 128;

/// Tasks of one TRIM or WRITE_ZEROES in flight at once. Such a request may be 4 GiB long: its tasks are made as they
/// are needed, and it must not take the whole queue.
inline constexpr std::uint32_t kRangeTasks = 8;

/// Bytes of one READ or WRITE (NBD protocol, "Block sizes": 32 MiB are to be expected of every server).
inline constexpr std::uint32_t kMaxPayload = 32 * 1024 * 1024;

/// Advertised when the LUN does not want more (NBD protocol, default of the preferred block size).
inline constexpr std::uint32_t kPreferredBlock = 4096;

/// What one request of this size takes at most, wherever it begins: an export with less could never serve it.
constexpr std::size_t segments_for(std::uint32_t payload) noexcept {
  return payload / kMinPart + 2;
}
constexpr std::size_t memory_for(std::uint32_t payload) noexcept {
  // Its parts begin and end with blocks that are not whole, each with a block to read the rest of it into; and large
  // blocks of the pool that are cut into small ones.
  return payload + std::size_t{4} * device::kMaxBlockLength + std::size_t{4} * proto::BufferPool::kLargeBlock;
}

/// How long requests are held while there is no path to the LUN, from its loss on; then they fail (design section 6,
/// replacement timeout).
inline constexpr proto::Micros kHoldTimeout = 120 * proto::kSecond;

/// No array is power-cycled and answers again in less. Many targets raise "power on or reset" (29/00) at every login:
/// after an outage that was shorter it says nothing about the cache.
inline constexpr proto::Micros kPowerCycleTime = 3 * proto::kSecond;

/// While the LUN is smaller than it was, its capacity is read again this often.
inline constexpr proto::Micros kRecheckInterval = 5 * proto::kSecond;

}  // namespace nbdgw::bridge
