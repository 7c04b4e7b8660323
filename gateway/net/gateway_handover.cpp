// What passes from a gateway that ends to the one that comes in its place.

#include <spdlog/spdlog.h>

#include <algorithm>
#include <utility>

#include "gateway/net/clock.hpp"
#include "gateway/net/gateway.hpp"
#include "gateway/net/nbd_client.hpp"
#include "gateway/net/stream_socket.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::net {
namespace {

std::uint64_t wire_lun(const config::Export& exported) {
  return proto::scsi::encode_lun(exported.lun).value();
}

}  // namespace

/// Before anybody else is accepted: the places of these clients are theirs.
void Gateway::resume_clients(std::vector<KeptClient> clients) {
  const proto::Micros now = steady_now();
  for (KeptClient& kept : clients) {
    const std::string name = kept.connection.info.name;
    const std::string peer = peer_text(kept.fd.get());
    const auto exported = std::ranges::find(config_->exports, name, &config::Export::name);
    if (exported == config_->exports.end() || config_->targets[exported->target].iqn != kept.iqn ||
        wire_lun(*exported) != kept.lun) {
      spdlog::warn(
          "{}: was attached to export {} before the restart, which the configuration has no more, or on "
          "another LUN: its connection is closed",
          peer, name);
      continue;
    }
    ConnectionLimit::Ticket ticket = limit_.take();
    if (!ticket) {
      spdlog::warn(
          "{}: was attached to export {} before the restart, but limits.connections is lower now: its "
          "connection is closed",
          peer, name);
      continue;
    }
    exports_[name].worker->shard.send_here(
        std::make_unique<NbdClient>(++last_client_, std::move(kept), std::move(ticket), client_options_, now));
  }
}

/// What was known of this LUN's cache by the process before.
std::optional<bridge::CacheLegacy> Gateway::kept_cache(const std::string& iqn, const config::Export& exported) const {
  if (options_.kept == nullptr) return std::nullopt;
  const auto found = std::ranges::find_if(options_.kept->exports, [&](const ExportLegacy& legacy) {
    return legacy.iqn == iqn && legacy.lun == wire_lun(exported);
  });
  return found == options_.kept->exports.end() ? std::nullopt : std::optional(found->cache);
}

KeptState Gateway::take_kept() {
  KeptState state;
  for (const auto& worker : workers_) take_kept(*worker, state);
  return state;
}

void Gateway::take_kept(Worker& worker, KeptState& state) {
  for (const auto& client : worker.shard.clients()) {
    if (!client->parked()) continue;
    KeptClient kept = client->kept();
    const ExportSlot* slot = worker.shard.find_export(kept.connection.info.name);
    const auto here = std::ranges::find_if(worker.exports, [&](const auto& each) { return each.get() == slot; });
    if (here == worker.exports.end()) continue;  // a reload has taken it away at the last moment
    kept.iqn = (*here)->driver().session().settings().target_name;
    kept.lun = (*here)->exported().unit().lun();
    state.clients.push_back(std::move(kept));
  }
  for (const auto& slot : worker.exports) {
    const bridge::Export& exported = slot->exported();
    if (exported.cache().unflushed() == 0 && exported.cache().doubtful() == 0) continue;
    state.exports.push_back(legacy_of(*slot, steady_now()));
  }
}

}  // namespace nbdgw::net
