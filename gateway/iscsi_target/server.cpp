#include "gateway/iscsi_target/server.hpp"

#include <algorithm>

#include "gateway/iscsi_target/connection.hpp"
#include "proto/assert.hpp"

namespace nbdgw::iscsi_target {

using namespace proto::iscsi;

Server::Server(ServerOptions options, proto::RandomSource& random, Gate* gate)
    : options_(std::move(options)),
      random_(random),
      gate_(gate),
      arena_(std::make_unique_for_overwrite<std::byte[]>(options_.buffer_bytes)),
      buffers_(std::span(arena_.get(), options_.buffer_bytes)) {
  NBDGW_ASSERT(check_options(options_).empty(), "options are checked before a server is made of them");
  for (const TargetOptions& each : options_.targets) {
    TargetNode& node = targets_.emplace_back(TargetNode{each.name, each.alias, {}});
    for (const LunOptions& lun : each.luns) node.units.emplace_back(lun, each.name);
    std::sort(node.units.begin(), node.units.end(),
              [](const auto& a, const auto& b) { return a.number() < b.number(); });
  }
}

Server::~Server() {
  NBDGW_ASSERT(connections_.empty(), "connections go before their server");
}

const TargetNode* Server::find_target(std::string_view name) const noexcept {
  const auto found =
      std::find_if(targets_.begin(), targets_.end(), [&](const auto& node) { return node.name == name; });
  return found == targets_.end() ? nullptr : &*found;
}

Session* Server::find_session(std::uint16_t tsih) const noexcept {
  const auto found = sessions_.find(tsih);
  return found == sessions_.end() ? nullptr : found->second.get();
}

std::uint16_t Server::new_tsih() noexcept {
  do {
    ++last_tsih_;
  } while (last_tsih_ == 0 || sessions_.contains(last_tsih_));
  return last_tsih_;
}

LoginStatus Server::admit(Connection& connection, const Login& login) {
  return login.tsih() == 0 ? open_session(connection, login) : join_session(connection, login);
}

LoginStatus Server::open_session(Connection& connection, const Login& login) {
  // Section 6.3.5: the same initiator port logs in again. Discovery sessions are for a question or two: they may be
  // held by several programs of one host at a time.
  if (login.identity().target != nullptr) {
    for (const auto& [tsih, session] : sessions_) {
      if (session->identity() != login.identity()) continue;
      ++counters_.sessions_reinstated;
      session->close("the initiator has reinstated the session");
      break;
    }
  }
  if (sessions_.size() >= kMaxSessions) return LoginStatus::out_of_resources;
  const std::uint16_t tsih = new_tsih();
  auto session = std::make_unique<Session>(*this, login.identity(), tsih, login.session_parameters(), login.cmd_sn());
  connection.attach(*session, login);
  session->add(connection);
  sessions_.emplace(tsih, std::move(session));
  return LoginStatus::success;
}

LoginStatus Server::join_session(Connection& connection, const Login& login) {
  Session* session = find_session(login.tsih());
  if (session == nullptr || session->identity() != login.identity()) return LoginStatus::session_does_not_exist;
  Connection* former = session->find_connection(login.cid());
  if (former == nullptr && session->connections().size() >= session->parameters().max_connections)
    return LoginStatus::too_many_connections;
  connection.attach(*session, login);
  session->add(connection);
  if (former != nullptr) {  // section 6.3.4: an implicit logout of the connection of that CID
    ++counters_.connections_reinstated;
    session->remove(*former);
    former->detach("the initiator has reinstated the connection");
  }
  return LoginStatus::success;
}

void Server::bury(Session& session) {
  const auto found = sessions_.find(session.tsih());
  NBDGW_ASSERT(found != sessions_.end() && found->second.get() == &session, "a session ends once");
  graveyard_.push_back(std::move(found->second));
  sessions_.erase(found);
}

void Server::tidy() noexcept {
  if (graveyard_.empty()) return;
  std::erase_if(graveyard_, [](const auto& session) { return session->is_idle(); });
}

void Server::freeze_window(bool frozen) {
  window_frozen_ = frozen;
  for (const auto& [tsih, session] : sessions_) session->freeze_window(frozen);
}

void Server::freeze_portals(std::vector<std::uint16_t> tags) {
  frozen_portals_ = std::move(tags);
  for (Connection* connection : connections_) mark_ready(*connection);
}

void Server::shut_down(proto::Micros now) {
  set_now(now);
  for (Connection* connection : std::vector(connections_)) {
    if (connection->state() == ConnectionState::full_feature)
      connection->send_async({.event = AsyncEvent::drop_all_connections});
    connection->close_after_sending("the target is shutting down");
  }
}

Connection* Server::take_ready() noexcept {
  Connection* connection = ready_first_;
  if (connection == nullptr) return nullptr;
  ready_first_ = connection->next_ready_;
  if (ready_first_ == nullptr) ready_last_ = nullptr;
  connection->next_ready_ = nullptr;
  connection->is_ready_ = false;
  return connection;
}

void Server::mark_ready(Connection& connection) noexcept {
  if (connection.is_ready_) return;
  connection.is_ready_ = true;
  (ready_last_ != nullptr ? ready_last_->next_ready_ : ready_first_) = &connection;
  ready_last_ = &connection;
}

void Server::enroll(Connection& connection) {
  connections_.push_back(&connection);
}

void Server::forget(Connection& connection) noexcept {
  std::erase(connections_, &connection);
  if (!connection.is_ready_) return;
  Connection* previous = nullptr;
  Connection* each = ready_first_;
  while (each != &connection) {
    previous = each;
    each = each->next_ready_;
  }
  (previous != nullptr ? previous->next_ready_ : ready_first_) = connection.next_ready_;
  if (ready_last_ == &connection) ready_last_ = previous;
}

std::string check_options(const ServerOptions& options) {
  if (options.targets.empty()) return "there is no target";
  for (const TargetOptions& each : options.targets) {
    if (std::string wrong = check_target(each); !wrong.empty()) return wrong;
    if (std::count_if(options.targets.begin(), options.targets.end(),
                      [&](const auto& t) { return t.name == each.name; }) > 1)
      return each.name + ": two targets of the same name";
  }
  if (options.queue_depth < kMinQueueDepth || options.queue_depth > kMaxQueueDepth)
    return "the queue depth has to be " + std::to_string(kMinQueueDepth) + " to " + std::to_string(kMaxQueueDepth);
  if (options.buffer_bytes < 2 * std::size_t{kMaxTransferBytes})
    return "the buffer has to hold two transfers of " + std::to_string(kMaxTransferBytes >> 20) + " MiB at least";
  const ChapOptions& chap = options.chap;
  if (chap.required() &&
      (chap.secret.empty() || chap.secret.size() > kMaxChapSecretLength || chap.algorithms.empty()))
    return "CHAP needs a secret and an algorithm";
  if (chap.mutual() && (!chap.required() || chap.mutual_secret.empty()))
    return "mutual CHAP needs the initiator's user and secret, and a secret of its own";
  if (chap.mutual() && chap.mutual_secret == chap.secret) return "mutual CHAP needs two different secrets";
  return {};
}

}  // namespace nbdgw::iscsi_target
