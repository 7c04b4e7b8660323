// When nothing can be sent: no room in a send queue, a command window that stays closed, a pool that is empty.
#include <doctest/doctest.h>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

namespace {

/// Tells how many commands have arrived, and that the window is closed behind them.
void close_window(LadderPeer& peer, std::uint16_t cid = 0) {
  peer.window = 0;
  peer.acknowledge(cid);
}

SessionSettings settings_with(bool pings) {
  return pings ? asking_settings(2) : ladder_settings(2);
}

/// Fills what is left of the window of 64 that the Peer grants at login, and answers all of it, without opening the
/// window again.
void use_up_window(LadderPeer& peer, int left = 64) {
  peer.window = 0;
  std::vector<Job*> jobs;
  for (int i = 0; i < left; ++i) jobs.push_back(&peer.queue(Direction::none, 0));
  while (!peer.silent()) {
    const std::uint16_t cid = peer.busy();
    const std::uint32_t itt = peer.take_command(cid).itt;
    peer.exp_cmd_sn = 65;
    peer.respond(cid, itt);
  }
  for (const Job* job : jobs) REQUIRE(job->outcome == Outcome::completed);
}

}  // namespace

TEST_CASE("room: an abort waits for room on the connection of its task, and no other") {
  LadderPeer peer(2);
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  peer.block(0);
  peer.overdue();
  CHECK(peer.idle(1));
  peer.session.data_xmit(peer.now);
  CHECK_FALSE(peer.session.wants_turn());  // not before something was sent
  peer.unblock(0);
  const auto request = peer.tmf(Function::abort_task, 0);
  CHECK(request.referenced_task_tag == itt);
  peer.answer(request, Result::complete);
  CHECK(job.outcome == Outcome::aborted);
  peer.check_nothing_leaked();
}

