// What sessions and connections count.
#include "gateway/initiator/counters.hpp"

#include <doctest/doctest.h>

#include <numeric>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::DurationHistogram;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
namespace scsi = nbdgw::proto::scsi;

namespace {

template <typename Table, typename Number>
std::uint64_t of(const Table& table, std::span<const std::uint64_t> counts, Number number) {
  return counts[table.place_of(static_cast<std::uint8_t>(number))];
}

template <typename Counts>
std::uint64_t total(const Counts& counts) {
  return std::accumulate(counts.begin(), counts.end(), std::uint64_t{0});
}

}  // namespace

TEST_CASE("counters: a number that is not in the table has the last place") {
  for (std::size_t i = 0; i < kReceivedPdus.known().size(); ++i) {
    CHECK(kReceivedPdus.place_of(static_cast<std::uint8_t>(kReceivedPdus.known()[i])) == i);
  }
  CHECK(kReceivedPdus.place_of(0x3e) == kReceivedPdus.kOther);
  CHECK(kSentCommands.place_of(0xff) == kSentCommands.kOther);
  CHECK(kStatuses.place_of(static_cast<std::uint8_t>(scsi::Status::good)) == 0);
}

TEST_CASE("counters: PDUs by opcode, over reconnects too") {
  LadderPeer peer;
  Job& job = peer.queue(Direction::write, 64 * 1024);
  const std::uint32_t itt = peer.take_command(job);
  peer.deliver(0, peer.r2t(0, itt, 0, 16 * 1024, 48 * 1024, 7));
  std::uint64_t data_out = 0;
  while (!peer.idle(0)) {
    peer.take(0, Opcode::data_out);
    ++data_out;
  }
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);

  const ConnectionCounters& counters = peer.connection(0).counters();
  const std::uint64_t logins = of(kSentPdus, counters.sent_by_opcode, Opcode::login_request);
  CHECK(logins > 0);
  CHECK(of(kSentPdus, counters.sent_by_opcode, Opcode::scsi_command) == 1);
  CHECK(of(kSentPdus, counters.sent_by_opcode, Opcode::data_out) == data_out);
  CHECK(of(kReceivedPdus, counters.received_by_opcode, Opcode::login_response) == logins);
  CHECK(of(kReceivedPdus, counters.received_by_opcode, Opcode::r2t) == 1);
  CHECK(of(kReceivedPdus, counters.received_by_opcode, Opcode::scsi_response) == 1);
  CHECK(total(counters.sent_by_opcode) == counters.pdus_sent);
  CHECK(total(counters.received_by_opcode) == counters.pdus_received);

  peer.disconnect(0);
  peer.relogin();
  CHECK(of(kSentPdus, counters.sent_by_opcode, Opcode::login_request) == 2 * logins);
  CHECK(of(kSentPdus, counters.sent_by_opcode, Opcode::scsi_command) == 1);
  CHECK(total(counters.sent_by_opcode) == counters.pdus_sent);
}

TEST_CASE("counters: a PDU that no target sends is counted, and costs the connection") {
  LadderPeer peer;
  peer.deliver(0, make_pdu(NopOut{}));
  const ConnectionCounters& counters = peer.connection(0).counters();
  CHECK(counters.received_by_opcode[kReceivedPdus.kOther] == 1);
  CHECK(peer.session.counters().losses == 1);
}

