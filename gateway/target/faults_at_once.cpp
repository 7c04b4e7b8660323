#include "gateway/target/connection.hpp"
#include "gateway/target/faults.hpp"
#include "gateway/target/server.hpp"

/// Faults that act when they are posted.
namespace nbdgw::target {

void Faults::act_at_once(Posted& posted) {
  switch (posted.fault.kind) {
    case FaultKind::drop_connection:
      return drop_connections(posted.fault);
    default:
      return;
  }
}

void Faults::drop_connections(const Fault& fault) {
  for (Connection* connection : server_->connections()) {
    if (fault.cid && (connection->session() == nullptr || connection->cid() != *fault.cid)) continue;
    if (fault.half_close)
      connection->stop_sending();
    else
      connection->reset("a fault drops it");
  }
}

}  // namespace nbdgw::target
