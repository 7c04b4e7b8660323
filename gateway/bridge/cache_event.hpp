#pragma once

#include <cstdint>
#include <string>

namespace nbdgw::bridge {

/// Something about the LUN's volatile cache that people must know of.
struct CacheEvent {
  enum class Kind : std::uint8_t {
    in_doubt,  // acknowledged writes that were not flushed may be gone; the next FLUSH will fail
    told,      // it has failed: the client knows
  };
  Kind kind{};
  std::uint64_t lun = 0;       // the 8 bytes of SAM-5 4.7
  std::uint64_t writes = 0;    // acknowledged writes in doubt
  std::uint32_t requests = 0;  // told: FLUSHes, and FUA writes of which the same is true, that have failed
  std::string cause;           // what the target has reported, for people
};

}  // namespace nbdgw::bridge
