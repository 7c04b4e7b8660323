#pragma once

#include <boost/json/object.hpp>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <optional>
#include <string>

#include "gateway/admin/audit.hpp"
#include "gateway/shard/event_log.hpp"
#include "gateway/shard/view.hpp"
#include "proto/time.hpp"

namespace nbdgw::admin {

/// The time, by the clock for deadlines and by the one for people.
struct Now {
  proto::Micros steady = 0;
  std::int64_t wall = 0;
};

/// By what it is seen that an operation is over.
struct OperationEnd {
  std::uint32_t request = 0;  // the event of this request, a RecoveryRequest or a rescan
  std::string target;         // the next login of the session with this target; after the event, if there is one, too
  std::uint64_t client = 0;   // this client is not there any more
  proto::Micros within = 0;   // after that nobody waits for it any longer: its outcome is unknown
};

struct Operation {
  enum class State : std::uint8_t { running, succeeded, failed };
  std::uint64_t id = 0;
  Verb verb{};
  std::string object;
  State state = State::running;
  std::int64_t started_at = 0;           // wall clock, microseconds since the epoch
  std::optional<std::int64_t> ended_at;  // the same
  std::string outcome;                   // a word of openapi.yaml; empty while it runs
  std::string detail;                    // for people
};

/// Changes that take time, and what became of them: the last kMax. Of one thread; no I/O, no clock.
class Operations {
 public:
  static constexpr std::size_t kMax = 256;

  /// So many are running that there is no room for another one.
  bool full() const noexcept;
  /// The oldest that is over makes room.
  const Operation& begin(const Change& change, std::string detail, OperationEnd end, Now now);

  void on_record(const shard::EventRecord& record, Now now);
  /// A look at the gateway with its clients, taken after the operations that it may end have begun.
  void on_view(const shard::GatewayView& view, Now now);
  void on_deadline(Now now);
  proto::Micros next_deadline() const noexcept;
  /// Some of them wait for a client to go.
  bool awaits_clients() const noexcept;

  const Operation* find(std::uint64_t id) const noexcept;
  /// The operation that asked for this; 0: none is known.
  std::uint64_t of_request(std::uint32_t request) const noexcept;
  /// Oldest first.
  template <typename Visitor>
  void for_each(Visitor visit) const {
    for (const Entry& each : entries_) visit(each.operation);
  }

 private:
  struct Entry {
    Operation operation;
    OperationEnd end;
    std::uint32_t request = 0;  // also when it is over
    proto::Micros deadline = 0;
  };
  void on_rescanned(const bridge::CacheEvent& event, Now now);
  static bool is_running(const Entry& entry) noexcept { return entry.operation.state == Operation::State::running; }
  static void finish(Entry& entry, bool success, std::string outcome, std::string detail, Now now);

  std::deque<Entry> entries_;
  std::uint64_t last_ = 0;
};

boost::json::object to_json(const Operation& operation);

}  // namespace nbdgw::admin
