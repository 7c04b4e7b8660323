// When a command becomes a matter for the ladder: every row of iscsi_eh_cmd_timed_out, time by time.
#include <doctest/doctest.h>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

namespace {

/// The abort is there, in this very turn, and nothing was before it.
void check_aborted_now(LadderPeer& peer, std::uint32_t itt, std::uint16_t cid = 0) {
  peer.pump();
  CHECK(peer.tmf(Function::abort_task, cid).referenced_task_tag == itt);
  CHECK(peer.silent());
}

}  // namespace

TEST_CASE("deadline: without pings a silent command is overdue at its deadline, not before") {
  LadderPeer peer;
  peer.advance(1234567);
  CHECK(peer.session.next_deadline() == kNever);
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  const Micros at = peer.now;
  CHECK(peer.session.next_deadline() == at + kCommandTimeout);
  peer.advance(kCommandTimeout - 1);
  CHECK(peer.silent());
  CHECK_FALSE(job.overdue);
  CHECK(peer.told().empty());
  peer.advance(1);
  check_aborted_now(peer, itt);
  CHECK(job.overdue);
  CHECK(job.outcome == Outcome::pending);
  CHECK(peer.told() == Told{"timeout success 1"});
  const RecoveryEvent& event = peer.last_told();
  CHECK(event.cause == "no answer for 20 s");
  CHECK(event.scope == RungScope::task);
  CHECK(event.lun == kLun1);
  CHECK(event.cid == 0);
  CHECK(event.request_id == 0);
  CHECK(event.tsih == Peer::kTsih);
  CHECK(event.ended_at == at + kCommandTimeout);
  CHECK(event.duration == kCommandTimeout);
  CHECK(peer.session.counters().commands_timed_out == 1);
  CHECK(peer.session.next_deadline() == at + kCommandTimeout + kAbortTimeout);
}

TEST_CASE("deadline: the abort is in the send queue in the turn of its deadline") {
  LadderPeer peer;
  Job& job = peer.hang();
  peer.now = peer.session.next_deadline();
  peer.session.on_deadline(peer.now);
  CHECK_FALSE(peer.connection(0).wants_tx());
  peer.session.deliver(peer.now);
  CHECK(peer.connection(0).wants_tx());
  CHECK(job.overdue);
}

TEST_CASE("deadline: each command has its own, and they are told of together") {
  LadderPeer peer;
  Job* jobs[4];
  std::uint32_t itt[4];
  const Micros begin = peer.now;
  for (int i = 0; i < 4; ++i) {
    if (i == 3) peer.advance(kSecond);
    jobs[i] = &peer.queue(Direction::none, 0, i == 1 ? kLun2 : kLun1);
    itt[i] = peer.take_command(*jobs[i]);
  }
  CHECK(peer.session.next_deadline() == begin + kCommandTimeout);
  peer.advance(kCommandTimeout - kSecond);
  CHECK(peer.told() == Told{"timeout success 3"});
  CHECK_FALSE(jobs[3]->overdue);
  for (int i = 0; i < 3; ++i) {  // one after the other, first come first
    CHECK(jobs[i]->overdue);
    const auto request = peer.tmf(Function::abort_task);
    CHECK(request.referenced_task_tag == itt[i]);
    CHECK(request.ref_cmd_sn == 1U + static_cast<std::uint32_t>(i));
    CHECK(request.lun == jobs[i]->lun);
    peer.answer(request, Result::complete);
    CHECK(jobs[i]->outcome == Outcome::aborted);
  }
  CHECK(peer.silent());
  CHECK(peer.session.next_deadline() == begin + kSecond + kCommandTimeout);
  peer.advance(kSecond);
  peer.answer(peer.tmf(Function::abort_task), Result::complete);
  CHECK(peer.session.counters().commands_timed_out == 4);
  peer.check_nothing_leaked();
}

