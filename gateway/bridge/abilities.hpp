#pragma once

#include <cstdint>

#include "gateway/device/facts.hpp"

namespace nbdgw::bridge {

/// What the bridge may ask of the LUN: what its probe said (device::Facts), cut down to our own limits, less what it
/// has refused since. All counts are blocks.
struct Abilities {
  std::uint64_t lun = 0;       // the 8 bytes of SAM-5 4.7
  std::uint32_t block = 512;   // bytes, a power of two
  std::uint64_t transfer = 1;  // of one READ or WRITE
  std::uint32_t part = 0;      // bytes of one segment of a READ or WRITE: kMinPart to kMaxPart
  bool transfer_16 = true;     // READ(16) and WRITE(16), else (10)

  bool cache = true;           // WCE: there is something to flush
  bool fua_bit = false;        // DPOFUA: WRITE has a FUA bit
  bool synchronize_16 = true;  // SYNCHRONIZE CACHE(16), else (10)

  std::uint64_t unmap = 0;  // of one UNMAP; 0: the LUN has none

  std::uint64_t write_same = 0;   // of one WRITE SAME; 0: the LUN has none
  bool write_same_16 = true;      // WRITE SAME(16), else (10)
  bool write_same_unmap = false;  // its UNMAP bit is allowed, and unmapped blocks read as zeroes
};

/// What the LUN has refused to do, contrary to what its probe said. Kept until the next login, or until it says that
/// it has changed.
struct Refusals {
  bool transfer_16 = false;    // READ(16) or WRITE(16): where there is one there is the other
  bool write_same_16 = false;  // by its operation code
  bool synchronize_16 = false;
  bool synchronize = false;  // both forms: no volatile cache that we could flush
  bool unmap = false;
  bool write_same = false;  // in all forms that there are
  bool write_same_unmap = false;
  bool fua = false;  // the bit in WRITE: then a SYNCHRONIZE CACHE comes after it
};

/// The LUN has more blocks than the commands reach that it knows: nothing can be read or written then.
bool out_of_reach(const device::Facts& facts, const Refusals& refused) noexcept;

Abilities abilities_of(const device::Facts& facts, const Refusals& refused, std::uint64_t lun) noexcept;

}  // namespace nbdgw::bridge
