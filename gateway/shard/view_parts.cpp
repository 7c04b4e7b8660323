#include "gateway/shard/view_parts.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "config/address.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/shard.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/lun.hpp"
#include "proto/serial.hpp"

namespace nbdgw::shard {

namespace {

proto::Micros since(proto::Micros at, proto::Micros now) noexcept {
  return at == proto::kNever ? 0 : std::max<proto::Micros>(0, now - at);
}

std::string text_of(const initiator::Portal& portal) {
  if (portal.host.empty()) return {};  // never tried yet
  return config::to_string(config::Portal{portal.host, portal.port});
}

std::uint16_t lun_number(std::uint64_t lun) noexcept {
  return static_cast<std::uint16_t>(proto::scsi::decode_lun(lun).value_or(0));  // ours are all of the configuration
}

ConnectionView view_of(const initiator::Connection& connection, proto::Micros now) {
  const bool started = connection.state() == initiator::ConnectionState::started;
  const auto& parameters = connection.parameters();
  return {.cid = connection.cid(),
          .state = connection.state(),
          .portal = text_of(connection.portal()),
          .header_digest = started && parameters.header_digest == proto::iscsi::Digest::crc32c,
          .data_digest = started && parameters.data_digest == proto::iscsi::Digest::crc32c,
          .pinging = connection.pinging(),
          .age = since(connection.state_since(), now),
          .silent_for = started ? since(connection.last_received(), now) : 0,
          .tasks = 0,
          .outstanding_bytes = connection.outstanding_bytes(),
          .counters = connection.counters()};
}

/// What a command is for, from its CDB.
std::uint64_t lba_of(const initiator::ScsiCommand& command) noexcept {
  std::uint64_t lba = 0;
  // READ, WRITE, SYNCHRONIZE CACHE, WRITE SAME: of 16 bytes at 2, of 10 bytes at 2, too, but shorter.
  const std::size_t length = command.cdb_length == 16 ? 8 : command.cdb_length == 10 ? 4 : 0;
  for (std::size_t i = 0; i < length; ++i) lba = lba << 8 | command.cdb[2 + i];
  return lba;
}

/// UNMAP has its blocks in its data, and the others have none.
bool has_lba(std::uint8_t opcode) noexcept {
  using enum proto::scsi::Opcode;
  switch (static_cast<proto::scsi::Opcode>(opcode)) {
    case read_10:
    case write_10:
    case write_same_10:
    case synchronize_cache_10:
    case read_16:
    case write_16:
    case synchronize_cache_16:
    case write_same_16:
      return true;
    default:
      return false;
  }
}

}  // namespace

ClientView view_of(const NbdClient& client, proto::Micros now) {
  const nbd::Connection& engine = client.engine();
  return {.id = client.id(),
          .peer = client.peer(),
          .exported = client.slot() != nullptr ? client.slot()->name() : std::string(),
          .age = since(client.born_at(), now),
          .phase = engine.phase(),
          .tls = false,
          .structured_replies = engine.structured_replies(),
          .stalled = engine.stalled(),
          .flush_will_fail = engine.standing() == nbd::LossStanding::owed,
          .in_flight = static_cast<std::uint32_t>(engine.in_flight()),
          .counters = engine.counters()};
}

ExportView view_of(const SessionExport& slot, proto::Micros now) {
  const bridge::Export& exported = slot.exported();
  const auto in_flight = static_cast<std::uint32_t>(exported.in_flight());
  const bool held = exported.held_since() != proto::kNever;
  ExportView view;
  view.name = slot.name();
  view.target = slot.driver().session().settings().label;
  view.lun = lun_number(exported.unit().lun());
  view.admin_state = slot.admin_state();
  view.required = slot.required();
  view.leaving = slot.is_leaving();
  view.state = exported.state();
  view.reason = exported.status().reason;
  view.known = exported.known();
  view.info = exported.info();
  if (view.known) view.facts = exported.unit().facts();
  view.counters = exported.counters();
  view.nbd = slot.past_clients().counters;
  view.clients_total = slot.past_clients().attached;
  view.in_flight = in_flight;
  view.held = held ? in_flight : 0;
  view.same_disk = !exported.same_disk().empty();
  view.held_for = since(exported.held_since(), now);
  view.down_for = since(exported.down_since(), now);
  view.tasks_queued = static_cast<std::uint32_t>(exported.queue().ready());
  view.tasks_delayed = static_cast<std::uint32_t>(exported.queue().delayed());
  view.tasks_in_flight = exported.queue().lent();
  view.tasks_held = exported.queue().lent() - exported.queue().under_way();
  view.queue_depth = exported.queue().depth();
  view.unflushed_writes = exported.cache().unflushed();
  view.doubtful_writes = exported.cache().doubtful();
  view.flushes_to_fail = exported.cache().debts();
  return view;
}

SessionView view_of(const initiator::Session& session, proto::Micros now) {
  SessionView view;
  view.target = session.settings().label;
  view.iqn = session.settings().target_name;
  view.state = session.state();
  view.trouble = session.trouble();
  view.age = since(session.turned_at(), now);
  view.tsih = session.tsih();
  for (const std::uint8_t byte : session.isid()) view.isid += fmt::format("{:02x}", byte);
  view.portal = initiator::portal_text(session.connection(0).portal());
  view.group = session.group().tag;
  view.portal_reason = session.portals().reason();
  view.cmd_sn = session.cmd_sn();
  view.exp_cmd_sn = session.exp_cmd_sn();
  view.max_cmd_sn = session.max_cmd_sn();
  const bool open = session.state() == initiator::SessionState::logged_in &&
                    !proto::serial_less(session.max_cmd_sn(), session.cmd_sn());
  view.window = open ? session.max_cmd_sn() - session.cmd_sn() + 1 : 0;
  view.tasks = session.tasks_in_use();
  view.tasks_max = session.task_count_max();
  view.connections_wanted = session.settings().connections;
  view.counters = session.counters();
  for (std::uint16_t i = 0; i < session.connection_count(); ++i) {
    view.connections.push_back(view_of(session.connection(i), now));
  }
  for (const initiator::Task* task = session.running().front(); task != nullptr; task = task->list_next) {
    ++view.connections[task->connection->cid()].tasks;
  }
  if (const auto climb = session.escalation().climbing()) {
    view.climb = {.rung = climb->rung,
                  .scope = climb->scope,
                  .lun = climb->lun,
                  .cid = climb->cid,
                  .request_id = climb->request_id,
                  .cause = climb->cause,
                  .age = since(climb->started_at, now)};
  }
  return view;
}

std::vector<TaskView> view_of_tasks(const initiator::Session& session, proto::Micros now) {
  std::vector<TaskView> views;
  for (const initiator::Task* task = session.running().front(); task != nullptr; task = task->list_next) {
    const initiator::ScsiCommand& command = *task->command;
    views.push_back(
        {.itt = task->itt,
         .cmd_sn = task->cmd_sn,
         .cid = task->connection->cid(),
         .lun = lun_number(command.lun),
         .opcode = command.cdb[0],
         .lba = has_lba(command.cdb[0]) ? lba_of(command) : 0,
         .length = command.data_length,
         .state = task->state,
         .overdue = task->overdue,
         .age = since(task->started_at, now),
         .idle = since(task->last_transfer_at, now),
         .deadline = task->deadline == proto::kNever ? 0 : std::max<proto::Micros>(0, task->deadline - now)});
  }
  return views;
}

namespace {

/// `view.exports` is there already: clients add to theirs.
void add_clients(const ShardParts& parts, bool each, proto::Micros now, ShardView& view) {
  for (const auto& client : parts.shard.clients()) {
    if (!client->open()) continue;  // its numbers are among the past ones already
    if (each) view.clients.push_back(view_of(*client, now));
    const auto place =
        std::ranges::find(parts.exports, client->slot(), [](const auto* slot) -> const ExportSlot* { return slot; });
    if (place == parts.exports.end()) {
      ++view.handshakes;
      continue;
    }
    ExportView& exported = view.exports[static_cast<std::size_t>(place - parts.exports.begin())];
    ++exported.clients;
    exported.nbd += client->engine().counters();
    exported.oldest_request = std::max(exported.oldest_request, since(client->engine().oldest_arrival(), now));
  }
}

}  // namespace

ShardView view_of(const ShardParts& parts, bool clients, proto::Micros now) {
  ShardView view;
  view.index = parts.shard.index();
  view.memory_used = parts.shard.pool().used();
  view.memory_limit = parts.shard.pool().capacity();
  view.turns = parts.shard.turns();
  view.closed = parts.shard.closed();
  view.exports.reserve(parts.exports.size());
  view.sessions.reserve(parts.drivers.size());
  for (const SessionExport* slot : parts.exports) view.exports.push_back(view_of(*slot, now));
  for (const SessionDriver* driver : parts.drivers) view.sessions.push_back(view_of(driver->session(), now));
  add_clients(parts, clients, now, view);
  return view;
}

}  // namespace nbdgw::shard
