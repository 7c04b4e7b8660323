#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

/// Mode parameters of MODE SENSE (SPC-5 7.5.5, SBC-4 6.5): the header of a direct-access device and the caching page.
namespace nbdgw::proto::scsi {

struct ModeParameters {
  bool write_protected = false;             // WP
  bool dpofua = false;                      // the FUA and DPO bits of READ and WRITE are understood
  std::optional<bool> write_cache_enabled;  // WCE of page 08h; nothing if the page is not there

  /// `ten`: of MODE SENSE(10). Nothing if the header is not complete. Block descriptors are stepped over; pages are
  /// searched until the caching page is found or the data ends.
  static std::optional<ModeParameters> parse(std::span<const std::uint8_t> data, bool ten) noexcept;

  /// With the caching page if `write_cache_enabled` has a value, and no block descriptors.
  std::vector<std::uint8_t> build(bool ten) const;
};

}  // namespace nbdgw::proto::scsi
