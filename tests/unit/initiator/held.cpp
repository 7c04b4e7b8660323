// What proves, after a session was lost, that its writes cannot land any more; and where they wait until then.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/unit/initiator/losing.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Event = SessionEvent::Kind;
using Kind = Proof::Kind;

TEST_CASE("held: a write that may be inside SCSI waits for a reset of its LUN in the new session, which goes first") {
  Losing peer;
  Job& write = peer.sent_write();
  const auto at = peer.now;
  peer.lose();
  CHECK(write.finished == 0);
  CHECK(write.held_since == at);
  CHECK(peer.session.held_commands() == 1);
  peer.relogin();
  CHECK(peer.told() == Told{"relogin success 1"});
  CHECK(peer.last_told().proof.empty());
  const auto request = peer.tmf(Function::logical_unit_reset);
  CHECK(request.lun == kLun1);
  Job& waits = peer.queue(Direction::none, 0, kLun1);
  Job& goes = peer.queue(Direction::none, 0, kLun2);
  peer.serve(goes);
  CHECK(goes.outcome == Outcome::completed);
  CHECK(peer.silent());
  CHECK(write.finished == 0);
  peer.answer(request, Result::complete);
  check_came_back(write, Kind::reinstated_and_reset, 1);
  CHECK(write.proof->function() == Function::logical_unit_reset);
  CHECK(peer.told() == Told{"lu_reset success 1"});
  CHECK(peer.last_told().cause == "writes were under way when the session was lost");
  CHECK(peer.last_told().proof == "session reinstated in portal group 1, and LOGICAL UNIT RESET completed");
  CHECK(peer.saw(Event::unit_reset));  // what it raises there is ours, and no loss of power
  peer.serve(waits);
  CHECK(waits.outcome == Outcome::completed);
  CHECK(peer.session.held_commands() == 0);
  peer.check_nothing_leaked();
}

TEST_CASE("held: no connection joins before what is to be reset was, and then at once; a refused reset is one, too") {
  Losing peer(ladder_settings(2));
  peer.sent_write(kLun1);
  peer.take_command(peer.queue(Direction::write, 1000, kLun2), 1);
  peer.acknowledge();
  peer.lose();
  peer.advance(kSecond);
  peer.login(0);
  const auto nobody_joins = [&] {
    peer.advance(100 * kMillisecond);
    return !peer.wire(1).open && peer.session.connection(1).state() == ConnectionState::free;
  };
  const auto first = peer.tmf(Function::logical_unit_reset);
  CHECK(nobody_joins());
  peer.answer(first, Result::complete);
  const auto second = peer.tmf(Function::logical_unit_reset);
  CHECK(nobody_joins());
  peer.answer(second, Result::not_supported);
  const auto harder = peer.tmf(Function::target_warm_reset);
  CHECK(nobody_joins());
  peer.answer(harder, Result::complete);
  CHECK(peer.session.held_commands() == 0);
  peer.login(1);
  CHECK(peer.session.connection(1).state() == ConnectionState::started);
}

TEST_CASE("held: a write that the target cannot have had in full comes back with the login") {
  Losing peer;
  Job& write = peer.half_sent_write();
  peer.lose();
  CHECK(write.finished == 0);
  peer.relogin();
  check_came_back(write, Kind::reinstated, 1);
  CHECK(peer.told() == Told{"relogin success 1"});
  CHECK(peer.last_told().proof == "session reinstated in portal group 1, before all data was sent");
  CHECK(peer.silent());
  check_works(peer);
}

TEST_CASE("held: data that is in the send queue still, or half out of it, was not all sent") {
  for (const std::size_t sent : {std::size_t{0}, std::size_t{48}, std::size_t{1000}}) {
    CAPTURE(sent);
    Losing peer;
    peer.wire(0).takes = false;
    Job& write = peer.queue(Direction::write, 1000);
    peer.pump();
    if (sent > 0) {
      peer.wire(0).takes = true;
      peer.tx_chunk = sent;
      REQUIRE(peer.transmit(0));
      peer.wire(0).takes = false;
      peer.tx_chunk = 1 << 16;
    }
    peer.lose();
    peer.wire(0).takes = true;
    if (sent == 0) {
      check_came_back(write, Kind::never_sent, Proof::kNoGroup);
    } else {
      CHECK(write.finished == 0);
    }
    peer.relogin();
    if (sent > 0) check_came_back(write, Kind::reinstated, 1);
    CHECK(peer.silent());
  }
}

