#pragma once

#include <string>

#include "gateway/nbd/backend.hpp"
#include "gateway/net/station.hpp"

namespace nbdgw::net {

/// An export as the clients of its shard find it. All calls come from the shard's thread.
class ExportSlot {
 public:
  virtual ~ExportSlot() = default;

  virtual const std::string& name() const noexcept = 0;

  /// Who answers for the export, or null while it is not online (see waiting_reason()). Once given out to a client it
  /// stays valid until the shard has no clients any more. Call Shard::exports_changed() when the answer changes.
  virtual nbd::Backend* backend() noexcept = 0;

  /// Why backend() is null, and what to do about it: a client that waits in its handshake is told this in the end.
  virtual std::string waiting_reason() const = 0;

  /// Who has to be called at the end of a turn in which a client brought requests for this export.
  virtual Station& station() noexcept = 0;
};

}  // namespace nbdgw::net
