#include "gateway/shard/disk_register.hpp"

#include <algorithm>

#include "gateway/bridge/export.hpp"

namespace nbdgw::shard {

namespace {

void append(std::string& list, const std::string& name) {
  list += (list.empty() ? "" : ", ") + name;
}

}  // namespace

bridge::DiskDirectory::Others DiskRegister::enter(std::uint32_t shard, const bridge::Export& exported,
                                                  const proto::DiskIdentity& identity) {
  const std::lock_guard lock(mutex_);
  const auto own = std::ranges::find(entries_, &exported, &Entry::exported);
  Entry entry{.exported = &exported,
              .shard = shard,
              .name = exported.info().name,
              .identity = identity,
              .disk = exported.disk()};
  if (own == entries_.end()) {
    entries_.push_back(std::move(entry));
  } else {
    *own = std::move(entry);
  }
  bridge::DiskDirectory::Others others;
  for (Entry& other : entries_) {
    if (other.exported == &exported || !proto::looks_the_same(other.identity, identity)) continue;
    // Its disk is looked at on its own shard only.
    const bool shared = other.shard == shard && proto::is_unique(identity);
    append(shared ? others.together : others.apart, other.name);
    if (shared && others.disk == nullptr) others.disk = other.disk.lock();
  }
  return others;
}

void DiskRegister::leave(const bridge::Export& exported) noexcept {
  const std::lock_guard lock(mutex_);
  std::erase_if(entries_, [&](const Entry& entry) { return entry.exported == &exported; });
}

}  // namespace nbdgw::shard
