#pragma once

#include <cstdint>
#include <optional>

#include "gateway/bridge/export.hpp"
#include "gateway/initiator/session.hpp"
#include "gateway/shard/event_log.hpp"

namespace nbdgw::shard {

/// A session that another initiator of our name had ended again and again is ours again when one has lived so long.
inline constexpr proto::Micros kOursAgain = 30 * proto::kSecond;

/// What was last seen of an export, and what of it was told.
struct ExportSeen {
  bridge::ExportState state{};
  std::optional<bridge::ExportState> told{};  // never `probing`, which comes and goes
  proto::Micros since = 0;                    // of `told`; before that, when the export was added
};

/// Tells the states of a session, of its ladder and of its exports as they begin and end: from what happens the
/// states are made that people mean, there or not there, however many attempts lie between.
class SessionStates {
 public:
  /// `aside`: it is an errand, and no session that anybody waits for: nothing is told.
  SessionStates(EventLog& events, const initiator::Session& session, bool aside)
      : events_(events), session_(session), aside_(aside) {}

  /// `hold`: how long the exports hold requests while there is no session; nothing: there are none. False: it is no
  /// news of a state, or not told here.
  bool on_event(const initiator::SessionEvent& event, std::optional<proto::Micros> hold, proto::Micros now);
  /// Another rung is being climbed than at the last call.
  void look_at_climb();
  /// The export is in another state than was seen.
  void on_export(const bridge::Export& exported, ExportSeen& seen, proto::Micros now);

  proto::Micros next_deadline() const noexcept { return ours_at_; }
  void on_deadline(proto::Micros now);

 private:
  void on_login(const initiator::SessionEvent& event, proto::Micros now);
  void on_loss(const initiator::SessionEvent& event, std::optional<proto::Micros> hold, proto::Micros now);
  void tell(StateEvent event);

  EventLog& events_;
  const initiator::Session& session_;
  const bool aside_;
  bool was_up_ = false;                      // it has been logged in once
  bool failing_ = false;                     // that was told
  proto::Micros since_ = 0;                  // when it was logged in, or lost
  proto::Micros stolen_at_ = proto::kNever;  // since when that is told
  proto::Micros ours_at_ = proto::kNever;
  // Of the climb that was told.
  initiator::Rung rung_{};
  std::uint32_t itt_ = 0;
  proto::Micros climb_since_ = proto::kNever;
};

}  // namespace nbdgw::shard
