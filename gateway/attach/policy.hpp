#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

#include "gateway/attach/negotiation.hpp"
#include "proto/time.hpp"

/// What the keeper of a device decides, without doing it.
namespace nbdgw::attach {

/// What is attached, as far as it may not change under a filesystem.
struct Held {
  std::uint64_t size = 0;  // bytes
  std::uint16_t flags = 0;
  std::uint32_t block = 512;  // bytes
  std::string identity;       // of the disk; empty: nobody knows it
};

/// Why the kernel's device may not go on with what a server offers, for people; empty: it may. More of it is no
/// obstacle: a larger size is passed on, and abilities that are new go unused.
std::string obstacle(const Held& held, const Offer& offer);

/// When to try the next connection: at once and often while a gateway that was just restarted must be coming, then
/// less often. After a refusal, seldom: somebody has to do something first.
class RetryTimes {
 public:
  static constexpr proto::Micros kOften = 20 * proto::kMillisecond;
  static constexpr proto::Micros kOftenFor = 2 * proto::kSecond;
  static constexpr proto::Micros kLater = 200 * proto::kMillisecond;
  static constexpr proto::Micros kRefused = proto::kSecond;

  void begin(proto::Micros now) noexcept { began_at_ = now, at_ = now; }
  void on_failure(proto::Micros now) noexcept { at_ = now + (now - began_at_ < kOftenFor ? kOften : kLater); }
  void on_refusal(proto::Micros now) noexcept { at_ = now + kRefused; }
  proto::Micros at() const noexcept { return at_; }

 private:
  proto::Micros began_at_ = 0;
  proto::Micros at_ = 0;
};

/// When a connection that the kernel has accepted is offered to it again: it says "done" and drops what it was given
/// if it has not yet noticed that the one before is dead (nbd_reconnect_socket()), and does nothing if it has taken
/// it.
class OfferTimes {
 public:
  static constexpr std::array<proto::Micros, 6> kAfter{20 * proto::kMillisecond,  100 * proto::kMillisecond,
                                                       500 * proto::kMillisecond, 1 * proto::kSecond,
                                                       2 * proto::kSecond,        5 * proto::kSecond};

  void begin(proto::Micros now) noexcept { offered_at_ = now, next_ = 0; }
  void stop() noexcept { next_ = kAfter.size(); }
  void on_offered() noexcept { ++next_; }
  proto::Micros at() const noexcept { return next_ < kAfter.size() ? offered_at_ + kAfter[next_] : proto::kNever; }

 private:
  proto::Micros offered_at_ = 0;
  std::size_t next_ = kAfter.size();
};

}  // namespace nbdgw::attach
