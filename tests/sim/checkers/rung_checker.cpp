#include "tests/sim/checkers/rung_checker.hpp"

#include <algorithm>
#include <string>

#include "gateway/initiator/ladder_memory.hpp"
#include "tests/sim/target/target_connection.hpp"
#include "tests/sim/target/target_session.hpp"

namespace nbdgw::sim {

using initiator::LadderMemory;

namespace {

/// As escalation_deadlines.cpp and escalation_verification.cpp have them.
constexpr Micros kHolePatience = proto::kSecond;
constexpr Micros kDoomedPatience = proto::kSecond;
/// A little less than the shortest first pause.
constexpr Micros kPause = LadderMemory::kFirstPause / 5;
/// How far back an older command is looked for.
constexpr std::size_t kLookBack = 512;

bool is_read(std::uint8_t operation) noexcept {
  return operation == scsi::kRead10 || operation == scsi::kRead16;
}
bool is_write(std::uint8_t operation) noexcept {
  return operation == scsi::kWrite10 || operation == scsi::kWrite16;
}
bool is_open(Fate fate) noexcept {
  return fate == Fate::running || fate == Fate::done || fate == Fate::lost;
}
bool undisturbed(TargetSession& session) {
  return std::ranges::all_of(session.connections(), [](const TargetConnection* each) {
    return each->disturbed_at() == 0 && !each->leaving() && !each->dead();
  });
}
std::string milliseconds(Micros time) {
  return std::to_string(time / proto::kMillisecond) + " ms";
}

}  // namespace

RungChecker::RungChecker(Complaints& complaints, const Timeline& timeline, initiator::SessionSettings most,
                         bool one_controller)
    : complaints_(complaints),
      timeline_(timeline),
      most_(std::move(most)),
      least_(most_),
      one_controller_(one_controller) {}

void RungChecker::on_function(const CommandTable& table, const FunctionSeen& seen) {
  Session& session = sessions_[seen.session];
  if (!session.last) session.records = table.records().size();
  if (seen.function == pdu::kAbortTask) {
    check_looked_at(table, session, seen);
  } else {
    rows_.clear();
    session.reset = true;
  }
  Unit& unit = session.units[seen.lun];
  check_pause(session, unit, seen);
  session.last = unit.last = Last{.seen = seen, .came_at = timeline_.now()};
}

void RungChecker::on_function_answered(const CommandTable& table, const FunctionSeen& seen, std::uint8_t response) {
  Session& session = sessions_[seen.session];
  for (std::optional<Last>* last : {&session.last, &session.units[seen.lun].last}) {
    if (!*last || (*last)->seen != seen) continue;
    (*last)->answered_at = timeline_.now();
    (*last)->response = response;
    (*last)->records = table.records().size();
  }
  const bool counts = seen.function == pdu::kAbortTask && response == pdu::kComplete &&
                      (is_read(seen.operation) || is_write(seen.operation));
  if (!counts || dropped_) return;
  // What was sent before a reset of the LUN may be there yet.
  const std::uint32_t most = LadderMemory::kMaxTimes + 2U + (session.reset ? most_.queue_depth : 0U) + by_hand_;
  if (++rows_[seen.lun] <= most) return;
  complaints_.complain(
      "ladder", std::to_string(rows_[seen.lun]) + " READs and WRITEs of LUN " + std::to_string(seen.lun >> 48) +
                    " were aborted in a row, nothing of it was executed, and nothing else was tried");
}

void RungChecker::check_looked_at(const CommandTable& table, const Session& session, const FunctionSeen& seen) {
  if (dropped_ || by_hand_ > 0 || !session.last || session.last->answered_at < 0) return;
  const Last& last = *session.last;
  const Micros since = timeline_.now() - last.answered_at;
  if (last.seen.function != pdu::kAbortTask || last.response != pdu::kComplete) return;
  if (since >= std::min(least_.abort_timeout, most_.abort_timeout)) return;
  const auto& records = table.records();
  for (std::size_t i = session.records; i < records.size(); ++i) {
    const CommandRecord& record = records[i];
    if (record.session != seen.session) continue;
    const bool asks = record.operation == scsi::kTestUnitReady;
    if (record.lun != last.seen.lun) {
      if (asks) return;  // one at a time: it may wait for that one
      continue;
    }
    if (i < last.records) continue;
    if (asks || record.fate == Fate::done || record.fate == Fate::answered) return;
  }
  complaints_.complain("ladder", "session " + std::to_string(seen.session) + ": ABORT TASK for LUN " +
                                     std::to_string(last.seen.lun >> 48) + " has completed, and " +
                                     milliseconds(since) + " later another one comes; nobody has asked the LUN " +
                                     "whether it works again");
}

void RungChecker::check_pause(const Session& session, Unit& unit, const FunctionSeen& seen) {
  const Micros now = timeline_.now();
  if (unit.last && unit.last->answered_at >= 0 && now - unit.last->answered_at >= kPause) unit.paused = true;
  if (seen.function == pdu::kAbortTask || !session.last) return;
  const bool had_pause = std::exchange(unit.paused, false);
  if (seen.function != pdu::kLunReset || by_hand_ > 0 || had_pause || !one_controller_ ||
      sessions_.begin()->first != seen.session)
    return;
  if (!unit.last || unit.last->answered_at < 0 || unit.told_at < 0 || now - unit.told_at > LadderMemory::kDispute / 2)
    return;
  const Last& last = *unit.last;
  const bool refused = last.seen.function == pdu::kAbortTask && last.response != pdu::kComplete;
  // Before its time a command is aborted only where it was heard that others have ended commands.
  const Micros time = std::min(least_.command_timeout, least_.slow_command_timeout);
  const bool early = last.seen.age >= 0 && last.seen.age + lag_ < time;
  if (!refused || (!early && last.came_at <= unit.told_at + lag_)) return;
  complaints_.complain(
      "ladder", "session " + std::to_string(seen.session) + ": LUN " + std::to_string(seen.lun >> 48) + " is reset " +
                    milliseconds(now - last.answered_at) +
                    " after an abort was refused, and others reset it, too: there should be a pause");
}

/// One of the same LUN and session that has no answer, and is not overdue yet.
const CommandRecord* RungChecker::older_read(const CommandTable& table, const TargetCommand& command) const {
  const auto& records = table.records();
  const std::size_t end = command.origin.record;
  for (std::size_t i = end; i > 0 && end - i < kLookBack; --i) {
    const CommandRecord& record = records[i - 1];
    if (record.session != command.origin.session || record.lun != command.lun || !is_read(record.operation)) continue;
    if (!comes_before(record.cmd_sn, command.origin.cmd_sn) || !is_open(record.fate)) continue;
    if (timeline_.now() - record.at + lag_ < least_.command_timeout) return &record;
  }
  return nullptr;
}

void RungChecker::on_reset_told(const CommandTable& table, const TargetCommand& command) {
  const CommandRecord* const older = older_read(table, command);
  if (older == nullptr || command.session == nullptr) return;
  sessions_[command.origin.session].units[command.lun].told_at = timeline_.now();
  if (command.session->functions > 0 || sessions_.size() > 1 || dropped_) return;
  waiting_.push_back({.session = command.origin.session,
                      .record = static_cast<std::uint32_t>(older - table.records().data()),
                      .told_at = timeline_.now(),
                      .connections = command.session->connections().size()});
}

void RungChecker::on_hole(std::uint32_t session, std::uint32_t cmd_sn) {
  holes_.push_back({.session = session, .cmd_sn = cmd_sn, .at = timeline_.now()});
}

void RungChecker::look(const Target& target) {
  std::erase_if(waiting_, [&](const Waiting& each) { return !still_waits(target, each); });
  std::erase_if(holes_, [&](const Hole& each) { return !still_open(target, each); });
}

bool RungChecker::still_waits(const Target& target, const Waiting& waiting) {
  TargetSession* const session = target.session(waiting.session);
  if (session == nullptr || session->ended() || session->functions > 0 || !undisturbed(*session)) return false;
  const CommandRecord& record = target.commands().records()[waiting.record];
  if (session->connections().size() != waiting.connections || !is_open(record.fate)) return false;
  // The abort, or the LUN's reset after a pause, has to come from there.
  const Micros bound = kDoomedPatience + LadderMemory::kFirstPause + 2 * lag_;
  if (timeline_.now() - waiting.told_at <= bound) return true;
  complaints_.complain("ladder", "session " + std::to_string(waiting.session) + ": others have ended commands, a " +
                                     "later one was told so " + milliseconds(timeline_.now() - waiting.told_at) +
                                     " ago, and nothing was done about CmdSN " + std::to_string(record.cmd_sn) +
                                     "; it should have been after " + milliseconds(bound));
  return false;
}

bool RungChecker::still_open(const Target& target, const Hole& hole) {
  TargetSession* const session = target.session(hole.session);
  if (session == nullptr || session->ended() || !undisturbed(*session)) return false;
  if (comes_before(hole.cmd_sn, session->exp_cmd_sn())) return false;
  const Micros bound = kHolePatience + most_.logout_timeout + 2 * lag_;
  if (timeline_.now() - hole.at <= bound) return true;
  complaints_.complain("ladder", "session " + std::to_string(hole.session) + ": CmdSN " +
                                     std::to_string(hole.cmd_sn) + " was rejected " +
                                     milliseconds(timeline_.now() - hole.at) +
                                     " ago, nothing behind it can be executed, and the session goes on");
  return false;
}

}  // namespace nbdgw::sim
