#pragma once

#include <cstdint>

#include "proto/time.hpp"

namespace nbdgw::net {

/// A host that owes an answer and says nothing at all for so long is dead.
inline constexpr proto::Micros kPeerSilence = 120 * proto::kSecond;

/// Finds out that the host of a TCP client has died while it had something to acknowledge. TCP itself goes on sending
/// to it for a quarter of an hour, in which no keepalive is sent; and TCP_USER_TIMEOUT would end a host, too, that
/// lives and only takes no data, because it was stopped or is slow. That one answers whatever comes, a probe of its
/// window as well as data that it has no room for. But TCP asks it more and more seldom, up to every two minutes, so
/// silence alone says nothing: dead is who was silent and has left questions unanswered meanwhile, more than the one
/// that may have been lost.
///
/// Costs two system calls every half minute for a client to which something is on its way, and none for others.
class PeerWatch {
 public:
  explicit PeerWatch(proto::Micros silence = kPeerSilence) noexcept : silence_(silence) {}

  /// Something was sent, or may be unacknowledged.
  void sent(proto::Micros now) noexcept {
    if (look_at_ == proto::kNever && is_tcp_) look_at_ = now + silence_ / kLooks;
  }
  /// When to call look(), or proto::kNever.
  proto::Micros next_look() const noexcept { return look_at_; }
  /// True: its host is dead.
  bool look(int fd, proto::Micros now) noexcept;

 private:
  static constexpr std::uint32_t kEnoughUnanswered = 2;
  /// In the time of silence: so that questions are counted while TCP still asks often.
  static constexpr int kLooks = 4;
  static constexpr int kMaxLooks = 12;

  proto::Micros silence_;
  proto::Micros look_at_ = proto::kNever;
  proto::Micros heard_at_ = -proto::kSecond;  // last, as far as looks have seen
  std::uint32_t sent_again_ = 0;              // segments, by then
  bool is_tcp_ = true;
};

}  // namespace nbdgw::net