TEST_CASE("room: an abort that finds none until its time is up drops the session") {
  LadderPeer peer(2);
  Job& job = peer.hang();
  peer.block(0);
  peer.overdue();
  peer.advance(kAbortTimeout - 1);
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.advance(1);
  CHECK(peer.told() == Told{"timeout success 1", "abort_task timed_out 0", "session_reset success 1"});
  CHECK(job.outcome == Outcome::transport_disrupted);
  peer.wire(0).takes = true;
  peer.relogin();
  CHECK(peer.silent());
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("room: a command that ends while its abort waits needs none") {
  LadderPeer peer(2);
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  peer.block(0);
  peer.overdue();
  peer.advance(kAbortTimeout - kSecond);
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
  CHECK(peer.told() == Told{"timeout success 1", "abort_task success 0"});
  CHECK(peer.last_told().cause == "a command is overdue; it ended before anything was sent");
  CHECK(peer.session.next_deadline() == kNever);
  peer.advance(kAbortTimeout);
  peer.unblock(0);
  CHECK(peer.silent());
  CHECK(peer.session.counters().losses == 0);
  peer.check_nothing_leaked();
}

TEST_CASE("room: so does a reset, and what has no room does not hold back the next command in need") {
  LadderPeer peer(1);
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  Job& second = peer.queue(Direction::none, 0, kLun2);
  const std::uint32_t second_itt = peer.take_command(second);
  peer.overdue();
  const auto request = peer.tmf(Function::abort_task);
  peer.block(0);
  peer.answer(request, Result::rejected);  // the LUN's reset finds no room
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
  CHECK(peer.told() == Told{"timeout success 2", "abort_task refused 0", "lu_reset success 0"});
  CHECK_FALSE(peer.saw(Kind::unit_reset));  // there was none
  peer.unblock(0);
  CHECK(peer.tmf(Function::abort_task).referenced_task_tag == second_itt);
}

TEST_CASE("room: a reset takes a connection that has some") {
  LadderPeer peer(2);
  peer.acknowledge(1);
  peer.block(0);
  peer.now += 1;
  peer.acknowledge(0);  // heard last, but full
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
  peer.answer(peer.tmf(Function::logical_unit_reset, 1), Result::complete, 1);
  CHECK(peer.told() == Told{"lu_reset success 0"});
  peer.unblock(0);
  peer.check_nothing_leaked();
}

TEST_CASE("window: one that stays closed with nothing under way is asked about, and then the session is reset") {
  for (const bool pings : {true, false}) {
    CAPTURE(pings);
    LadderPeer peer(settings_with(pings));
    use_up_window(peer);
    CHECK(peer.session.next_deadline() >= peer.now + 900 * kSecond);
    peer.pings = 0;
    Job& job = peer.queue(Direction::none, 0);
    peer.pump();
    const auto began = peer.now;
    CHECK(peer.silent());
    CHECK(peer.session.next_deadline() == began + kCommandTimeout);
    peer.advance(kCommandTimeout - 1);
    CHECK(peer.session.state() == SessionState::logged_in);
    CHECK(peer.pings == 0);
    peer.advance(1);
    if (pings) {
      CHECK(peer.pings == 1);
      CHECK(peer.session.next_deadline() == began + kCommandTimeout + kPingTimeout);
      peer.advance(kPingTimeout - 1);
      CHECK(peer.session.state() == SessionState::logged_in);
      peer.advance(1);
    }
    CHECK(peer.told() == Told{"session_reset success 0"});
    CHECK(peer.last_told().cause == std::string("the target's command window stayed closed for ") +
                                        (pings ? "22" : "20") + " s with no command under way");
    CHECK(job.outcome == Outcome::transport_disrupted);
    CHECK_FALSE(job.overdue);
    peer.window = 64;
    peer.relogin();
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("window: the answer to the ping may open it") {
  LadderPeer peer(asking_settings(2));
  use_up_window(peer);
  Job& job = peer.queue(Direction::none, 0);
  peer.advance(kCommandTimeout - 1);
  peer.window = 64;
  peer.advance(1);
  const std::uint16_t cid = peer.busy();
  peer.serve(job, cid);
  CHECK(job.outcome == Outcome::completed);
  peer.advance(2 * kCommandTimeout);
  CHECK(peer.told().empty());
  CHECK(peer.session.counters().losses == 0);
}

TEST_CASE("window: while a command is under way there is still something to wait for") {
  LadderPeer peer(asking_settings(2));
  Job& runs = peer.queue(Direction::read, 100'000);
  const std::uint32_t itt = peer.take_command(runs);
  use_up_window(peer, 63);
  Job& waits = peer.queue(Direction::none, 0);
  CHECK(peer.silent());
  for (std::uint32_t i = 0; i < 5; ++i) {
    peer.advance(kCommandTimeout - kSecond);
    peer.deliver(0, peer.data_in(0, itt, i, i * 10, Bytes(10), false));
    CHECK(peer.session.state() == SessionState::logged_in);
    CHECK(waits.outcome == Outcome::pending);
  }
  // It ends; from then on nobody works.
  peer.deliver(0, peer.data_in(0, itt, 5, 50, Bytes(100'000 - 50), true));
  peer.respond(0, itt);
  CHECK(runs.outcome == Outcome::completed);
  peer.advance(2 * kCommandTimeout + kPingTimeout);
  CHECK(peer.told() == Told{"session_reset success 0"});
}

TEST_CASE("window: time counts from when it was closed, and each opening begins anew") {
  LadderPeer peer(2);
  use_up_window(peer);
  Job& first = peer.queue(Direction::none, 0);
  Job& second = peer.queue(Direction::none, 0);
  peer.advance(kCommandTimeout - kSecond);
  peer.window = 1;
  peer.acknowledge();
  peer.window = 0;
  const std::uint16_t cid = peer.busy();
  const std::uint32_t itt = peer.take_command(first, cid);
  CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);
  peer.respond(cid, itt);
  CHECK(first.outcome == Outcome::completed);
  peer.advance(kCommandTimeout - 1);
  CHECK(peer.session.state() == SessionState::logged_in);
  CHECK(second.outcome == Outcome::pending);
  peer.advance(1);
  CHECK(peer.told() == Told{"session_reset success 0"});
}

TEST_CASE("window: without commands that wait a closed window is nobody's trouble") {
  LadderPeer peer(2);
  use_up_window(peer);
  close_window(peer);
  peer.advance(10 * kCommandTimeout);
  CHECK(peer.told().empty());
  CHECK(peer.session.counters().losses == 0);
}

TEST_CASE("pool: tasks that are over, but whose data never leaves, cannot stop the session for ever") {
  for (const bool pings : {true, false}) {
    CAPTURE(pings);
    auto settings = settings_with(pings);
    settings.queue_depth = 1;
    TargetKeys keys;
    keys.answers["InitialR2T"] = "Yes";
    LadderPeer peer(settings, keys);
    Job& job = peer.queue(Direction::write, 30'000);
    const std::uint32_t itt = peer.take_command(job);
    peer.acknowledge();
    // The first of its Data-Out has begun to leave, and gets no further.
    peer.wire(0).takes = false;
    peer.deliver(0, peer.r2t(0, itt, 0, 8192, 20'000, 1));
    peer.wire(0).takes = true;
    peer.tx_chunk = 100;
    REQUIRE(peer.transmit(0));
    peer.wire(0).takes = false;
    peer.respond(0, itt, 8);  // it is over before all of its data was there
    CHECK(job.finished == 0);
    Job& waits = peer.queue(Direction::none, 0);
    CHECK(peer.silent());
    CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);
    peer.advance(kCommandTimeout + (pings ? kPingTimeout : 0));
    CHECK(peer.told() == Told{"session_reset success 0"});
    CHECK(peer.last_told().cause.find("no task was free") == 0);
    CHECK(job.outcome == Outcome::completed);
    CHECK(waits.outcome == Outcome::transport_disrupted);
    peer.wire(0).takes = true;
    peer.tx_chunk = 1 << 16;
    peer.relogin();
    check_works(peer);
    peer.check_nothing_leaked();
  }
}