TEST_CASE("held: what writes nothing comes back at once, and nothing is reset for it") {
  Losing peer;
  Job* jobs[] = {&peer.queue(Direction::read, 1000), &peer.queue(Direction::none, 0),
                 &peer.queue(Direction::none, 0)};
  jobs[2]->cdb[0] = 0x35;  // SYNCHRONIZE CACHE(10)
  for (Job* job : jobs) peer.take_command(*job);
  peer.acknowledge();
  peer.wire(0).takes = false;
  Job& unsent = peer.queue(Direction::write, 1000);
  peer.pump();
  peer.lose();
  for (const Job* job : jobs) check_came_back(*job, Kind::harmless, Proof::kNoGroup);
  check_came_back(unsent, Kind::never_sent, Proof::kNoGroup);
  CHECK(peer.session.held_commands() == 0);
  peer.wire(0).takes = true;
  peer.relogin();
  CHECK(peer.silent());
  check_works(peer);
}

TEST_CASE("held: which commands write nothing") {
  ScsiCommand command;
  command.cdb_length = 16;
  const auto harmless = [&](std::uint8_t opcode, Direction direction) {
    command.cdb[0] = opcode;
    command.direction = direction;
    return writes_nothing(command);
  };
  for (const int opcode : {0x00, 0x35, 0x91, 0x34, 0x90}) {
    CHECK(harmless(static_cast<std::uint8_t>(opcode), Direction::none));
    CHECK_FALSE(harmless(static_cast<std::uint8_t>(opcode), Direction::write));
  }
  for (const int opcode : {0x03, 0x08, 0x12, 0x1a, 0x25, 0x28, 0x5a, 0x5e, 0x88, 0x9e, 0xa0, 0xa3, 0xa8}) {
    CHECK(harmless(static_cast<std::uint8_t>(opcode), Direction::read));
  }
  // UNMAP, WRITE SAME, MODE SELECT, PERSISTENT RESERVE OUT, START STOP UNIT, FORMAT UNIT, SANITIZE, XDWRITEREAD,
  // COMPARE AND WRITE, ATA PASS-THROUGH, and whatever a vendor thinks of: with data or without.
  for (const int opcode :
       {0x2a, 0x42, 0x41, 0x93, 0x15, 0x55, 0x5f, 0x1b, 0x04, 0x48, 0x53, 0x89, 0x85, 0xa1, 0xc0, 0xff}) {
    for (const auto direction : {Direction::none, Direction::read, Direction::write}) {
      CHECK_FALSE(harmless(static_cast<std::uint8_t>(opcode), direction));
    }
  }
}

TEST_CASE("held: several LUNs are reset one after the other, each before anything else goes there") {
  Losing peer;
  Job* writes[] = {&peer.sent_write(kLun1), &peer.sent_write(kLun2), &peer.sent_write(kLun1)};
  Job& half = peer.half_sent_write(kLun3);
  peer.lose();
  peer.relogin();
  CHECK(half.finished == 1);
  auto request = peer.tmf(Function::logical_unit_reset);
  CHECK(request.lun == kLun1);
  Job& on_two = peer.queue(Direction::none, 0, kLun2);
  peer.hang(kLun3);
  CHECK(peer.silent());
  peer.answer(request, Result::complete);
  check_came_back(*writes[0], Kind::reinstated_and_reset, 1);
  check_came_back(*writes[2], Kind::reinstated_and_reset, 1);
  CHECK(writes[1]->finished == 0);
  request = peer.tmf(Function::logical_unit_reset);
  CHECK(request.lun == kLun2);
  CHECK(peer.silent());
  peer.answer(request, Result::complete);
  check_came_back(*writes[1], Kind::reinstated_and_reset, 1);
  peer.take_command(on_two);
  CHECK(peer.told() == Told{"relogin success 4", "lu_reset success 2", "lu_reset success 1"});
}

TEST_CASE("held: the LUN that may be slow is reset last, so that the others do not wait for it") {
  Losing peer;
  Job& slow = peer.sent_write(kLun1);
  peer.advance(10 * kMillisecond);
  Job& quick = peer.sent_write(kLun2);
  peer.advance(kMillisecond);
  peer.sent_write(kLun1);
  peer.sent_write(kLun3);
  peer.lose();
  peer.relogin();
  for (const std::uint64_t lun : {kLun3, kLun2}) {
    const auto request = peer.tmf(Function::logical_unit_reset);
    CHECK(request.lun == lun);
    peer.answer(request, Result::complete);
  }
  check_came_back(quick, Kind::reinstated_and_reset, 1);
  CHECK(slow.finished == 0);
  const auto request = peer.tmf(Function::logical_unit_reset);
  CHECK(request.lun == kLun1);
  peer.answer(request, Result::complete);
  check_came_back(slow, Kind::reinstated_and_reset, 1);
}

