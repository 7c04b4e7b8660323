#pragma once

#include <memory>

#include "gateway/initiator/portal_group.hpp"
#include "gateway/shard/chore.hpp"
#include "gateway/shard/session_driver.hpp"
#include "gateway/shard/shard.hpp"

namespace nbdgw::shard {

/// A login on the side, into the portal group where a session was before, and out again: it ends that session there,
/// so that writes which are held for it come back, while the session that has taken its place goes on
/// (initiator::HeldCommands). One attempt; the session asks for the next one in its time.
class Errand final : public Chore {
 public:
  /// Where the shard closes already, nothing is done.
  static void send(Shard& shard, net::Resolver& resolver, EventLog& events, SessionDriver& sender,
                   const initiator::PortalGroup& group, proto::Micros now);

  Errand(Shard& shard, net::Resolver& resolver, EventLog& events, SessionDriver& sender,
         const initiator::PortalGroup& group, proto::Micros now);

  bool advance(proto::Micros now) override;
  proto::Micros next_deadline() const noexcept override { return proto::kNever; }

 private:
  bool is_wanted() const;
  void report(bool reinstated, proto::Micros now);

  Shard& shard_;
  std::weak_ptr<SessionDriver> sender_;
  const initiator::PortalGroup group_;
  initiator::Session& session_;
  std::unique_ptr<SessionDriver> driver_;
  bool reported_ = false;
};

}  // namespace nbdgw::shard
