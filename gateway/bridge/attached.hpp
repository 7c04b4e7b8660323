#pragma once

#include <memory>
#include <utility>

#include "gateway/bridge/cache_observer.hpp"
#include "gateway/bridge/disk.hpp"
#include "gateway/nbd/backend.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// A connection that is attached to an export: it observes the disk, which it may outlive the export with.
class Attached final : public nbd::Attachment, public CacheObserver {
 public:
  Attached(std::shared_ptr<Disk> disk, const Export& exported, const nbd::Attaching& who)
      : disk_(std::move(disk)), exported_(&exported) {
    if (who.again)
      unknown_ = !disk_->cache.resume(*this, who.token);
    else
      disk_->cache.attach(*this, who.standing, who.token);
  }
  ~Attached() override {
    if (lost_at_ != proto::kNever)
      disk_->cache.leave(*this, lost_at_);
    else
      disk_->cache.detach(*this);
  }

  void lost(proto::Micros now) noexcept override { lost_at_ = now; }
  /// It says that it was attached before, and nothing is known of that.
  bool unknown() const noexcept { return unknown_; }

  nbd::LossStanding standing() const noexcept override { return CacheObserver::standing(); }

  /// The connections of this export observe another disk from now on.
  static void move_all(const Export& exported, const std::shared_ptr<Disk>& from, const std::shared_ptr<Disk>& to) {
    CacheObservers& observers = from->cache.observers();
    for (auto next = observers.begin(); next != observers.end();) {
      Attached& attached = static_cast<Attached&>(*next++);
      if (attached.exported_ != &exported) continue;
      to->cache.move(attached, from->cache);
      attached.disk_ = to;
    }
  }

 private:
  std::shared_ptr<Disk> disk_;
  const Export* exported_;  // only to tell them apart: it may have gone
  proto::Micros lost_at_ = proto::kNever;
  bool unknown_ = false;
};

}  // namespace nbdgw::bridge
