#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/bridge/cache_ledger.hpp"
#include "gateway/bridge/fence.hpp"
#include "proto/disk_identity.hpp"

namespace nbdgw::bridge {

class Export;

/// What belongs to a disk, and not to an export that serves it: which writes are under way, and which are only in its
/// volatile cache, and which connections have to hear of a loss. Exports of one disk share it where they live on one
/// thread.
struct Disk {
  std::uint32_t block = 0;       // bytes, which the fence counts in; 0: not known yet
  std::vector<Export*> exports;  // that share it
  Fence fence;
  CacheLedger cache;
  std::string cache_report;  // why it may be lost, in words; the last time
  // Exports whose requests wait for a proof, and how often that number, or what may wait behind them, has changed:
  // the others' requests may wait behind those.
  std::uint32_t stuck_exports = 0;
  std::uint64_t stuck_changes = 0;
};

/// Knows which exports serve which disk, in the whole process.
class DiskDirectory {
 public:
  struct Others {
    /// Of an export on the same thread; null: there is none.
    std::shared_ptr<Disk> disk;
    /// Names of those whose disk cannot be shared, as they live on other threads, or as the identity is one that
    /// different disks may have; with commas. And of those that can.
    std::string apart;
    std::string together;
  };

  /// The export serves this disk, or wants to. It is told who does already.
  virtual Others enter(const Export& exported, const proto::DiskIdentity& identity) = 0;
  /// It does not any more.
  virtual void leave(const Export& exported) noexcept = 0;

 protected:
  ~DiskDirectory() = default;
};

}  // namespace nbdgw::bridge
