#include "tests/sim/checkers/ladder_checker.hpp"

#include <algorithm>
#include <utility>

#include "gateway/bridge/path_choice.hpp"
#include "gateway/initiator/held_commands.hpp"
#include "gateway/initiator/ladder_memory.hpp"
#include "gateway/shard/nbd_client.hpp"
#include "gateway/shard/portal_socket.hpp"
#include "tests/sim/checkers/login_checker.hpp"
#include "tests/sim/target/target_connection.hpp"
#include "tests/sim/target/target_session.hpp"
#include "tests/sim/trouble.hpp"

namespace nbdgw::sim {

using initiator::LadderMemory;
using initiator::RecoveryEvent;
using initiator::Rung;
using initiator::RungOutcome;

namespace {

constexpr Micros kPaceWindow = 10 * proto::kSecond;
/// As session_life.cpp has it: the longest pause between logins.
constexpr Micros kLongestBackoff = 5 * proto::kSecond;

std::string milliseconds(Micros time) {
  return std::to_string(time / proto::kMillisecond) + " ms";
}

}  // namespace

LadderChecker::LadderChecker(Complaints& complaints, const Timeline& timeline, initiator::SessionSettings settings,
                             std::vector<bridge::ExportConfig> exports)
    : complaints_(complaints),
      timeline_(timeline),
      settings_(std::move(settings)),
      least_(settings_),
      exports_(std::move(exports)) {}

/// How long a command may be silent before it is a matter for the ladder.
Micros LadderChecker::filter() const noexcept {
  return std::max(settings_.command_timeout, settings_.slow_command_timeout) + settings_.nop_timeout;
}

/// All rungs, each with the round ahead of it, its answer, and the look at what it has come to.
Micros LadderChecker::one_climb() const noexcept {
  const initiator::SessionSettings& s = settings_;
  return s.abort_timeout + s.lu_reset_timeout + s.target_reset_timeout + 3 * (s.nop_timeout + s.abort_timeout);
}

/// The filter begins anew as long as older commands move, each of which has its own time: a few of them. One rung at
/// a time is climbed in a session, so all that other LUNs need may come first.
Micros LadderChecker::longest_silence() const noexcept {
  const Micros one_abort = settings_.abort_timeout + settings_.nop_timeout + settings_.abort_timeout;
  const auto luns = static_cast<Micros>(exports_.size());
  return 4 * filter() + luns * (one_climb() + LadderMemory::kMaxTimes * one_abort) + LadderMemory::kLongestPause +
         kPaceWindow;
}

Micros LadderChecker::time_to_heal(bool portals) const noexcept {
  const auto luns = static_cast<Micros>(exports_.size());
  const Micros pauses = shard::kGoodbyeAnswered + Trouble::kLongestStall + initiator::HeldCommands::kErrandPause +
                        LadderMemory::kLongestPause + kLongestBackoff;
  const Micros logins = 2 * settings_.login_timeout + settings_.logout_timeout;
  const Micros other_portal = portals ? bridge::PathChoice::kLongestPause : 0;
  return 2 * (pauses + logins + 2 * filter() + luns * one_climb()) + other_portal;
}

void LadderChecker::on_process_begins() {
  rows_.clear();
  processes_.push_back(timeline_.now());
}

void LadderChecker::on_rung(const RecoveryEvent& rung) {
  // What was asked for is nobody's choice but the operator's.
  if (rung.request_id != 0) return rows_.clear();
  check_row(rung);
  check_pace(rung);
}

void LadderChecker::on_progress(std::size_t export_index) {
  if (rows_.empty()) return;
  rows_.erase(exports_[export_index].lun);
  rows_.erase(RecoveryEvent::kNoLun);  // of rungs that are about all LUNs
}

void LadderChecker::on_left_behind(std::size_t export_index, std::uint64_t parts) {
  if (parts > 0) left_.push_back({.lun = exports_[export_index].lun, .parts = parts, .at = timeline_.now()});
}

std::uint64_t LadderChecker::left_behind(std::uint64_t lun) {
  while (!left_.empty() && left_.front().at < timeline_.now() - shard::kLeftBehind) left_.pop_front();
  std::uint64_t parts = 0;
  for (const Left& each : left_) parts += each.lun == lun ? each.parts : 0;
  return parts;
}

void LadderChecker::check_row(const RecoveryEvent& rung) {
  if (rung.scope == initiator::RungScope::session) return rows_.clear();
  if (rung.rung == Rung::timeout || rung.outcome != RungOutcome::success) return;
  if (std::ranges::count(unseen_, rung.lun) > 0) return;
  Row& row = rows_[rung.lun];
  row.times = row.rung == rung.rung ? row.times + 1 : 1;
  row.rung = rung.rung;
  const auto exported = std::ranges::find(exports_, rung.lun, &bridge::ExportConfig::lun);
  std::uint64_t most = LadderMemory::kMaxTimes + 1;
  if (rung.rung == Rung::abort_task && exported != exports_.end())
    most += (exported->queue_depth + left_behind(rung.lun)) * (exported->retries + 1U);
  if (row.times <= most) return;
  complaints_.complain("ladder", std::string(initiator::to_string(rung.rung)) + " has succeeded " +
                                     std::to_string(row.times) + " times in a row for LUN " +
                                     std::to_string(rung.lun >> 48) +
                                     ", and nothing of it has moved meanwhile; the last one: " + rung.cause);
}

void LadderChecker::check_pace(const RecoveryEvent& rung) {
  if (rung.rung == Rung::timeout || rung.rung == Rung::relogin) return;
  std::deque<Micros>& times = recent_[rung.rung];
  const Micros now = timeline_.now();
  while (!times.empty() && times.front() < now - kPaceWindow) times.pop_front();
  times.push_back(now);
  const Micros pace = std::min({least_.command_timeout, least_.lu_reset_timeout, proto::kSecond});
  const auto rounds = static_cast<std::size_t>(kPaceWindow / pace) + 2;
  // A new session resets what the one before has left; and its commands are the first that can become old.
  while (!processes_.empty() && processes_.front() < now - kPaceWindow) processes_.pop_front();
  const std::size_t logins = 2 * (LoginChecker::most_sessions() + processes_.size());
  const std::size_t each = rung.rung == Rung::abort_task ? settings_.queue_depth + 1U : exports_.size() + 1;
  if (times.size() <= each * (rounds + logins)) return;
  complaints_.complain("ladder", std::to_string(times.size()) + " times " + initiator::to_string(rung.rung) +
                                     " in 10 s; the last one: " + rung.cause);
}

void LadderChecker::on_fault(Fault fault) noexcept {
  if (fault == Fault::ping_unanswered) pings_unanswered_ = true;
  if (fault == Fault::reset_by_others || fault == Fault::power_loss || fault == Fault::unit_attention) others_ = true;
}

void LadderChecker::set_links(const LinkHabits& links, std::uint64_t memory) noexcept {
  const Micros there_and_back = 2 * (links.delay + links.jitter + links.uneven);
  lag_ = static_cast<Micros>(memory / links.room + 2) * there_and_back +
         static_cast<Micros>(memory >> 16) * links.pace + proto::kSecond;
}

/// As initiator/scsi_command.hpp has it: SYNCHRONIZE CACHE, WRITE SAME, UNMAP.
Micros LadderChecker::time_for(std::uint8_t operation, const initiator::SessionSettings& settings) noexcept {
  constexpr std::uint8_t kSlow[] = {0x35, 0x41, 0x42, 0x91, 0x93};
  return std::ranges::count(kSlow, operation) > 0 ? settings.slow_command_timeout : settings.command_timeout;
}

void LadderChecker::on_abort(const CommandTable& table, const TargetCommand& command) {
  const CommandRecord& record = table.records()[command.origin.record];
  if (others_ || command.connection == nullptr || command.connection->disturbed_at() > 0) return;
  const Micros age = timeline_.now() - record.at;
  const Micros time = time_for(record.operation, least_);
  if (age + lag_ >= time) return;
  complaints_.complain("ladder", "session " + std::to_string(record.session) + ", CmdSN " +
                                     std::to_string(record.cmd_sn) + " (operation " +
                                     std::to_string(record.operation) + ") is aborted after " + milliseconds(age) +
                                     ", and has " + milliseconds(time));
}

void LadderChecker::look_at_oldest(const TargetCommand& command, const CommandRecord& record) {
  Oldest& oldest = oldest_[command.origin.session];
  TargetSession& session = *command.session;
  const bool undisturbed = std::ranges::all_of(
      session.connections(), [](const auto* each) { return each->disturbed_at() == 0 && !each->leaving(); });
  const bool hangs = command.state == TargetCommand::State::hung && session.functions == 0 && undisturbed;
  const Micros now = timeline_.now();
  if (!hangs || others_ || pings_unanswered_ || oldest.record != command.origin.record || oldest.since > now) {
    oldest = {.record = command.origin.record, .since = hangs ? now : proto::kNever};
    return;
  }
  // The filter may begin anew, once, for what was before it.
  const Micros bound = 2 * time_for(record.operation, settings_) + lag_;
  if (now - oldest.since <= bound) return;
  complaints_.complain(
      "ladder", "session " + std::to_string(record.session) + ", CmdSN " + std::to_string(record.cmd_sn) +
                    " (operation " + std::to_string(record.operation) + ") is the first one, hangs for " +
                    milliseconds(now - oldest.since) + ", and nothing was done about it; it should have been after " +
                    milliseconds(bound));
}

void LadderChecker::look(const CommandTable& table) {
  const Micros now = timeline_.now();
  std::vector<std::uint32_t> sessions;
  for (const TargetCommand* command = table.first(); command != nullptr; command = command->behind) {
    if (command->session == nullptr || command->session->ended() || command->connection == nullptr) continue;
    if (std::ranges::count(sessions, command->origin.session) > 0) continue;
    sessions.push_back(command->origin.session);
    look_at_oldest(*command, table.records()[command->origin.record]);
  }
  for (const TargetCommand* command = table.first(); command != nullptr; command = command->behind) {
    const TargetConnection* const connection = command->connection;
    if (command->session == nullptr || command->session->ended() || connection == nullptr) continue;
    if (connection->dead() || connection->leaving() || connection->disturbed()) continue;
    const CommandRecord& record = table.records()[command->origin.record];
    const Micros silent = now - std::max(record.at, connection->disturbed_at());
    longest_seen_ = std::max(longest_seen_, silent);
    if (silent <= longest_silence()) continue;
    return complaints_.complain("ladder", "session " + std::to_string(record.session) + ", CmdSN " +
                                              std::to_string(record.cmd_sn) + " (operation " +
                                              std::to_string(record.operation) + ", " + to_string(record.fate) +
                                              ") has no answer for " + milliseconds(silent) +
                                              ", and nobody has done anything about it; it should " +
                                              "have been over after " + milliseconds(longest_silence()));
  }
}

}  // namespace nbdgw::sim