TEST_CASE("counters: commands by opcode, status and sense key, with their durations") {
  LadderPeer peer;
  const SessionCounters& counters = peer.session.counters();
  const std::uint8_t check_condition = static_cast<std::uint8_t>(scsi::Status::check_condition);

  Job& good = peer.queue(Direction::none, 0);
  const std::uint32_t first = peer.take_command(good);
  peer.advance(3 * kMillisecond);
  peer.respond(0, first);
  REQUIRE(good.outcome == Outcome::completed);
  CHECK(of(kStatuses, counters.statuses, scsi::Status::good) == 1);
  CHECK(counters.command_durations.count() == 1);
  CHECK(counters.command_durations.sum() == 3 * kMillisecond);

  Job& bad = peer.queue(Direction::none, 0);
  const std::uint32_t second = peer.take_command(bad);
  peer.respond(0, second, check_condition, sense_segment(scsi::SenseKey::medium_error, 0, 0));
  CHECK(of(kStatuses, counters.statuses, scsi::Status::check_condition) == 1);
  CHECK(counters.sense_keys[static_cast<std::size_t>(scsi::SenseKey::medium_error)] == 1);

  Job& unreadable = peer.queue(Direction::none, 0);
  const std::uint32_t third = peer.take_command(unreadable);
  peer.respond(0, third, check_condition, {0, 1, 0x33});
  CHECK(counters.sense_keys[SessionCounters::kSenseKeys] == 1);

  Job& strange = peer.queue(Direction::none, 0);
  const std::uint32_t fourth = peer.take_command(strange);
  peer.respond(0, fourth, 0x7e);
  CHECK(counters.statuses[kStatuses.kOther] == 1);

  CHECK(of(kSentCommands, counters.commands_by_opcode, good.cdb[0]) == 4);
  CHECK(total(counters.commands_by_opcode) == counters.commands);
  CHECK(counters.commands == 4);
  CHECK(total(counters.statuses) == 4);
  CHECK(total(counters.sense_keys) == 2);
  CHECK(counters.command_durations.count() == 4);
}

TEST_CASE("counters: a command that was never given to a connection took no time") {
  Peer peer;
  peer.window = 1;
  peer.start();
  peer.jobs.simple();
  Job& waiting = peer.jobs.simple();
  peer.pump();
  peer.take(0, Opcode::scsi_command);
  REQUIRE(peer.idle(0));
  peer.advance(kSecond);
  peer.disconnect(0);
  peer.pump();
  CHECK(waiting.outcome == Outcome::transport_disrupted);
  const SessionCounters& counters = peer.session.counters();
  CHECK(counters.command_durations.count() == 1);  // of the one that was sent
  CHECK(counters.command_durations.sum() >= kSecond);
  CHECK(total(counters.statuses) == 0);
}

TEST_CASE("counters: a ping that is not answered in time") {
  auto settings = ladder_settings();
  settings.nop_interval = 5 * kSecond;
  settings.nop_timeout = 3 * kSecond;
  LadderPeer peer(settings);
  peer.answers_pings = false;
  peer.advance(8 * kSecond - 1);
  CHECK(peer.session.counters().pings == 1);
  CHECK(peer.session.counters().ping_timeouts == 0);
  peer.advance(1);
  CHECK(peer.session.counters().ping_timeouts == 1);
  CHECK(peer.session.counters().losses == 1);
}

TEST_CASE("counters: rungs are what the recovery events tell") {
  LadderPeer peer;
  peer.hang();
  peer.overdue();
  peer.answer(peer.climb_to(Rung::target_warm_reset), TaskManagementResult::not_supported);
  peer.relogin();
  REQUIRE(peer.recovery_events.size() >= 5);

  const SessionCounters& counters = peer.session.counters();
  auto rungs = counters.rungs;
  std::array<DurationHistogram, kRungCount> durations;
  for (auto& row : rungs) row.fill(0);
  for (const RecoveryEvent& event : peer.recovery_events) {
    ++rungs[static_cast<std::size_t>(event.rung)][static_cast<std::size_t>(event.outcome)];
    durations[static_cast<std::size_t>(event.rung)].add(event.duration);
  }
  CHECK(counters.rungs == rungs);
  CHECK(counters.rung_durations == durations);
  const auto refused = static_cast<std::size_t>(RungOutcome::refused);
  CHECK(counters.rungs[static_cast<std::size_t>(Rung::target_warm_reset)][refused] == 1);
  CHECK(counters.rung_durations[static_cast<std::size_t>(Rung::relogin)].count() == 1);
}
