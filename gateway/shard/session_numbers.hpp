#pragma once

#include <cstdint>
#include <set>
#include <string>
#include <string_view>

namespace nbdgw::shard {

/// The numbers from which ISIDs are made (initiator::make_isid()). A target's number must be the same after a
/// restart, so that our login ends what is left there of the session of before (RFC 7143 section 6.3.5), and must
/// stay when other targets come and go: so it is a hash of its IQN, not its place in the file. Where two targets that
/// are in use come to the same hash (one chance in 2^32 for each pair), the one that comes later takes the next free
/// number; it comes later in the file, unless the other one was added while the gateway ran.
class SessionNumbers {
 public:
  /// A number that is no other's, until give_back().
  std::uint32_t take(std::string_view iqn);
  void give_back(std::uint32_t number) noexcept { taken_.erase(number); }

  /// FNV-1a. Part of what must be the same after an upgrade: never to be changed.
  static std::uint32_t hash(std::string_view iqn) noexcept;

 private:
  std::set<std::uint32_t> taken_;
};

}  // namespace nbdgw::shard