TEST_CASE("deadline: one that completes in time, or meanwhile, is nobody's matter") {
  LadderPeer peer(asking_settings());
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  SUBCASE("in time") {
    peer.advance(kCommandTimeout - 1);
  }
  SUBCASE("in the turn of its deadline, before that is looked at") {
    peer.now += kCommandTimeout;
  }
  SUBCASE("after the ping, and late") {
    peer.answers_pings = false;
    peer.advance(kCommandTimeout + kPingTimeout - 1);
    CHECK(peer.pings == 1);
    peer.answers_pings = true;
    peer.respond(0, itt);
    peer.answer_pings();
    CHECK(job.outcome == Outcome::completed);
    CHECK_FALSE(job.overdue);
    CHECK(peer.told().empty());
    return;
  }
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
  CHECK_FALSE(job.overdue);
  CHECK(peer.session.next_deadline() > peer.now + 900 * kSecond);  // only the next ping of an idle connection
  peer.advance(2 * kCommandTimeout);
  CHECK(peer.silent());
  CHECK(peer.told().empty());
}

TEST_CASE("deadline: what arrives for a command gives it a whole time more") {
  for (const bool pings : {false, true}) {
    LadderPeer peer(pings ? asking_settings() : ladder_settings());
    Job& job = peer.queue(Direction::read, 3000);
    const std::uint32_t itt = peer.take_command(job);
    for (std::uint32_t i = 0; i < 3; ++i) {
      const Micros armed = peer.now;
      CHECK(peer.session.next_deadline() == armed + kCommandTimeout);
      peer.advance(1 + i * 5 * kSecond);
      peer.deliver(0, peer.data_in(0, itt, i, i * 1000, Bytes(1000), i == 2));
      CHECK(peer.session.next_deadline() == armed + kCommandTimeout);  // looked at when it has passed
      peer.advance(armed + kCommandTimeout - peer.now);
      CHECK_FALSE(job.overdue);
    }
    CHECK(peer.pings == 0);
    CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);
    peer.advance(kCommandTimeout + (pings ? kPingTimeout : 0));
    check_aborted_now(peer, itt);
  }
}

