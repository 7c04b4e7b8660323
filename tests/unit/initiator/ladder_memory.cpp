// Rungs that the target answers with "complete" and that cure nothing.
#include "gateway/initiator/ladder_memory.hpp"

#include <doctest/doctest.h>

#include <algorithm>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using Event = SessionEvent::Kind;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;

namespace {

/// A target that answers every function with "complete", and hangs what the test lets hang.
struct Treacherous : LadderPeer {
  using LadderPeer::LadderPeer;

  /// What leaves, until there is nothing more: "A" abort, "U" LU reset, "W" warm reset; each is answered.
  std::string rungs() {
    std::string all;
    while (session.state() == SessionState::logged_in && !silent()) {
      const auto request = tmf(busy());
      all += "?AS??UW"[static_cast<std::size_t>(request.function)];
      answer(request, Result::complete);
    }
    return all;
  }
  /// A job that hangs, until its rungs have come; sent again it hangs again.
  std::string hang_again(Job& job) {
    jobs.queue(job);
    take_command(job);
    overdue();
    return rungs();
  }
};

}  // namespace

TEST_CASE("memory: each climb of a command that hangs for ever begins one higher") {
  Treacherous peer;
  Job& job = peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  CHECK(peer.hang_again(job) == "U");
  CHECK(peer.hang_again(job) == "W");
  CHECK(peer.session.counters().losses == 0);
  peer.hang_again(job);
  CHECK(peer.session.counters().losses == 1);
  CHECK(job.finished == 4);
  peer.log_in_again();
  // There is nothing above that.
  peer.hang_again(job);
  CHECK(peer.session.counters().losses == 2);
}

TEST_CASE("memory: commands that never end well climb together") {
  Treacherous peer;
  std::string all;
  for (int i = 0; i < 3; ++i) {
    peer.hang();
    peer.overdue();
    all += peer.rungs();
  }
  CHECK(all == "AUW");
}

TEST_CASE("memory: what was sent before a rung proves nothing against it, but not for ever") {
  Treacherous peer;
  for (int i = 0; i < LadderMemory::kMaxTimes + 3; ++i) peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == std::string(LadderMemory::kMaxTimes, 'A') + "U");
  CHECK(std::ranges::all_of(peer.jobs.all, [](const auto& job) { return job->finished == 1; }));
}

TEST_CASE("memory: a command of a client that ends well is a fresh beginning for all but the one that hangs") {
  Treacherous peer;
  Job& job = peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  peer.work();
  Job& another = peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  CHECK(another.finished == 1);
  peer.work();
  // The same block again: its LUN is reset, once, and never more than that while others work there.
  CHECK(peer.hang_again(job) == "U");
  for (int i = 0; i < 5; ++i) {
    peer.work();
    CHECK(peer.hang_again(job) == "A");
  }
}

TEST_CASE("memory: blocks that hang, one after the other, on a LUN that works: its resets become rare") {
  Treacherous peer;
  std::size_t resets = 0;
  const Micros begin = peer.now;
  while (peer.now - begin < 3600 * kSecond) {
    Job& job = peer.hang();
    peer.overdue();
    std::string all = peer.rungs();
    for (int retry = 0; retry < 5; ++retry) {
      peer.work();
      all += peer.hang_again(job);
    }
    CHECK(all.find_first_not_of("AU") == std::string::npos);
    resets += static_cast<std::size_t>(std::ranges::count(all, 'U'));
    peer.work();
  }
  CHECK(resets >= 3);
  CHECK(resets < 12);
  CHECK(peer.session.counters().losses == 0);
}

TEST_CASE("memory: no progress is what was sent before the rung, what fails, what only looks, or another LUN") {
  Treacherous peer;
  Job& old = peer.queue(Direction::none, 0);
  const std::uint32_t old_itt = peer.take_command(old);
  peer.advance(kSecond);
  Job& job = peer.hang();
  peer.advance(kCommandTimeout - kSecond);
  CHECK(peer.rungs() == "A");  // for the old one
  SUBCASE("what looks") {
    Job& look = peer.queue(Direction::none, 0);
    look.looks = true;
    peer.serve(look);
    REQUIRE(look.outcome == Outcome::completed);
  }
  SUBCASE("what fails") {
    Job& busy = peer.queue(Direction::none, 0);
    peer.serve(busy, 0, 8);
    REQUIRE(busy.outcome == Outcome::completed);
  }
  SUBCASE("another LUN") {
    peer.work(kLun2);
  }
  SUBCASE("nothing") {}
  peer.advance(kSecond);
  CHECK(peer.rungs() == "A");
  CHECK(job.finished == 1);
  CHECK(old.finished == 1);
  CHECK(peer.hang_again(job) == "U");
  (void)old_itt;
}

TEST_CASE("memory: a LUN that nothing helps leaves the others of its session in peace") {
  Treacherous peer;
  Job& job = peer.hang();
  peer.overdue();
  std::string all = peer.rungs();
  for (int i = 0; i < 3; ++i) all += peer.hang_again(job);
  CHECK(all == "AUW");
  CHECK(peer.session.counters().losses == 1);
  peer.log_in_again();
  peer.work(kLun2);
  for (int i = 0; i < 10; ++i) CHECK(peer.hang_again(job) == "A");
  CHECK(peer.session.counters().losses == 1);
  // Once it works again it is like all others.
  peer.work();
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "U");
}

