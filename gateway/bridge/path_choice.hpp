#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "proto/time.hpp"

namespace nbdgw::bridge {

class Export;

/// Whether a session is to leave its portal for the next one: where a LUN stays unusable over it (a port in standby,
/// unavailable or offline, a LUN that is not mapped there), and no other LUN in use works there. All portals are
/// tried in a row, but not often, for a LUN may be unusable everywhere.
class PathChoice {
 public:
  static constexpr proto::Micros kFirstPause = 30 * proto::kSecond;  // between two rounds; doubled each time
  static constexpr proto::Micros kLongestPause = 16 * 60 * proto::kSecond;

  /// Why it is to leave now; empty: it stays. For a session that has another portal, of so many.
  std::string reason_to_leave(std::span<Export* const> exports, std::size_t portals, proto::Micros now);

 private:
  std::size_t left_ = 0;  // in this round
  proto::Micros not_before_ = 0;
  proto::Micros pause_ = kFirstPause;  // after this round
};

}  // namespace nbdgw::bridge
