#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "gateway/bridge/cache_numbers.hpp"
#include "proto/nbd/meta_context.hpp"
#include "proto/time.hpp"

namespace nbdgw::bridge {

/// What has to be known of a LUN when the process has died without a word, as it lies in memory that outlives it.
/// Whoever counts counts in there, so that it is true before a reply leaves. A process that dies between two stores
/// leaves numbers that may not fit each other: whoever reads them must look.
struct LunRecord {
  /// Clients that would make another connection, at most; of more it is not known what they are owed.
  static constexpr std::size_t kClients = 128;
  /// Longest identity that VPD page 83h or 80h can tell, bytes.
  static constexpr std::size_t kIdentity = 255;

  enum class Standing : std::uint8_t {
    none,  // the place is free
    told,  // of all that was lost, or nothing was
    owed,  // a failing FLUSH
  };
  struct Client {
    std::array<char, proto::nbd::kMaxClientToken> token;
    std::uint8_t token_length;
    Standing standing;
  };
  struct Text {
    std::uint8_t length;
    std::array<char, kIdentity> bytes;
  };

  CacheNumbers cache;
  proto::Micros seen_at;         // when there was a path to it, by the clock since the machine has booted
  std::uint8_t wrote;            // commands that write were sent
  std::uint8_t login_is_silent;  // PowerOnJudge::Learnt
  std::uint8_t reset_is_silent;
  Text designator;
  Text serial;
  std::array<Client, kClients> clients;
};

}  // namespace nbdgw::bridge
