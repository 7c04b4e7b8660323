#include "tests/sim/target/target_session.hpp"

#include <algorithm>
#include <utility>

#include "tests/sim/target/array.hpp"

namespace nbdgw::sim {

TargetSession::TargetSession(Array& array, Controller& controller, SessionIdentity identity,
                             const SessionTerms& terms, std::uint32_t number, std::uint32_t cmd_sn)
    : array_(array),
      controller_(controller),
      identity_(std::move(identity)),
      terms_(terms),
      number_(number),
      first_cmd_sn_(cmd_sn),
      exp_cmd_sn_(cmd_sn),
      max_cmd_sn_(cmd_sn + array.habits().window - 1) {}

TargetConnection* TargetSession::find_connection(std::uint16_t cid) const noexcept {
  const auto found = std::ranges::find_if(connections_, [cid](const auto* each) { return each->cid() == cid; });
  return found == connections_.end() ? nullptr : *found;
}

void TargetSession::receive(TargetConnection& connection, const pdu::Request& request) {
  array_.checker.on_request(connection, request);
  take_acknowledgement(connection, request);
  switch (request.opcode()) {
    case pdu::kDataOut:
      return array_.executor.data_out(*this, connection, request);
    case pdu::kNopOut:
    case pdu::kScsiCommand:
    case pdu::kTaskManagement:
    case pdu::kLogout:
      return in_order(connection, request);
    case pdu::kText:
      return connection.reject(pdu::kCommandNotSupported, request.bhs);
    default:
      array_.checker.complain(connection, "opcode " + std::to_string(request.opcode()) + " in full feature phase");
      return connection.drop(Cut::reset);
  }
}

void TargetSession::in_order(TargetConnection& connection, const pdu::Request& request) {
  const std::uint32_t cmd_sn = request.cmd_sn();
  if (request.immediate()) {
    const bool waits = request.opcode() == pdu::kTaskManagement && array_.habits().functions_in_order;
    if (waits && comes_before(exp_cmd_sn_, cmd_sn)) return park(connection, request);
    return execute(connection, request);
  }
  // Outside of the window they are ignored (section 4.2.2.1); the checker has complained.
  if (comes_before(max_cmd_sn_, cmd_sn) || comes_before(cmd_sn, exp_cmd_sn_) || has_parked(cmd_sn)) return;
  if (request.opcode() == pdu::kScsiCommand && rejects(connection, request)) return;
  if (cmd_sn != exp_cmd_sn_) return park(connection, request);
  ++exp_cmd_sn_;
  open_window();
  execute(connection, request);
  drain();
}

/// A Reject, and whether the number counts as received all the same.
bool TargetSession::rejects(TargetConnection& connection, const pdu::Request& request) {
  const bool counted = array_.faults.strikes(Fault::reject_counted);
  if (!counted && !array_.faults.strikes(Fault::reject_hole)) return false;
  Random& random = array_.faults.random(counted ? Fault::reject_counted : Fault::reject_hole);
  if (counted) fill(request.cmd_sn());
  TargetObserver* const observer = array_.options.observer;
  if (!counted && observer != nullptr) observer->on_hole(number_, request.cmd_sn());
  connection.remember(request.itt());
  connection.reject(random.pick({pdu::kProtocolError, pdu::kCommandNotSupported, pdu::kInvalidField}), request.bhs);
  if (counted) drain();
  return true;
}

void TargetSession::execute(TargetConnection& connection, const pdu::Request& request) {
  switch (request.opcode()) {
    case pdu::kScsiCommand: {
      array_.checker.on_command(connection, request);
      TargetCommand& command = array_.executor.arrive(*this, connection, request);
      array_.executor.enter(command);
      return;
    }
    case pdu::kTaskManagement:
      return array_.functions.receive(*this, connection, request);
    case pdu::kLogout:
      return logout(connection, request);
    default:
      return nop_out(connection, request);
  }
}

void TargetSession::park(TargetConnection& connection, const pdu::Request& request) {
  Parked parked{.cmd_sn = request.cmd_sn(),
                .counts = !request.immediate(),
                .command = nullptr,
                .connection = &connection,
                .bhs = {}};
  std::copy_n(request.bhs, parked.bhs.size(), parked.bhs.begin());
  if (request.opcode() == pdu::kScsiCommand) {
    array_.checker.on_command(connection, request);
    parked.command = &array_.executor.arrive(*this, connection, request);
  }
  parked_.push_back(parked);
}

/// What has waited for the commands before it, in order; what takes no number goes ahead of what has the same one.
void TargetSession::drain() {
  while (!parked_.empty()) {
    auto next = std::ranges::find_if(
        parked_, [this](const Parked& each) { return !each.counts && each.cmd_sn == exp_cmd_sn_; });
    if (next == parked_.end()) next = std::ranges::find(parked_, exp_cmd_sn_, &Parked::cmd_sn);
    if (next == parked_.end()) return;
    const Parked parked = *next;
    parked_.erase(next);
    if (parked.counts) {
      ++exp_cmd_sn_;
      open_window();
    }
    if (parked.command != nullptr) {
      array_.executor.enter(*parked.command);
    } else if (parked.connection != nullptr) {
      execute(*parked.connection, {.bhs = parked.bhs.data(), .ahs = {}, .data = {}});
    }
    if (ended_) return;
  }
}

bool TargetSession::has_parked(std::uint32_t cmd_sn) const noexcept {
  return std::ranges::any_of(parked_, [cmd_sn](const Parked& each) { return each.counts && each.cmd_sn == cmd_sn; });
}

void TargetSession::fill(std::uint32_t cmd_sn) {
  if (cmd_sn == exp_cmd_sn_) {
    ++exp_cmd_sn_;
    open_window();
    return;
  }
  parked_.push_back({.cmd_sn = cmd_sn, .counts = true, .command = nullptr, .connection = nullptr, .bhs = {}});
}

void TargetSession::void_parked(TargetCommand& command) noexcept {
  for (Parked& parked : parked_) {
    if (parked.command != &command) continue;
    parked.command = nullptr;
    parked.connection = nullptr;
  }
}

void TargetSession::on_connection_lost(TargetConnection& connection) {
  std::erase_if(parked_, [&](const Parked& each) { return each.connection == &connection; });
  std::erase_if(told_, [&](const Told& each) { return each.connection == connection.number(); });
}

void TargetSession::open_window() noexcept {
  if (window_frozen_) return;
  const std::uint32_t window = array_.habits().window;
  const std::uint32_t room = array_.habits().window_closes ? window - std::min(live_, window) : window;
  const std::uint32_t most = exp_cmd_sn_ + room - 1;
  if (comes_before(max_cmd_sn_, most)) max_cmd_sn_ = most;
}

void TargetSession::freeze_window(bool yes) {
  window_frozen_ = yes;
  if (yes) return;
  open_window();
  // Nothing else may be under way that would tell it.
  for (TargetConnection* connection : connections_) connection->nop_in(pdu::kNoTag, {});
}

void TargetSession::command_left() {
  --live_;
  open_window();
}

TargetCommand* TargetSession::find(std::uint32_t itt) const noexcept {
  TargetCommand* command = buckets_[bucket_of(itt)];
  while (command != nullptr && command->origin.itt != itt) command = command->same_bucket;
  return command;
}

void TargetSession::add(TargetCommand& command) noexcept {
  TargetCommand*& bucket = buckets_[bucket_of(command.origin.itt)];
  command.same_bucket = std::exchange(bucket, &command);
  if (command.immediate) return;
  const std::uint32_t place = command.origin.cmd_sn - first_cmd_sn_;
  if (records_.size() <= place) records_.resize(std::size_t{place} + 1, pdu::kNoTag);
  records_[place] = command.origin.record;
}

void TargetSession::remove(TargetCommand& command) noexcept {
  TargetCommand** at = &buckets_[bucket_of(command.origin.itt)];
  while (*at != nullptr && *at != &command) at = &(*at)->same_bucket;
  if (*at != nullptr) *at = command.same_bucket;
}

const CommandRecord* TargetSession::record_of(std::uint32_t cmd_sn) const noexcept {
  const std::uint32_t place = cmd_sn - first_cmd_sn_;
  if (place >= records_.size() || records_[place] == pdu::kNoTag) return nullptr;
  return &array_.commands.records()[records_[place]];
}

void TargetSession::told(const News& news, const TargetConnection& connection, std::uint32_t stat_sn) {
  told_.push_back({.news = news, .connection = connection.number(), .stat_sn = stat_sn});
}

void TargetSession::take_acknowledgement(TargetConnection& connection, const pdu::Request& request) {
  // Only what has a CmdSN tells from which command on it is known.
  if (told_.empty() || request.opcode() == pdu::kDataOut) return;
  std::erase_if(told_, [&](const Told& each) {
    if (each.connection != connection.number() || !comes_before(each.stat_sn, request.exp_stat_sn())) return false;
    const News& news = each.news;
    if (news.unit != nullptr) news.unit->acknowledged(news, number_, request.cmd_sn());
    TargetObserver* const observer = array_.options.observer;
    if (news.lost != nullptr && observer != nullptr)
      observer->on_loss_known(*news.lost, news.lost_from, news.lost_at);
    return true;
  });
}

void TargetSession::nop_out(TargetConnection& connection, const pdu::Request& request) {
  if (request.itt() == pdu::kNoTag) return connection.on_ping_answer(request);
  if (request.ttt() != pdu::kNoTag) array_.checker.complain(connection, "a NOP-Out with both tags");
  if (array_.faults.strikes(Fault::ping_unanswered)) return;
  connection.nop_in(request.itt(), request.data);
}

void TargetSession::logout(TargetConnection& connection, const pdu::Request& request) {
  array_.checker.on_logout(connection, request);
  const std::uint8_t reason = request.bhs[1] & 0x7f;
  const std::uint16_t cid = be16(request.bhs + 20);
  TargetConnection* const left = reason == 0 ? &connection : find_connection(cid);
  pdu::Header bhs = pdu::begin(pdu::kLogoutResponse, request.itt());
  bhs[2] = reason == 2 ? 2 : left == nullptr ? 1 : 0;
  if (array_.random.chance(0.1)) put_be16(&bhs[40], 1);  // Time2Wait
  connection.stamp(bhs, true);
  connection.emit(bhs);
  if (bhs[2] != 0) return;
  if (reason == 0) {
    // With several controllers it might be a session beside the one that counts.
    for (const auto& unit : array_.units.all()) {
      if (array_.controllers.size() == 1) unit->on_logout(number_);
    }
    return array_.end_session(*this, Cut::close);
  }
  left->drop(Cut::close);
}

}  // namespace nbdgw::sim
