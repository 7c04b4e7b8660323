#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "proto/time.hpp"

namespace nbdgw::shard {

/// Why a client was turned away.
enum class Refusal : std::uint8_t {
  limit,       // limits.connections
  open_files,  // the same, lowered to what the system's limit of open files leaves for clients
  drained,     // the gateway is being drained
  closed,      // the export is in drain or maint
  no_export,   // there is none of that name
  offline,     // it did not come online as long as the handshake may last
};

/// "limit", "open_files", "drained", "export_closed", "unknown_export", "export_offline".
const char* to_string(Refusal reason) noexcept;

/// Clients that were turned away, folded: the first one of a reason and an export is told at once, those that follow
/// are counted and told every kInterval with the latest of them. Names are the clients' to choose, so there is a
/// limit to how many are kept apart.
class Refusals {
 public:
  static constexpr proto::Micros kInterval = 10 * proto::kSecond;
  static constexpr std::size_t kKinds = 32;

  struct Told {
    Refusal reason{};
    std::string exported;  // of the latest
    std::string peer;      // the same
    std::uint64_t count = 0;
    proto::Micros over = 0;  // the time in which these came; 0: it is the first one
  };

  /// What is to be told at once, if anything (count 0: nothing).
  Told note(Refusal reason, const std::string& exported, const std::string& peer, proto::Micros now);
  /// What was counted for long enough; `all`: or shorter.
  std::vector<Told> due(proto::Micros now, bool all = false);

 private:
  struct Kind {
    Told latest;
    proto::Micros told_at = 0;
  };
  std::vector<Kind> kinds_;
};

}  // namespace nbdgw::shard
