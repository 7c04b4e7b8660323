#pragma once

#include <string>

#include "gateway/nbd/backend.hpp"
#include "gateway/nbd/counters.hpp"
#include "gateway/shard/admin_state.hpp"
#include "gateway/shard/station.hpp"

namespace nbdgw::shard {

/// An export as the clients of its shard find it. All calls come from the shard's thread.
class ExportSlot {
 public:
  virtual ~ExportSlot() = default;

  virtual const std::string& name() const noexcept = 0;

  /// Who answers for the export, or null while it is not online (see waiting_reason()). Once given out to a client it
  /// stays valid until that client is gone (Shard::remove_export()). Call Shard::exports_changed() when the answer
  /// changes.
  virtual nbd::Backend* backend() noexcept = 0;

  /// The same, also while it is not online: for clients of before a restart, who are to hear of what is lost
  /// meanwhile.
  virtual nbd::Backend* coming_backend() noexcept { return backend(); }

  /// Why backend() is null, and what to do about it: a client that waits in its handshake is told this in the end.
  virtual std::string waiting_reason() const = 0;

  /// Who has to be called at the end of a turn in which a client brought requests for this export.
  virtual Station& station() noexcept = 0;

  AdminState admin_state() const noexcept { return admin_state_; }
  /// Only for the future; what becomes of the clients that are there is the shard's business
  /// (Shard::set_admin_state()).
  void set_admin_state(AdminState state) noexcept { admin_state_ = state; }

  /// It has been taken from its shard: no client attaches any more, and it goes when the last one has gone.
  bool is_leaving() const noexcept { return leaving_; }
  void leave() noexcept { leaving_ = true; }

  /// Clients that have attached so far, and what those did that are gone.
  struct PastClients {
    std::uint64_t attached = 0;
    nbd::Counters counters;
  };
  PastClients& past_clients() noexcept { return past_clients_; }
  const PastClients& past_clients() const noexcept { return past_clients_; }

 private:
  AdminState admin_state_ = AdminState::ready;
  bool leaving_ = false;
  PastClients past_clients_;
};

}  // namespace nbdgw::shard
