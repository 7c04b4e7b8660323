#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "gateway/bridge/disk.hpp"

namespace nbdgw::shard {

/// Which export of the process serves which disk, on whatever shard. Looked at when a LUN was probed, never on the
/// way of a request. May be called from any thread.
class DiskRegister {
 public:
  bridge::DiskDirectory::Others enter(std::uint32_t shard, const bridge::Export& exported,
                                      const proto::DiskIdentity& identity);
  void leave(const bridge::Export& exported) noexcept;

 private:
  struct Entry {
    const bridge::Export* exported;  // only to tell them apart: it may live on another thread
    std::uint32_t shard;
    std::string name;
    proto::DiskIdentity identity;
    std::weak_ptr<bridge::Disk> disk;  // of use on that shard only
  };

  std::mutex mutex_;
  std::vector<Entry> entries_;
};

/// A shard's way to the register.
class ShardDisks final : public bridge::DiskDirectory {
 public:
  ShardDisks(DiskRegister& all, std::uint32_t shard) noexcept : all_(all), shard_(shard) {}

  Others enter(const bridge::Export& exported, const proto::DiskIdentity& identity) override {
    return all_.enter(shard_, exported, identity);
  }
  void leave(const bridge::Export& exported) noexcept override { all_.leave(exported); }

 private:
  DiskRegister& all_;
  const std::uint32_t shard_;
};

}  // namespace nbdgw::shard
