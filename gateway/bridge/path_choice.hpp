#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "proto/time.hpp"

namespace nbdgw::bridge {

class Export;

/// Whether a session is to leave its portal for the next one: where a LUN stays unusable over it (a port in standby,
/// unavailable or offline, a LUN that is not mapped there), and no other LUN in use works there. Not often, for a LUN
/// may be unusable everywhere.
class PathChoice {
 public:
  static constexpr proto::Micros kFirstPause = 30 * proto::kSecond;  // from one time to the next; doubled each time
  static constexpr proto::Micros kLongestPause = 16 * 60 * proto::kSecond;

  /// Why it is to leave now; empty: it stays. For a session that has another portal.
  std::string reason_to_leave(std::span<Export* const> exports, proto::Micros now);

 private:
  proto::Micros not_before_ = 0;
  proto::Micros pause_ = kFirstPause;
};

}  // namespace nbdgw::bridge
