#pragma once

#include <vector>

#include "gateway/shard/session_driver.hpp"
#include "gateway/shard/session_export.hpp"
#include "gateway/shard/view.hpp"

/// How the parts of a shard look. On its thread only.
namespace nbdgw::shard {

class NbdClient;
class Shard;

ClientView view_of(const NbdClient& client, proto::Micros now);
/// Without what its clients tell.
ExportView view_of(const SessionExport& slot, proto::Micros now);
SessionView view_of(const initiator::Session& session, proto::Micros now);
std::vector<TaskView> view_of_tasks(const initiator::Session& session, proto::Micros now);

/// A shard and what is on it.
struct ShardParts {
  const Shard& shard;
  std::vector<const SessionExport*> exports;
  std::vector<const SessionDriver*> drivers;
};
ShardView view_of(const ShardParts& parts, bool clients, proto::Micros now);

}  // namespace nbdgw::shard