TEST_CASE("deadline: so does what is sent for it") {
  LadderPeer peer;
  peer.keys.answers["InitialR2T"] = "Yes";
  Job& job = peer.queue(Direction::write, 60'000);
  peer.wire(0).takes = false;
  const Micros begin = peer.now;
  peer.advance(5 * kSecond);
  peer.wire(0).takes = true;  // the command itself leaves only now
  const std::uint32_t itt = peer.take_command(job);
  std::erase_if(peer.wire(0).inbox, [](const Pdu& pdu) { return pdu.opcode() == Opcode::data_out; });
  CHECK(peer.session.next_deadline() == begin + kCommandTimeout);
  peer.advance(begin + kCommandTimeout - peer.now);
  CHECK_FALSE(job.overdue);
  // An R2T is word of it as well.
  peer.advance(kSecond);
  peer.deliver(0, peer.r2t(0, itt, 0, 16'384, 8192, 3));
  peer.take(0, Opcode::data_out);
  peer.advance(begin + 2 * kCommandTimeout - peer.now);
  CHECK_FALSE(job.overdue);
  // The data leaves late: that counts, too.
  peer.advance(kSecond);
  peer.wire(0).takes = false;
  peer.deliver(0, peer.r2t(0, itt, 1, 24'576, 8192, 4));
  peer.advance(begin + 3 * kCommandTimeout - peer.now);
  CHECK_FALSE(job.overdue);
  peer.advance(kSecond);
  peer.wire(0).takes = true;
  peer.take(0, Opcode::data_out);
  peer.advance(begin + 4 * kCommandTimeout - peer.now);
  CHECK_FALSE(job.overdue);
  peer.advance(kCommandTimeout);
  check_aborted_now(peer, itt);
}

TEST_CASE("deadline: with pings the connection is asked once, and the ladder begins when it has answered") {
  for (const Micros takes : {Micros{0}, kPingTimeout / 2}) {
    LadderPeer peer(asking_settings());
    peer.answers_pings = takes == 0;
    Job& job = peer.queue(Direction::none, 0);
    const std::uint32_t itt = peer.take_command(job);
    const Micros begin = peer.now;
    peer.advance(kCommandTimeout - 1);
    CHECK(peer.pings == 0);
    peer.advance(1);
    CHECK(peer.pings == 1);
    if (takes > 0) {
      CHECK(peer.session.next_deadline() == begin + kCommandTimeout + kPingTimeout);
      peer.advance(takes);
      CHECK(peer.silent());
      CHECK_FALSE(job.overdue);
      peer.answer_pings();
      peer.advance(0);
    }
    check_aborted_now(peer, itt);
    CHECK(peer.pings == 1);
    CHECK(job.overdue);
    CHECK(peer.told() == Told{"timeout success 1"});
    CHECK(peer.last_told().duration == kCommandTimeout + takes);
  }
}

TEST_CASE("deadline: after progress the connection is asked again the next time") {
  LadderPeer peer(asking_settings());
  peer.answers_pings = false;
  Job& job = peer.queue(Direction::read, 3000);
  const std::uint32_t itt = peer.take_command(job);
  peer.advance(kCommandTimeout);
  CHECK(peer.pings == 1);
  peer.deliver(0, peer.data_in(0, itt, 0, 0, Bytes(1000), false));
  peer.now += 1;
  peer.deliver(0, peer.data_in(0, itt, 1, 1000, Bytes(1000), false));
  peer.answer_pings();
  peer.answers_pings = true;
  peer.advance(kPingTimeout - 1);
  CHECK_FALSE(job.overdue);
  CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);
  peer.advance(kCommandTimeout);
  CHECK(peer.pings == 2);
  check_aborted_now(peer, itt);
}

TEST_CASE("deadline: a ping that is in flight already is enough") {
  auto settings = asking_settings();
  settings.nop_interval = 10 * kSecond;
  settings.nop_timeout = 12 * kSecond;
  LadderPeer peer(settings);
  peer.answers_pings = false;
  Job& job = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(job);
  peer.advance(10 * kSecond);
  CHECK(peer.pings == 1);
  peer.now += 5 * kSecond;
  peer.acknowledge();  // the connection lives, as far as bytes go
  peer.advance(5 * kSecond);
  CHECK(peer.pings == 1);
  CHECK_FALSE(job.overdue);
  peer.advance(12 * kSecond - 1);
  CHECK_FALSE(job.overdue);
  peer.advance(1);
  CHECK(job.overdue);
  check_aborted_now(peer, itt);
  CHECK(peer.pings == 1);
}

TEST_CASE("deadline: while older commands move the younger ones only wait in the target's queue") {
  LadderPeer peer(asking_settings());
  Job& older = peer.queue(Direction::read, 100'000);
  const std::uint32_t older_itt = peer.take_command(older);
  Job& younger = peer.queue(Direction::none, 0);
  const std::uint32_t younger_itt = peer.take_command(younger);
  for (std::uint32_t i = 0; i < 3; ++i) {
    peer.advance(kCommandTimeout - 1);
    peer.deliver(0, peer.data_in(0, older_itt, i, i * 100, Bytes(100), false));
    peer.advance(1);
    CHECK(peer.pings == 0);
    CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);
  }
  // The older one stops; the younger one is asked for, and is overdue with it.
  peer.advance(kCommandTimeout);
  CHECK(peer.pings == 1);
  peer.advance(kPingTimeout);
  CHECK(older.overdue);
  CHECK(younger.overdue);
  const auto request = peer.tmf(Function::abort_task);
  CHECK(request.referenced_task_tag == older_itt);
  peer.answer(request, Result::complete);
  check_aborted_now(peer, younger_itt);
}

TEST_CASE("deadline: that younger commands move says nothing of the older one") {
  LadderPeer peer(asking_settings());
  Job& older = peer.queue(Direction::none, 0);
  const std::uint32_t older_itt = peer.take_command(older);
  Job& younger = peer.queue(Direction::read, 100'000);
  const std::uint32_t younger_itt = peer.take_command(younger);
  peer.advance(kCommandTimeout - kSecond);
  peer.deliver(0, peer.data_in(0, younger_itt, 0, 0, Bytes(100), false));
  peer.advance(kSecond);
  CHECK(peer.pings == 1);
  peer.now += kSecond;
  peer.deliver(0, peer.data_in(0, younger_itt, 1, 100, Bytes(100), false));
  peer.advance(kPingTimeout - kSecond);
  CHECK(older.overdue);
  CHECK_FALSE(younger.overdue);
  check_aborted_now(peer, older_itt);
}

TEST_CASE("deadline: without pings older commands are not looked at") {
  LadderPeer peer;
  Job& older = peer.queue(Direction::read, 1000);
  const std::uint32_t older_itt = peer.take_command(older);
  Job& younger = peer.queue(Direction::none, 0);
  const std::uint32_t younger_itt = peer.take_command(younger);
  peer.advance(kSecond);
  peer.deliver(0, peer.data_in(0, older_itt, 0, 0, Bytes(100), false));
  peer.advance(kCommandTimeout - kSecond);
  CHECK_FALSE(older.overdue);
  CHECK(younger.overdue);
  check_aborted_now(peer, younger_itt);
}

TEST_CASE("deadline: a dead connection ends its commands before the ladder does") {
  auto settings = asking_settings(2);
  settings.nop_interval = kSecond;
  settings.nop_timeout = 3 * kSecond;
  LadderPeer peer(settings);
  Job& job = peer.hang();
  peer.answers_pings = false;
  peer.advance(4 * kSecond);
  CHECK(peer.saw(Kind::lost, describe(ConnectionError::nop_timed_out)));
  CHECK(job.outcome == Outcome::transport_disrupted);
  CHECK_FALSE(job.overdue);
  CHECK(peer.told().empty());
}

TEST_CASE("deadline: while the session is not logged in nobody looks") {
  for (const bool logout : {true, false}) {
    LadderPeer peer;
    Job& job = peer.queue(Direction::none, 0);
    const std::uint32_t itt = peer.take_command(job);
    if (logout) {
      peer.session.teardown(peer.now);
      peer.take(0, Opcode::logout_request);
      CHECK(peer.session.next_deadline() == peer.now + 15 * kSecond);
      peer.now += kCommandTimeout;
      peer.respond(0, itt);  // the logout is not answered yet
      CHECK(job.outcome == Outcome::completed);
      CHECK_FALSE(job.overdue);
    } else {
      peer.auto_connect = false;
      peer.disconnect(0);
      peer.pump();
      CHECK(job.outcome == Outcome::transport_disrupted);
      peer.now += 14 * kSecond;
      peer.connect(0);
      peer.relogin();
      Job& next = peer.hang();
      CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);  // none of the old times
      CHECK_FALSE(next.overdue);
    }
    CHECK(peer.session.counters().commands_timed_out == 0);
  }
}

TEST_CASE("deadline: a command's time begins when it is sent") {
  auto settings = ladder_settings();
  settings.queue_depth = 1;
  LadderPeer peer(settings);
  Job& first = peer.queue(Direction::none, 0);
  const std::uint32_t itt = peer.take_command(first);
  Job& waits = peer.queue(Direction::none, 0);
  peer.advance(15 * kSecond);
  CHECK(peer.silent());
  SUBCASE("its turn comes") {
    peer.respond(0, itt);
    const std::uint32_t second = peer.take_command(waits);
    CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);
    peer.advance(kCommandTimeout - 1);
    CHECK_FALSE(waits.overdue);
    peer.advance(1);
    check_aborted_now(peer, second);
  }
  SUBCASE("it waits behind one that is overdue") {
    peer.advance(5 * kSecond);
    CHECK(peer.told() == Told{"timeout success 1"});
    CHECK_FALSE(waits.overdue);
    peer.answer(peer.tmf(Function::abort_task), Result::complete);
    peer.take_command(waits);
    CHECK(peer.session.next_deadline() == peer.now + kCommandTimeout);
  }
}

TEST_CASE("deadline: commands that a healthy target may be long at work on have longer") {
  for (const int opcode : {0x34, 0x35, 0x41, 0x42, 0x90, 0x91, 0x93, 0x88, 0x8a, 0x00, 0x12}) {
    const bool slow = opcode != 0x88 && opcode != 0x8a && opcode != 0x00 && opcode != 0x12;
    CAPTURE(opcode);
    LadderPeer peer;
    Job& job = peer.jobs.make(Direction::none, 0);
    job.lun = kLun1;
    job.cdb[0] = static_cast<std::uint8_t>(opcode);
    peer.jobs.queue(job);
    peer.take_command(job);
    peer.advance(kCommandTimeout);
    CHECK(peer.told().empty() == slow);
    peer.advance(peer.session.settings().slow_command_timeout - kCommandTimeout);
    if (slow) CHECK_FALSE(peer.told().empty());
  }
}
