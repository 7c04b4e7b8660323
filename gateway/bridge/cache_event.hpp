#pragma once

#include <cstdint>
#include <string>

namespace nbdgw::bridge {

/// Something about the LUN, mostly about its volatile cache, that people must know of.
struct CacheEvent {
  enum class Kind : std::uint8_t {
    in_doubt,  // acknowledged writes that were not flushed may be gone; the next FLUSH will fail
    told,      // it has failed: the client knows
    // Without writes and requests:
    in_question,  // another disk, or none, may be there: requests are held until it was looked at
    confirmed,    // it is the disk that it was: requests go on
    refused,      // it is not, or must not be used as it is now
    threshold,    // the thin pool behind it runs low
  };
  Kind kind{};
  std::uint64_t lun = 0;       // the 8 bytes of SAM-5 4.7
  std::uint64_t writes = 0;    // acknowledged writes in doubt
  std::uint32_t requests = 0;  // told: FLUSHes, and FUA writes of which the same is true, that have failed
  std::string cause;           // what the target has reported, for people
};

}  // namespace nbdgw::bridge
