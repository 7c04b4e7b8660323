// What happens again and again has longer and longer pauses, and names its cause.
#include <doctest/doctest.h>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using Event = SessionEvent::Kind;

TEST_CASE("storm: sessions that are lost soon after their login come back slower and slower, work or not") {
  for (const bool works : {false, true}) {
    LadderPeer peer;
    int logins = 0;
    const Micros begin = peer.now;
    while (peer.now - begin < 60 * kSecond) {
      if (works) peer.work();
      peer.disconnect(0);
      peer.log_in_again();
      ++logins;
    }
    CHECK(logins < 30);
    // One that lives is a fresh beginning.
    peer.work();
    peer.advance(kSecond);
    peer.disconnect(0);
    CHECK(peer.log_in_again() < 20 * kMillisecond);
  }
}

TEST_CASE("storm: a target that asks for a logout after each login") {
  LadderPeer peer;
  int logins = 0;
  const Micros begin = peer.now;
  while (peer.now - begin < 60 * kSecond) {
    peer.work();
    peer.deliver(0, peer.async_message(0, AsyncEvent::logout_request));
    peer.answer_logout();
    peer.log_in_again();
    ++logins;
  }
  CHECK(logins < 30);
}

TEST_CASE("storm: a target that ends each session soon is asked about a second gateway, in words") {
  LadderPeer peer;
  for (int i = 0; i < 4; ++i) {
    CHECK_FALSE(peer.saw(Event::lost, "is there a second gateway"));
    if (i == 3) break;
    peer.advance(kSecond);
    peer.session.connection(0).on_disconnected("closed by the target", peer.now);
    peer.wire(0).open = false;
    peer.pump();
    if (i < 2) peer.log_in_again();
    if (i == 2) break;
  }
  CHECK(peer.saw(Event::lost, "is there a second gateway"));
  CHECK(peer.saw(Event::lost, peer.session.settings().initiator_name));
}

TEST_CASE("storm: since when a session is there, or is not, does not begin anew with each attempt") {
  LadderPeer peer;
  const Micros up = peer.session.turned_at();
  peer.work();
  peer.advance(kSecond);
  CHECK(peer.session.turned_at() == up);
  peer.session.connection(0).on_disconnected("closed by the target", peer.now);
  peer.wire(0).open = false;
  const Micros down = peer.now;
  CHECK(peer.session.turned_at() == down);
  peer.pump();
  for (int attempt = 0; attempt < 3; ++attempt) {
    while (!peer.wire(0).open) peer.advance(10 * kMillisecond);
    peer.session.connection(0).on_disconnected("refused", peer.now);
    peer.wire(0).open = false;
    peer.pump();
    CHECK(peer.session.turned_at() == down);
  }
  CHECK(peer.session.state() != SessionState::logged_in);
  peer.log_in_again();
  CHECK(peer.session.turned_at() > down);
}

TEST_CASE("reject: a hole in CmdSN that the target waits at ends with a new session") {
  for (const bool counted : {false, true}) {
    CAPTURE(counted);
    LadderPeer peer;
    Job& rejected = peer.queue(Direction::none, 0);
    peer.pump();
    const Pdu pdu = peer.take(0, Opcode::scsi_command);
    const std::uint32_t cmd_sn = pdu.as<ScsiCommandPdu>().cmd_sn;
    if (counted) peer.exp_cmd_sn = cmd_sn + 1;
    peer.reject(pdu, RejectReason::command_not_supported);
    CHECK(rejected.outcome == Outcome::bad_target);
    Job& behind = peer.queue(Direction::none, 0);
    peer.pump();
    peer.take(0, Opcode::scsi_command);
    peer.advance(2 * kSecond);
    CHECK((peer.count(Event::lost) == 1) == !counted);
    CHECK((behind.finished == 1) == !counted);
    if (!counted) CHECK(peer.saw(Event::lost, "rejected a command"));
  }
}

TEST_CASE("reject: a hole that was only late is none") {
  LadderPeer peer;
  Job& rejected = peer.queue(Direction::none, 0);
  peer.pump();
  const Pdu pdu = peer.take(0, Opcode::scsi_command);
  peer.reject(pdu, RejectReason::command_not_supported);
  CHECK(rejected.finished == 1);
  peer.advance(kSecond / 2);
  peer.exp_cmd_sn = pdu.as<ScsiCommandPdu>().cmd_sn + 1;
  peer.acknowledge();
  peer.advance(5 * kSecond);
  CHECK(peer.count(Event::lost) == 0);
}

TEST_CASE("reject: a hole behind one that was none is seen, too") {
  for (const bool at_once : {false, true}) {
    CAPTURE(at_once);
    LadderPeer peer;
    peer.queue(Direction::none, 0);
    peer.queue(Direction::none, 0);
    peer.pump();
    const Pdu first = peer.take(0, Opcode::scsi_command);
    const Pdu second = peer.take(0, Opcode::scsi_command);
    peer.reject(first, RejectReason::command_not_supported);
    if (at_once) {
      peer.exp_cmd_sn = second.as<ScsiCommandPdu>().cmd_sn;
      peer.acknowledge();
    }
    peer.advance(kSecond / 2);
    peer.reject(second, RejectReason::command_not_supported);
    peer.exp_cmd_sn = second.as<ScsiCommandPdu>().cmd_sn;
    peer.acknowledge();
    Job& behind = peer.queue(Direction::none, 0);
    peer.pump();
    peer.take(0, Opcode::scsi_command);
    peer.advance(2 * kSecond);
    CHECK(peer.count(Event::lost) == 1);
    CHECK(peer.saw(Event::lost, "rejected a command"));
    CHECK(behind.finished == 1);
  }
}
