#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>
#include <variant>
#include <vector>

#include "gateway/bridge/cache_event.hpp"
#include "gateway/bridge/failures.hpp"
#include "gateway/initiator/recovery_event.hpp"
#include "gateway/net/listener.hpp"
#include "gateway/shard/event_text.hpp"
#include "gateway/shard/refusals.hpp"
#include "gateway/shard/state_event.hpp"

namespace nbdgw::shard {

/// Something that people may want to know of: what the gateway did about a misbehaving target, what has become of a
/// LUN or of its cache, an error that a client was told, a state that has begun or ended.
struct EventRecord {
  /// Each is a class of its own, with a ring of its own; the two of the ladder share one.
  using Event =
      std::variant<initiator::RecoveryEvent, RungBegun, bridge::CacheEvent, bridge::RequestFailure, StateEvent>;

  std::uint64_t sequence = 0;  // 1, 2, 3, ... over the whole gateway
  std::int64_t at = 0;         // wall clock, microseconds since the epoch
  std::string target;          // the configuration's name; empty: of none
  std::string exported;        // the export's name; empty: of none
  Event event;
};

/// The last events of the gateway, for the admin API; each is also a line in the log. Any thread may add and read:
/// this is off the data path.
///
/// Each class is kept in a ring of its own, so that none pushes the others out: the error replies of a day would else
/// hide why they came. The sequence is one over all of them.
class EventLog final : public net::ListenerObserver {
 public:
  static constexpr std::size_t kClasses = 4;  // ladder, LUNs, errors of clients, states
  static constexpr std::size_t kPerClass = 1000;
  static constexpr std::size_t kCapacity = kClasses * kPerClass;

  /// Told of every record after it was kept, on the thread that added it: must be quick, and must not add.
  using Observer = std::function<void(const EventRecord&)>;
  /// One; an empty one takes it away. Once this returns, the one before is not running any more.
  void observe(Observer observer);

  /// The number of the request by hand that has led to this record; 0: none has.
  static std::uint32_t request_of(const EventRecord& record) noexcept;

  /// Keeps the event, and writes it to the log: a rung as one line of `key=value`, for machines, too.
  void add(const std::string& target, const initiator::RecoveryEvent& event);
  void add(const std::string& target, const RungBegun& event);
  void add(const std::string& target, const std::string& exported, const bridge::CacheEvent& event);
  void add(const std::string& target, const std::string& exported, const bridge::RequestFailure& event);
  /// `target`, `exported`: empty where it is not about one.
  void add(const std::string& target, const std::string& exported, const StateEvent& event);

  /// A client was turned away, which is told as StateEvent::Kind::clients_refused: the first one of a kind at once,
  /// then how many. `exported`: what it asked for, if it did.
  void client_refused(Refusal reason, const std::string& exported, const std::string& peer, proto::Micros now);
  /// Now and then, and (`all`) at the end: tells those that were only counted.
  void tell_refusals(proto::Micros now, bool all = false);

  void on_listener(News news, const std::string& text, proto::Micros lasting) override;
  void on_sent_away(bool lowered, const std::string& peer, proto::Micros now) override;

  /// Those that are left of what came after `sequence`, oldest first. Some may be gone, also in between. The newest
  /// of all is always there, so it tells by its number how many.
  std::vector<EventRecord> since(std::uint64_t sequence) const;
  /// The sequence of the newest record; 0: there has been none.
  std::uint64_t last() const;

 private:
  void keep(EventRecord record);
  void tell(const Refusals::Told& told);

  std::mutex observer_mutex_;  // taken before mutex_, never after it
  Observer observer_;
  mutable std::mutex mutex_;
  std::array<std::deque<EventRecord>, kClasses> rings_;
  std::uint64_t last_ = 0;     // sequence of the newest
  std::mutex refusals_mutex_;  // taken with no other
  Refusals refusals_;
};

}  // namespace nbdgw::shard
