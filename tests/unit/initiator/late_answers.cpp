// What a target says to tasks that the ladder has ended, in each order.
#include <doctest/doctest.h>

#include <functional>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

namespace {

TargetKeys keys_with(bool digests) {
  TargetKeys keys;
  keys.solicited_only();
  return digests ? keys.with_digests() : keys;
}

SessionSettings settings_with(bool digests) {
  auto settings = asking_settings(2);
  if (digests) require_digests(settings);
  return settings;
}

/// On each of two connections a read and a write that hang; then the LUN is reset, over connection 0, and the tasks
/// are handed back.
struct AfterReset : LadderPeer {
  explicit AfterReset(bool digests = false) : LadderPeer(settings_with(digests), keys_with(digests)) {
    for (const Direction direction : {Direction::read, Direction::write}) {
      for (const std::uint16_t cid : kBothConnections) {
        jobs_there.push_back(&queue(direction, 200'000));
        (direction == Direction::read ? read : write)[cid] = take_command(*jobs_there.back(), cid);
      }
    }
    acknowledge();
    REQUIRE(session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
    answer(tmf(Function::logical_unit_reset), Result::complete);
    for (const Job* job : jobs_there) REQUIRE(job->outcome == Outcome::aborted);
    REQUIRE(told() == Told{"lu_reset success 4"});
    REQUIRE(session.tasks_in_use() == 0);
  }

  std::vector<Job*> jobs_there;
  std::uint32_t read[2] = {};
  std::uint32_t write[2] = {};
};

struct Late {
  const char* name;
  bool has_status;
  std::function<Pdu(AfterReset&, std::uint16_t cid)> pdu;
};

Pdu with_status(AfterReset& s, std::uint16_t cid, Bytes data) {
  auto header = s.data_in(cid, s.read[cid], 0, 0, {}, true).as<DataIn>();
  header.has_status = true;
  header.sequence = s.status_sequence(cid);
  return make_pdu(header, std::move(data));
}

const Late kLate[] = {
    {"response to a read", true, [](AfterReset& s, std::uint16_t cid) { return s.response(cid, s.read[cid]); }},
    {"response to a write", true, [](AfterReset& s, std::uint16_t cid) { return s.response(cid, s.write[cid]); }},
    {"task aborted", true, [](AfterReset& s, std::uint16_t cid) { return s.response(cid, s.write[cid], 0x40); }},
    {"response with sense", true,
     [](AfterReset& s, std::uint16_t cid) {
       return s.response(cid, s.read[cid], 2, {0, 2, 0x70, 0});
     }},
    {"R2T", false, [](AfterReset& s, std::uint16_t cid) { return s.r2t(cid, s.write[cid], 0, 0, 50'000, 7); }},
    {"Data-In", false,
     [](AfterReset& s, std::uint16_t cid) { return s.data_in(cid, s.read[cid], 0, 0, Bytes(1001), false); }},
    {"Data-In without data", false,
     [](AfterReset& s, std::uint16_t cid) { return s.data_in(cid, s.read[cid], 0, 0, {}, false); }},
    {"long Data-In", false,
     [](AfterReset& s, std::uint16_t cid) { return s.data_in(cid, s.read[cid], 0, 0, Bytes(150'003), false); }},
    {"Data-In with status", true,
     [](AfterReset& s, std::uint16_t cid) { return with_status(s, cid, Bytes(30'000)); }},
    {"status in a Data-In without data", true,
     [](AfterReset& s, std::uint16_t cid) { return with_status(s, cid, {}); }},
};

}  // namespace

TEST_CASE("late answers: ignored and counted, on each connection, in pieces of any size") {
  for (const Late& late : kLate) {
    for (const bool digests : {false, true}) {
      for (const std::size_t chunk : {std::size_t{1} << 16, std::size_t{1500}, std::size_t{1}}) {
        for (const std::uint16_t cid : kBothConnections) {
          const std::string name = late.name;
          CAPTURE(name);
          CAPTURE(digests);
          CAPTURE(chunk);
          CAPTURE(cid);
          AfterReset peer(digests);
          const std::uint32_t before = peer.wire(cid).stat_sn;
          const Pdu pdu = late.pdu(peer, cid);
          // Byte by byte only what is short: each piece is a turn of the session.
          peer.rx_chunk = chunk == 1 && pdu.data.size() > 20'000 ? 61 : chunk;
          peer.deliver(cid, pdu);
          CHECK(peer.session.counters().late_answers == 1);
          CHECK(peer.session.state() == SessionState::logged_in);
          CHECK(peer.silent());  // no Data-Out for the R2T above all
          // Its StatSN counts: the next answer is in sequence, and acknowledges it.
          CHECK(peer.wire(cid).stat_sn == before + (late.has_status ? 1 : 0));
          peer.deliver(cid, peer.ping(cid, 1));
          CHECK(peer.take(cid, Opcode::nop_out).as<NopOut>().exp_stat_sn == peer.wire(cid).stat_sn);
          Job& job = peer.queue(Direction::none, 0);
          peer.pump();
          const std::uint16_t to = peer.idle(0) ? 1 : 0;
          peer.serve(job, to);
          CHECK(job.outcome == Outcome::completed);
          CHECK(peer.session.counters().losses == 0);
          peer.check_nothing_leaked();
        }
      }
    }
  }
}

TEST_CASE("late answers: all of them, one after the other, and the window moves with them") {
  AfterReset peer;
  peer.deliver(0, peer.data_in(0, peer.read[0], 0, 0, Bytes(5000), false));
  peer.deliver(0, peer.data_in(0, peer.read[0], 1, 5000, Bytes(5000), true));
  peer.deliver(0, peer.r2t(0, peer.write[0], 0, 0, 1000, 1));
  peer.deliver(0, peer.r2t(0, peer.write[0], 1, 1000, 1000, 2));
  peer.window = 1000;
  peer.respond(0, peer.read[0]);
  peer.respond(0, peer.write[0]);
  CHECK(peer.session.counters().late_answers == 6);
  for (int i = 0; i < 30; ++i) peer.queue(Direction::none, 0);
  peer.pump();
  CHECK(peer.wire(0).inbox.size() + peer.wire(1).inbox.size() == 30);
  CHECK(peer.session.counters().losses == 0);
}

TEST_CASE("late answers: a status that comes twice, or is followed by more, costs the connection") {
  for (const int again : {0, 1, 2}) {
    CAPTURE(again);
    AfterReset peer;
    const std::uint32_t itt = again == 2 ? peer.write[1] : peer.read[1];
    peer.respond(1, itt);
    REQUIRE(peer.session.state() == SessionState::logged_in);
    peer.deliver(1, again == 0   ? peer.response(1, itt)
                    : again == 1 ? peer.data_in(1, itt, 0, 0, Bytes(10), true)
                                 : peer.r2t(1, itt, 0, 0, 1000, 9));
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::bad_itt)));
    peer.relogin();
    check_works(peer);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("late answers: a status out of sequence costs the connection all the same") {
  AfterReset peer;
  peer.status_sequence(0);
  peer.respond(0, peer.read[0]);
  CHECK(peer.saw(Kind::lost, describe(ConnectionError::stat_sn)));
}

TEST_CASE("late answers: to an earlier incarnation they cost the connection") {
  for (const Late& late : kLate) {
    const std::string name = late.name;
    CAPTURE(name);
    AfterReset peer;
    peer.disconnect(1);
    peer.relogin();
    peer.deliver(0, late.pdu(peer, 0));
    CHECK(peer.saw(Kind::lost, describe(ConnectionError::bad_itt)));
    CHECK(peer.session.counters().late_answers == 0);
    peer.advance(kSecond);  // a login without any success since the last one waits a little
    peer.relogin();
    peer.check_nothing_leaked();
  }
}

TEST_CASE("late answers: a Data-In that is half there holds up a reset that goes another way") {
  for (const bool digests : {false, true}) {
    for (const std::size_t first : {std::size_t{10}, std::size_t{60}, std::size_t{4000}, std::size_t{9990}}) {
      CAPTURE(first);
      LadderPeer peer(settings_with(digests), keys_with(digests));
      Job& job = peer.queue(Direction::read, 200'000);
      const std::uint32_t itt = peer.take_command(job);
      Job& other = peer.queue(Direction::read, 10, kLun2);
      const std::uint32_t other_itt = peer.take_command(other, 1);
      peer.acknowledge(1);
      // Part of a PDU is there when the reset over the other connection succeeds.
      Bytes bytes = to_bytes(peer.data_in(0, itt, 0, 0, Bytes(10'000, 7), false), digests, digests);
      peer.send_bytes(0, std::span(bytes).first(first));
      peer.pump();
      peer.deliver(1, peer.data_in(1, other_itt, 0, 0, Bytes(4), false));  // heard last
      peer.now += 1;
      peer.acknowledge(1);
      peer.answers_pings = false;
      REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
      CHECK(peer.silent());  // what answers the ping comes behind the rest of it
      peer.send_bytes(0, std::span(bytes).subspan(first));
      peer.answer_pings();
      peer.answer(peer.tmf(Function::logical_unit_reset, 1), Result::complete, 1);
      CHECK(job.outcome == Outcome::aborted);
      CHECK(job.finished == 1);
      peer.deliver(0, peer.data_in(0, itt, 1, 10'000, Bytes(100), false));
      CHECK(peer.session.counters().late_answers == 1);
      peer.respond(0, itt);
      CHECK(peer.session.counters().late_answers == 2);
      peer.deliver(1, peer.data_in(1, other_itt, 1, 4, Bytes(6), true));
      peer.respond(1, other_itt);
      CHECK(other.outcome == Outcome::completed);
      CHECK(peer.session.counters().losses == 0);
      peer.check_nothing_leaked();
    }
  }
}

TEST_CASE("late answers: a Reject of data that was on its way to an ended task") {
  LadderPeer peer(ladder_settings(2), keys_with(false));
  Job& job = peer.queue(Direction::write, 200'000);
  const std::uint32_t itt = peer.take_command(job);
  peer.deliver(0, peer.r2t(0, itt, 0, 0, 5000, 3));
  const Pdu data = peer.take(0, Opcode::data_out);
  peer.overdue();
  const auto request = peer.tmf(Function::abort_task);
  SUBCASE("after the function's answer") {
    peer.answer(request, Result::complete);
    peer.reject(data, RejectReason::invalid_pdu_field);
  }
  SUBCASE("in one piece with it") {
    peer.send(0, make_pdu(TaskManagementResponse{.itt = request.itt, .sequence = peer.status_sequence(0)}));
    peer.reject(data, RejectReason::invalid_pdu_field);
  }
  SUBCASE("before it") {
    peer.reject(data, RejectReason::invalid_pdu_field);
    peer.answer(request, Result::complete);
  }
  CHECK(job.outcome == Outcome::aborted);
  CHECK(peer.session.counters().late_answers == 1);
  CHECK(peer.session.counters().losses == 0);
  peer.check_nothing_leaked();
}
