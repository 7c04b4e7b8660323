#pragma once

#include <cstdint>
#include <string>

#include "proto/time.hpp"

namespace nbdgw::bridge {

/// Something about the LUN, mostly about its volatile cache, that people must know of.
struct CacheEvent {
  enum class Kind : std::uint8_t {
    in_doubt,  // acknowledged writes that were not flushed may be gone; the next FLUSH of each connection will fail
    told,      // some have failed: these clients know
    // Without writes and requests:
    in_question,   // another disk, or none, may be there: requests are held until it was looked at
    confirmed,     // it is the disk that it was: requests go on
    refused,       // it is not, or must not be used as it is now
    threshold,     // the thin pool behind it runs low
    same_disk,     // other exports serve it as well, and nothing keeps their writes apart from those of this one
    grown,         // clients that are attached see the new size when they attach again
    rescanned,     // the end of Export::rescan()
    hold_expired,  // there was no path for the hold timeout: requests fail until there is one
    hold_over,     // there is one again
  };
  Kind kind{};
  std::uint64_t lun = 0;     // the 8 bytes of SAM-5 4.7
  std::uint64_t writes = 0;  // acknowledged writes in doubt
  /// told: FLUSHes, and FUA writes of which the same is true, that have failed. hold_expired: requests in flight,
  /// which fail now. hold_over: that have failed.
  std::uint64_t requests = 0;
  proto::Micros duration = 0;  // hold_expired: without a path. hold_over: since hold_expired
  std::string cause;           // what the target has reported, for people
  // Of a rescan: the number that it was asked for with, and whether the LUN can be used.
  std::uint32_t request_id = 0;
  bool good = true;
};

}  // namespace nbdgw::bridge
