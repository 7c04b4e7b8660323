#pragma once

#include <cstdint>

/// What one command may ask of a medium: a logical unit does one thing at a time, and none should take long.
namespace nbdgw::iscsi_target {

inline constexpr std::uint64_t kMaxWriteSameBytes = 64ULL * 1024 * 1024;    // MAXIMUM WRITE SAME LENGTH
inline constexpr std::uint64_t kMaxUnmapBytes = 4ULL * 1024 * 1024 * 1024;  // MAXIMUM UNMAP LBA COUNT
inline constexpr std::uint32_t kMaxUnmapDescriptors = 256;                  // MAXIMUM UNMAP BLOCK DESCRIPTOR COUNT
inline constexpr std::uint32_t kOptimalTransferBytes = 1024 * 1024;         // OPTIMAL TRANSFER LENGTH
inline constexpr std::uint32_t kMaxLbaStatusDescriptors = 256;              // of one answer

}  // namespace nbdgw::iscsi_target