TEST_CASE("held: the reset is refused, and the target's is not") {
  Losing peer;
  Job& one = peer.sent_write(kLun1);
  Job& two = peer.sent_write(kLun2);
  peer.lose();
  peer.relogin();
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::not_supported);
  CHECK(one.finished == 0);
  peer.answer(peer.tmf(Function::target_warm_reset), Result::complete);
  check_came_back(one, Kind::reinstated_and_reset, 1);
  check_came_back(two, Kind::reinstated_and_reset, 1);
  CHECK(two.proof->function() == Function::target_warm_reset);
  CHECK(peer.saw(Event::unit_reset));
  CHECK(peer.told() == Told{"relogin success 2", "lu_reset refused 0", "target_warm_reset success 2"});
  CHECK(peer.silent());
}

TEST_CASE(
    "held: no reset is to be had: the session is dropped again and again, with growing pauses, and nothing comes "
    "back") {
  for (const bool times_out : {false, true}) {
    CAPTURE(times_out);
    Losing peer;
    Job& write = peer.sent_write();
    peer.lose();
    nbdgw::proto::Micros pause = 0;
    for (int round = 0; round < 5; ++round) {
      CAPTURE(round);
      peer.relogin();
      peer.told();
      // Another LUN works meanwhile: that is no progress where it matters.
      const auto request = peer.tmf(Function::logical_unit_reset);
      Job& other = peer.queue(Direction::none, 0, kLun2);
      peer.serve(other);
      CHECK(other.outcome == Outcome::completed);
      if (times_out) {
        peer.advance(kLuResetTimeout);
        CHECK(peer.told() == Told{"lu_reset timed_out 0", "session_reset success 0"});
      } else {
        peer.answer(request, Result::not_supported);
        peer.answer(peer.tmf(Function::target_warm_reset), Result::rejected);
        CHECK(peer.told() == Told{"lu_reset refused 0", "target_warm_reset refused 0", "session_reset success 0"});
      }
      CHECK(write.finished == 0);
      const auto next = peer.session.next_deadline() - peer.now;
      CHECK(next > pause);
      pause = next;
      peer.advance(next);
    }
    CHECK(pause > 300 * kMillisecond);
    peer.relogin();
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    check_came_back(write, Kind::reinstated_and_reset, 1);
  }
}

TEST_CASE("held: the session is lost during the reset") {
  Losing peer;
  Job& write = peer.sent_write();
  peer.lose();
  peer.relogin();
  peer.tmf(Function::logical_unit_reset);
  Job& more = peer.half_sent_write(kLun2);
  peer.disconnect(0);
  CHECK(peer.told() == Told{"relogin success 1", "lu_reset failed 0"});
  peer.relogin_to("1");
  CHECK(write.finished == 0);
  check_came_back(more, Kind::reinstated, 1);
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  check_came_back(write, Kind::reinstated_and_reset, 1);
}

TEST_CASE("held: where the login is trusted, nothing is reset") {
  auto settings = ladder_settings();
  settings.after_reinstatement = AfterReinstatement::trust;
  Losing peer(settings);
  Job& write = peer.sent_write();
  peer.lose();
  CHECK(write.finished == 0);
  peer.relogin();
  check_came_back(write, Kind::reinstated_trusted, 1);
  CHECK(peer.told() == Told{"relogin success 1"});
  CHECK(peer.last_told().proof.find("trusted") != std::string::npos);
  CHECK(peer.silent());
}

TEST_CASE("held: where a process before this one may have left writes, the LUN is reset before anything goes there") {
  Losing peer;
  peer.session.suspect(kLun1, {});
  peer.session.suspect(kLun1, {});
  CHECK(peer.session.held_commands() == 1);
  CHECK(peer.session.suspects(kLun1));
  CHECK_FALSE(peer.session.suspects(kLun2));
  peer.pump();
  auto request = peer.tmf(Function::logical_unit_reset);
  CHECK(request.lun == kLun1);
  Job& waits = peer.queue(Direction::none, 0, kLun1);
  peer.serve(peer.queue(Direction::none, 0, kLun2));
  CHECK(waits.finished == 0);
  CHECK(peer.silent());
  SUBCASE("it is") {
    peer.answer(request, Result::complete);
    peer.serve(waits);
  }
  SUBCASE("the session is lost before that: by the next one, in any group") {
    for (const char* group : {"1", "2"}) {
      CAPTURE(group);
      peer.lose();
      peer.relogin_to(group);
      request = peer.tmf(Function::logical_unit_reset);
      CHECK(request.lun == kLun1);
    }
    peer.answer(request, Result::complete);
  }
  SUBCASE("the gateway ends before that: it is for the next process to do") {
    peer.session.teardown(peer.now);
    peer.pump();
    peer.disconnect(0);
    peer.pump();
    CHECK(peer.session.suspects(kLun1));
    return;
  }
  CHECK_FALSE(peer.session.suspects(kLun1));
  CHECK(peer.session.held_commands() == 0);
}
