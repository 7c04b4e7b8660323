#pragma once

#include <memory>
#include <string>
#include <vector>

namespace nbdgw::nbd {

/// An export as NBD_OPT_LIST shows it. Both strings are UTF-8 without NUL, at most proto::nbd::kMaxString bytes.
struct DirectoryEntry {
  std::string name;
  std::string description;
};

/// All exports, in the order of the configuration; the first one is the default export (the empty name). Immutable,
/// so that the connections of all shards can share it.
using ExportDirectory = std::vector<DirectoryEntry>;
using ExportDirectoryPtr = std::shared_ptr<const ExportDirectory>;

}  // namespace nbdgw::nbd
