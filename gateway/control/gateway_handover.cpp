// What passes from a gateway that ends to the one that comes in its place.

#include <algorithm>
#include <memory>
#include <stdexcept>
#include <utility>

#include "gateway/control/gateway.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/log.hpp"
#include "gateway/net/stream_socket.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/session_settings.hpp"

namespace nbdgw::control {

/// What a process has left that died, is for the exports that come in the place of its own.
void Gateway::open_record() {
  if (options_.state_dir.empty()) return;
  try {
    record_ = std::make_unique<CrashRecord>(options_.state_dir, net::steady_now());
  } catch (const std::runtime_error& error) {
    net::log::warn({},
                   "{}; without a record in state_dir the next process does not know what clients have not flushed, "
                   "should this one crash: a FLUSH of each that comes back fails",
                   error.what());
    return;
  }
  if (record_->before_died())
    net::log::warn(
        {},
        "the gateway before this one has ended without a word: where it was writing, the LUN is reset before "
        "it is used, and clients that come back are told what was lost");
  for (shard::ExportLegacy& legacy : record_->take_left()) caches_.put(std::move(legacy));
}

bridge::LunRecord* Gateway::record_of(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept {
  if (record_ == nullptr) return nullptr;
  bridge::LunRecord* const record = record_->take(iqn, lun, name);
  if (record == nullptr)
    net::log::warn({.exported = name},
                   "there is no room in the record of state_dir for export {}: should this process "
                   "crash, the next one does not know what its clients have not flushed",
                   name);
  return record;
}

/// Before anybody else is accepted: the places of these clients are theirs. What those are owed who cannot go on is
/// left to whoever comes.
std::vector<Gateway::Resumed> Gateway::take_over(shard::KeptState& kept) {
  for (shard::ExportLegacy& legacy : kept.exports) caches_.put(std::move(legacy));
  std::vector<shard::KeptClient> clients =
      std::move(kept.clients);  // who is not taken over is closed at the end of this
  std::vector<Resumed> resumed;
  for (shard::KeptClient& client : clients) {
    if (net::ConnectionLimit::Ticket ticket = take_over(client)) {
      resumed.push_back({.client = std::move(client), .ticket = std::move(ticket)});
    } else if (const bool owed = client.connection.standing == nbd::LossStanding::owed;
               !client.connection.token.empty()) {
      caches_.expect(client.iqn, client.lun, {.token = client.connection.token, .owed = owed});
    } else if (owed) {
      caches_.leave_debt(client.iqn, client.lun);
    }
  }
  return resumed;
}

net::ConnectionLimit::Ticket Gateway::take_over(const shard::KeptClient& client) {
  const std::string& name = client.connection.info.name;
  const std::string peer = net::peer_text(client.fd.get());
  const auto exported = std::ranges::find(config_->exports, name, &config::Export::name);
  if (exported == config_->exports.end() || config_->targets[exported->target].iqn != client.iqn ||
      shard::wire_lun(*exported) != client.lun) {
    net::log::warn({.exported = name, .client = peer},
                   "{}: was attached to export {} before the restart, which the configuration has no more, or on "
                   "another LUN: its connection is closed",
                   peer, name);
    return {};
  }
  net::ConnectionLimit::Ticket ticket = limit_.take();
  if (!ticket) {
    net::log::warn({.exported = name, .client = peer},
                   "{}: was attached to export {} before the restart, but {} is lower now: its connection is closed",
                   peer, name, limit_.lowered() ? "the limit of open files" : "limits.connections");
  }
  return ticket;
}

void Gateway::resume(std::vector<Resumed> clients) {
  const proto::Micros now = net::steady_now();
  for (auto& [client, ticket] : clients) {
    shard::Shard& shard = exports_[client.connection.info.name].worker->shard;
    shard.send_here(std::make_unique<shard::NbdClient>(++last_client_, std::move(client), std::move(ticket),
                                                       client_options_, now));
  }
}

shard::KeptState Gateway::take_kept() {
  shard::KeptState state;
  state.exports = caches_.all();
  for (const auto& worker : workers_) worker->take_kept(state);
  return state;
}

void Gateway::end_record(const shard::KeptState& kept, bool told) noexcept {
  if (record_ != nullptr) record_->end(kept.exports, told);
}

}  // namespace nbdgw::control
