#pragma once

#include <atomic>
#include <cstdint>
#include <utility>

namespace nbdgw::net {

/// How many clients there are, over all listeners and shards, against the configured limit.
class ConnectionLimit {
 public:
  explicit ConnectionLimit(std::uint32_t limit) noexcept : limit_(limit) {}

  /// A place under the limit, given back when it is destroyed. Empty when there was none.
  class Ticket {
   public:
    Ticket() = default;
    Ticket(Ticket&& other) noexcept : limit_(std::exchange(other.limit_, nullptr)) {}
    Ticket& operator=(Ticket&& other) noexcept {
      std::swap(limit_, other.limit_);
      return *this;
    }
    ~Ticket() {
      if (limit_ != nullptr) limit_->taken_.fetch_sub(1, std::memory_order_relaxed);
    }
    explicit operator bool() const noexcept { return limit_ != nullptr; }

   private:
    friend class ConnectionLimit;
    explicit Ticket(ConnectionLimit* limit) noexcept : limit_(limit) {}
    ConnectionLimit* limit_ = nullptr;
  };

  Ticket take() noexcept {
    if (taken_.fetch_add(1, std::memory_order_relaxed) < limit()) return Ticket(this);
    taken_.fetch_sub(1, std::memory_order_relaxed);
    return {};
  }
  std::uint32_t limit() const noexcept { return limit_.load(std::memory_order_relaxed); }
  /// Those that have a place keep it, even if they are more. `lowered`: it is not what was configured, for want of
  /// descriptors.
  void set_limit(std::uint32_t limit, bool lowered = false) noexcept {
    limit_.store(limit, std::memory_order_relaxed);
    lowered_.store(lowered, std::memory_order_relaxed);
  }
  bool lowered() const noexcept { return lowered_.load(std::memory_order_relaxed); }
  std::uint32_t taken() const noexcept { return taken_.load(std::memory_order_relaxed); }

 private:
  std::atomic<std::uint32_t> limit_;
  std::atomic<bool> lowered_{false};
  std::atomic<std::uint32_t> taken_{0};
};

}  // namespace nbdgw::net
