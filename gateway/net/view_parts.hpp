#pragma once

#include <span>

#include "gateway/net/session_driver.hpp"
#include "gateway/net/session_export.hpp"
#include "gateway/net/view.hpp"

/// How the parts of a shard look. On its thread only.
namespace nbdgw::net {

class NbdClient;
class Shard;

ClientView view_of(const NbdClient& client, proto::Micros now);
/// Without what its clients tell, see add_clients().
ExportView view_of(const SessionExport& slot, proto::Micros now);
SessionView view_of(const initiator::Session& session, proto::Micros now);
std::vector<TaskView> view_of_tasks(const initiator::Session& session, proto::Micros now);

/// The shard itself and its clients; `view.exports` must be there already, in the order of `slots`, for what the
/// clients add to it.
void add_clients(const Shard& shard, std::span<const SessionExport* const> slots, bool each, proto::Micros now,
                 ShardView& view);

}  // namespace nbdgw::net
