#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "gateway/bridge/capacity_rounds.hpp"
#include "gateway/bridge/connection_replies.hpp"
#include "gateway/bridge/export.hpp"
#include "gateway/bridge/path_choice.hpp"
#include "gateway/initiator/session.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/resolver.hpp"
#include "gateway/net/system_random.hpp"
#include "gateway/shard/event_log.hpp"
#include "gateway/shard/portal_socket.hpp"
#include "gateway/shard/session_states.hpp"
#include "gateway/shard/station.hpp"

namespace nbdgw::shard {

class Shard;

/// A driver looks this often whether the machine was asleep, and before each connect: to look at every turn would
/// cost more than it is worth.
inline constexpr proto::Micros kSleepLookInterval = 100 * proto::kMillisecond;

/// A session on its shard: opens and closes the sockets that the session asks for, moves their bytes, logs what
/// happens to it, and tells its exports when it comes and goes, and when a LUN was reset.
class SessionDriver final : public Station, public PortalSocket::Owner {
 public:
  /// All must outlive the driver, and the session rings its bell from now on. It goes on the shard's thread, when the
  /// session is terminated and the shard does not know it any more (Shard::remove_station()), or after that thread.
  /// `aside`: it is an errand's.
  SessionDriver(Shard& shard, net::Resolver& resolver, EventLog& events, initiator::Session& session,
                bool aside = false);
  SessionDriver(const SessionDriver&) = delete;
  SessionDriver& operator=(const SessionDriver&) = delete;

  /// Before the shard's thread starts, or on it. An export that comes to a session that is there learns of it at
  /// once.
  void add_export(bridge::Export& exported, proto::Micros now);
  /// The export must be idle.
  void remove_export(bridge::Export& exported, proto::Micros now);

  /// For those who come back later: whether it is still there, on its shard's thread.
  std::weak_ptr<SessionDriver> weak() noexcept { return self_; }
  initiator::Session& session() noexcept { return session_; }
  const initiator::Session& session() const noexcept { return session_; }

  void deliver(proto::Micros now) override;
  void transmit(proto::Micros now) override;
  bool wants_turn() const noexcept override;
  proto::Micros next_deadline() const noexcept override;
  void on_deadline(proto::Micros now) override;
  void begin_drain(proto::Micros now) override;
  void last_words(proto::Micros now) override;
  bool idle() const noexcept override;
  bool has_path() const noexcept override { return session_.state() == initiator::SessionState::logged_in; }
  std::uint32_t load() const noexcept override { return session_.tasks_in_use(); }

 private:
  struct Link {
    Link(net::Poller& poller, PortalSocket::Owner& owner, std::uint16_t index) : socket(poller, owner, index) {}
    PortalSocket socket;
    bool told_connected = false;  // the session knows
  };

  bool wants_turn(const Link& link) const noexcept;
  void on_portal_socket(PortalSocket& socket, proto::Micros now) override;
  void receive(std::uint16_t index, proto::Micros now);
  void look_for_sleep(proto::Micros now);
  void settle_links(proto::Micros now);
  void serve_socket_requests(proto::Micros now);
  void look_up(std::uint16_t index);
  void look_up(std::uint16_t index, const PortalSocket::Lookup& lookup);
  void serve_events(proto::Micros now);
  void serve(const initiator::SessionEvent& event, proto::Micros now);
  void spread_news(proto::Micros now);
  void tell_events(proto::Micros now);
  void tell_events_of(bridge::Export& exported, proto::Micros now);
  net::log::Subject subject() const noexcept;
  void log(const initiator::SessionEvent& event, bool told) const;
  void note_export_changes(proto::Micros now);
  void consider_leaving(proto::Micros now);
  void poll_a_capacity(proto::Micros now);

  Shard& shard_;
  net::Resolver& resolver_;
  EventLog& events_;
  initiator::Session& session_;
  bridge::ConnectionReplies replies_;
  std::vector<bridge::Export*> exports_;
  std::vector<ExportSeen> seen_;  // of exports_
  SessionStates states_;
  net::SystemRandom random_;
  bridge::CapacityRounds capacity_rounds_{random_};
  std::vector<std::unique_ptr<Link>> links_;  // one for each connection of the session
  /// Lookups that are under way have a weak reference to it, which tells them whether the driver is still there.
  std::shared_ptr<SessionDriver> self_{this, [](SessionDriver*) {}};
  bridge::PathChoice path_choice_;
  net::SleepWatch sleep_;
  proto::Micros sleep_look_at_ = 0;
  proto::Micros heard_at_ = 0;  // of the target, last
};

}  // namespace nbdgw::shard
