#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "gateway/bridge/limits.hpp"
#include "gateway/bridge/power_on.hpp"
#include "gateway/device/disposition.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// Another export serves the same disk already.
enum class SameDiskPolicy : std::uint8_t {
  share,   // both serve it, and keep their writes apart as far as that can be
  refuse,  // this one is refused for as long
};

struct ExportConfig {
  std::string name{};
  std::string description{};
  bool read_only = false;                     // whatever the LUN says
  std::uint64_t lun = 0;                      // the 8 bytes of SAM-5 4.7
  std::uint32_t queue_depth = kQueueDepth;    // commands with the session at once, > 0
  std::size_t requests = kRequestsPerExport;  // > 0
  std::size_t segments = kSegmentsPerExport;  // at least segments_for(max_payload)
  std::uint32_t max_payload = kMaxPayload;    // bytes of one READ, if there is memory_for() them
  proto::Micros hold_timeout = kHoldTimeout;  // proto::kNever: requests never fail for want of a path
  std::uint8_t retries = device::kDefaultRetries;
  PowerOnPolicy power_on = PowerOnPolicy::unexplained;
  SameDiskPolicy same_disk = SameDiskPolicy::share;
  proto::Micros silence = kTrustedSilence;  // of the LUN, after which it is asked again which disk it is

  bool operator==(const ExportConfig&) const = default;
};

}  // namespace nbdgw::bridge
