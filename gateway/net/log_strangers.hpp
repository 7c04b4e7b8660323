#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/net/log_fold.hpp"
#include "proto/time.hpp"

namespace nbdgw::net::log {

/// Connections to the NBD port that never became clients: health checks, scanners, other protocols, clients that gave
/// up. The first is told at once; of the others one line a minute says how many, why and who (a few), or one an hour
/// while all of them have only left without a word, as a health check does, which goes on for ever. Not for several
/// threads at once.
class Strangers {
 public:
  static constexpr proto::Micros kInterval = 60 * proto::kSecond;
  static constexpr proto::Micros kQuietInterval = 3600 * proto::kSecond;
  static constexpr std::size_t kMaxPeers = 5;     // named
  static constexpr std::size_t kMaxReasons = 32;  // more than there are

  /// `reason` lives for ever. What is to be told now, if anything.
  std::optional<Told> note(std::string_view peer, const char* reason, std::string_view words, Stranger what,
                           proto::Micros now);
  std::optional<Told> due(proto::Micros now);
  /// All that is counted.
  std::optional<Told> all(proto::Micros now);

 private:
  struct Count {
    std::string_view reason;
    std::uint64_t count;
  };

  bool is_due(proto::Micros now) const noexcept;
  void note_peer(std::string_view peer);

  bool began_ = false;
  proto::Micros told_at_ = 0;
  std::uint64_t counted_ = 0;  // since then
  Stranger worst_{};           // of them
  std::vector<Count> reasons_;
  std::vector<std::string> peers_;  // without ports
  bool more_peers_ = false;
};

}  // namespace nbdgw::net::log