TEST_CASE("memory: a command that may be slow is aborted, and nothing follows from that") {
  auto settings = ladder_settings();
  settings.slow_command_timeout = kCommandTimeout;
  Treacherous peer(settings);
  Job& flush = peer.jobs.make(Direction::none, 0);
  flush.cdb[0] = 0x91;  // SYNCHRONIZE CACHE(16)
  peer.jobs.queue(flush);
  peer.take_command(flush);
  peer.overdue();
  CHECK(peer.rungs() == "A");
  for (int i = 0; i < 4; ++i) CHECK(peer.hang_again(flush) == "A");
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
}

TEST_CASE("memory: it is bounded") {
  LadderMemory memory;
  for (std::uint64_t lun = 0; lun < 10 * LadderMemory::kMaxLuns; ++lun) memory.tried(lun, Rung::abort_task, 1);
  CHECK(memory.any());
  for (std::uint64_t lun = 0; lun < 10 * LadderMemory::kMaxLuns; ++lun) memory.ended_well(lun, 1);
  CHECK_FALSE(memory.any());
}

TEST_CASE("verification: a LUN that answers no TEST UNIT READY after a rung is climbed for at once") {
  Treacherous peer;
  peer.answers_questions = false;
  Job& job = peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  CHECK(job.outcome == Outcome::aborted);
  CHECK(peer.questions == 1);
  peer.told();
  peer.advance(kAbortTimeout - 1);
  CHECK(peer.rungs().empty());
  peer.advance(1);
  CHECK(peer.rungs() == "U");
  CHECK(peer.told() == Told{"lu_reset success 1"});  // the question itself
  CHECK(peer.last_told().cause.find("does not answer TEST UNIT READY") != std::string::npos);
  peer.advance(kAbortTimeout);
  CHECK(peer.rungs() == "W");
  peer.advance(kAbortTimeout);
  CHECK(peer.session.counters().losses == 1);
  CHECK(peer.questions == 3);
  peer.answers_questions = true;
  peer.log_in_again();
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("verification: any answer will do, of whatever was sent after the rung") {
  Treacherous peer;
  peer.answers_questions = false;
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  peer.advance(kSecond);
  Job& after = peer.queue(Direction::none, 0);
  peer.serve(after, 0, 8);
  REQUIRE(after.outcome == Outcome::completed);
  peer.advance(2 * kAbortTimeout);
  CHECK(peer.rungs().empty());
}

TEST_CASE("verification: what was asked before the rung says nothing of it") {
  Treacherous peer;
  peer.answers_questions = false;
  peer.hang();
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  CHECK(peer.questions == 1);
  const auto& running = peer.session.running();
  const auto* task = running.front();
  while (task != nullptr && !task->command->looks) task = task->list_next;
  REQUIRE(task != nullptr);
  const std::uint32_t question = task->itt;
  Job& after = peer.queue(Direction::none, 0);
  peer.serve(after, 0, 8);
  CHECK(peer.rungs() == "A");
  CHECK(peer.questions == 1);
  peer.respond(0, question);
  CHECK(peer.rungs().empty());
  CHECK(peer.questions == 2);
  peer.advance(kAbortTimeout);
  CHECK(peer.rungs() == "U");
}

TEST_CASE("verification: a LUN that was reset is given nothing before it has answered, others are") {
  Treacherous peer;
  peer.answers_questions = false;
  Job& job = peer.hang();
  peer.overdue();
  const auto abort = peer.tmf(Function::abort_task);
  peer.answer(abort, Result::rejected);
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  REQUIRE(job.outcome == Outcome::aborted);
  CHECK(peer.questions == 1);
  Job& same = peer.queue(Direction::none, 0);
  CHECK(peer.silent());
  peer.work(kLun2);
  peer.advance(kSecond);
  CHECK(peer.silent());
  const auto& task = *peer.session.running().front();
  peer.respond(0, task.itt);
  peer.serve(same);
  CHECK(same.outcome == Outcome::completed);
  peer.check_nothing_leaked();
}

TEST_CASE("verification: what the LUN says by the way is passed on") {
  Treacherous peer;
  peer.answers_questions = false;
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  CHECK(peer.count(Event::unit_answer) == 0);
  Bytes sense(20);
  sense[1] = 18;  // SenseLength
  sense[2] = 0x70;
  sense[4] = 6;  // UNIT ATTENTION
  sense[9] = 10;
  sense[14] = 0x29;
  peer.respond(0, peer.session.running().front()->itt, 2, sense);
  REQUIRE(peer.count(Event::unit_answer) == 1);
  const auto event = std::ranges::find(peer.events, Event::unit_answer, &SessionEvent::kind);
  CHECK(event->lun == kLun1);
  CHECK(event->answer->sense[12] == 0x29);
  peer.advance(2 * kAbortTimeout);
  CHECK(peer.rungs().empty());  // it does answer
}

TEST_CASE("verification: the session is lost meanwhile, and the rung is told once") {
  Treacherous peer;
  peer.answers_questions = false;
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
  peer.disconnect(0);
  peer.answers_questions = true;
  peer.log_in_again();
  CHECK(peer.told() == Told{"timeout success 1", "abort_task success 1", "relogin success 1"});
  check_works(peer);
  peer.check_nothing_leaked();
}

TEST_CASE("by hand: a rung is not verified, and not remembered") {
  Treacherous peer;
  peer.hang();
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
  peer.pump();
  CHECK(peer.rungs() == "U");
  CHECK(peer.questions == 0);
  peer.hang();
  peer.overdue();
  CHECK(peer.rungs() == "A");
}
