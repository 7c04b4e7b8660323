#pragma once

#include <cstddef>
#include <span>

namespace nbdgw::net {

/// The payload memory of one shard: address space mapped at once, pages taken from the system only when they are
/// first touched, so that an idle gateway is small whatever its budget.
class Arena {
 public:
  /// Throws std::system_error when there is no such address space to be had.
  explicit Arena(std::size_t bytes);
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  std::span<std::byte> memory() const noexcept { return memory_; }

 private:
  std::span<std::byte> memory_;
};

}  // namespace nbdgw::net
