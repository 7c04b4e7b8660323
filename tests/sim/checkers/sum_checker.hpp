#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gateway/shard/event_log.hpp"
#include "gateway/shard/worker.hpp"
#include "tests/sim/client/client_observer.hpp"
#include "tests/sim/oracle.hpp"

namespace nbdgw::sim {

/// What operators are told adds up with what clients have met. Over all processes of the gateway, for each export:
///
/// - every reply that a client got was counted, by its error; and where no connection was lost and no process has
///   ended, no more were counted than clients got. An export that was made anew has counted from 0 again, and is not
///   judged by that;
/// - every error that a client got was told as an event (RequestFailure, folded), or as a lost cache
///   (CacheEvent::told);
/// - the failures that were counted for a lost cache are those that events have told;
/// - every rung that was counted was told as an event. (Logins on the side are told, and not counted with the
///   session.)
class SumChecker {
 public:
  explicit SumChecker(Complaints& complaints) : complaints_(complaints) {}

  void on_reply(const std::string& exported, std::uint32_t error) { ++exports_[exported].clients[error]; }
  /// Replies may be on their way, and nobody gets them.
  void on_lost(const std::string& exported) { exports_[exported].lossless = false; }
  void on_event(const shard::EventRecord& record);
  /// What it has counted goes with it, and nobody can see any more whether that adds up.
  void on_export_leaves(const std::string& exported) { exports_[exported].counts = false; }
  void on_process_ends(const std::vector<std::unique_ptr<shard::Worker>>& workers);
  /// After the last process.
  void check();

 private:
  using Errors = std::map<std::uint32_t, std::uint64_t>;
  struct Sums {
    Errors clients;                // replies that they got
    Errors counted;                // that were counted
    Errors told;                   // errors, by events
    std::uint64_t told_mixed = 0;  // more kinds than are kept apart (bridge/failures.hpp): any error may be meant
    std::uint64_t lost_cache_told = 0;     // by events
    std::uint64_t lost_cache_counted = 0;  // FLUSHes and FUA writes
    bool lossless = true;
    bool counts = true;  // all that was counted is in `counted`
  };
  using RungKey = std::pair<std::string, std::size_t>;  // target; rung and outcome in one number

  void check(const std::string& name, const Sums& sums);
  void wrong(const std::string& what);

  Complaints& complaints_;
  std::map<std::string, Sums> exports_;
  std::map<RungKey, std::uint64_t> rungs_told_, rungs_counted_;
  std::uint32_t processes_ = 0;
};

}  // namespace nbdgw::sim
