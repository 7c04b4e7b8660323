#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nbdgw::app {

/// A logical unit of the embedded target, as `nbdgw target --lun` describes it:
///   memory:size=1GiB[,block=4096][,read_only][,write_through]
///   file:PATH[,size=1GiB][,block=4096][,read_only][,write_through]
/// PATH ends at the first comma.
struct LunSpec {
  enum class Kind : std::uint8_t { memory, file };
  Kind kind = Kind::memory;
  std::string path;                // file
  std::uint64_t size = 0;          // bytes; 0 (file only): as large as the file is
  std::uint32_t block_size = 512;  // bytes; 512 or 4096
  bool read_only = false;
  bool write_through = false;  // no write cache (WCE=0)

  bool operator==(const LunSpec&) const = default;
};

/// Reads a description into `spec`. Returns what is wrong with it; empty: nothing is.
std::string parse_lun_spec(std::string_view text, LunSpec& spec);

}  // namespace nbdgw::app
