#pragma once

#include <cstdint>
#include <string>

namespace nbdgw::bridge {

/// Something about the LUN, mostly about its volatile cache, that people must know of.
struct CacheEvent {
  enum class Kind : std::uint8_t {
    in_doubt,  // acknowledged writes that were not flushed may be gone; the next FLUSH of each connection will fail
    told,      // some have failed: these clients know
    // Without writes and requests:
    in_question,  // another disk, or none, may be there: requests are held until it was looked at
    confirmed,    // it is the disk that it was: requests go on
    refused,      // it is not, or must not be used as it is now
    threshold,    // the thin pool behind it runs low
    same_disk,    // other exports serve it as well, and nothing keeps their writes apart from those of this one
    grown,        // clients that are attached see the new size when they attach again
    rescanned,    // the end of Export::rescan()
  };
  Kind kind{};
  std::uint64_t lun = 0;       // the 8 bytes of SAM-5 4.7
  std::uint64_t writes = 0;    // acknowledged writes in doubt
  std::uint32_t requests = 0;  // told: FLUSHes, and FUA writes of which the same is true, that have failed
  std::string cause;           // what the target has reported, for people
  // Of a rescan: the number that it was asked for with, and whether the LUN can be used.
  std::uint32_t request_id = 0;
  bool good = true;
};

}  // namespace nbdgw::bridge
