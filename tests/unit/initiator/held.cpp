// What proves, after a session was lost, that its writes cannot land any more; and where they wait until then.
#include <doctest/doctest.h>

#include <algorithm>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Event = SessionEvent::Kind;
using Kind = Proof::Kind;

namespace {

constexpr std::uint64_t kLun3 = 0x0003000000000000ULL;

struct Losing : LadderPeer {
  explicit Losing(SessionSettings settings = ladder_settings()) : LadderPeer(std::move(settings)) {}

  /// With immediate data: all of it is sent.
  Job& sent_write(std::uint64_t lun = kLun1, bool acknowledged = true) {
    Job& job = queue(Direction::write, 1000, lun);
    const auto before = exp_cmd_sn;
    take_command(job);
    if (acknowledged) {
      acknowledge();
    } else {
      exp_cmd_sn = before;
    }
    return job;
  }
  /// The rest was not asked for.
  Job& half_sent_write(std::uint64_t lun = kLun1) {
    Job& job = queue(Direction::write, 60'000, lun);
    take_command(job);
    acknowledge();
    while (!idle(0)) take(0, Opcode::data_out);
    return job;
  }
  void lose() {
    disconnect(0);
    pump();
    told();
  }
  /// Lost, and there again, in this group.
  void relogin_to(const std::string& group) {
    keys.portal_group = group;
    advance(kSecond);
    relogin();
  }
};

void check_came_back(const Job& job, Kind kind, std::int32_t group) {
  REQUIRE(job.finished == 1);
  CHECK(job.outcome == Outcome::transport_disrupted);
  CHECK(job.held_since == ScsiCommand::kNotHeld);
  REQUIRE(job.proof.has_value());
  CHECK(job.proof->kind() == kind);
  CHECK(job.proof->group() == group);
}

}  // namespace

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
  peer.deliver(0, peer.response(0, peer.take_command(goes)));
  CHECK(goes.outcome == Outcome::completed);
  CHECK(peer.silent());
  CHECK(write.finished == 0);
  peer.answer(request, Result::complete);
  check_came_back(write, Kind::reinstated_and_reset, 1);
  CHECK(write.proof->function() == Function::logical_unit_reset);
  CHECK(peer.told() == Told{"lu_reset success 1"});
  CHECK(peer.last_told().cause == "writes were under way when the session was lost");
  CHECK(peer.last_told().proof == "session reinstated in portal group 1, and LOGICAL UNIT RESET completed");
  CHECK_FALSE(peer.saw(Event::unit_reset));  // nobody has done anything there in this session
  peer.deliver(0, peer.response(0, peer.take_command(waits)));
  CHECK(waits.outcome == Outcome::completed);
  CHECK(peer.session.held_commands() == 0);
  peer.check_nothing_leaked();
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
  for (const int opcode : {0x2a, 0x42, 0x41, 0x93, 0x15, 0x55, 0x5f, 0x1b, 0x04, 0x48, 0x53, 0x89, 0x85, 0xa1, 0xc0, 0xff}) {
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
  Job& on_three = peer.queue(Direction::none, 0, kLun3);
  peer.take_command(on_three);
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

TEST_CASE("held: no reset is to be had: the session is dropped again and again, with growing pauses, and nothing comes back") {
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
      peer.deliver(0, peer.response(0, peer.take_command(other)));
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

TEST_CASE("held: in another portal group a reset proves it for what was acknowledged, and for nothing else") {
  Losing peer;
  Job& known = peer.sent_write(kLun1);
  Job& half = peer.half_sent_write(kLun1);
  Job& unknown = peer.sent_write(kLun1, false);
  peer.lose();
  peer.relogin_to("2");
  CHECK(peer.saw(Event::notice, "1 write(s) are held: they were under way in portal group 1"));
  CHECK(known.finished + half.finished + unknown.finished == 0);
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  check_came_back(known, Kind::reset_elsewhere, 2);
  check_came_back(half, Kind::reset_elsewhere, 2);
  CHECK(peer.last_told().proof.find("through portal group 2") != std::string::npos);
  CHECK(unknown.finished == 0);
  // The LUN works on. A later reset there proves no more.
  Job& next = peer.queue(Direction::none, 0);
  peer.deliver(0, peer.response(0, peer.take_command(next)));
  CHECK(next.outcome == Outcome::completed);
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  CHECK(unknown.finished == 0);
  SUBCASE("back in the group that it was in") {
    peer.disconnect(0);
    peer.relogin_to("1");
    CHECK(unknown.finished == 0);
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    check_came_back(unknown, Kind::reinstated_and_reset, 1);
  }
  SUBCASE("in a third") {
    peer.disconnect(0);
    peer.relogin_to("3");
    CHECK(peer.silent());
    CHECK(unknown.finished == 0);
    CHECK(peer.session.held_commands() == 1);
    peer.disconnect(0);
    peer.relogin_to("1");
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    check_came_back(unknown, Kind::reinstated_and_reset, 1);
  }
  SUBCASE("the old group's session is back for a moment: then nothing of it can enter any more") {
    peer.disconnect(0);
    peer.relogin_to("1");
    peer.tmf(Function::logical_unit_reset);
    peer.disconnect(0);
    peer.relogin_to("2");
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    check_came_back(unknown, Kind::reset_elsewhere, 2);
  }
  SUBCASE("the end") {
    peer.session.teardown(peer.now);
    const auto logout = peer.take(0, Opcode::logout_request).as<LogoutRequest>();
    peer.deliver(0, make_pdu(LogoutResponse{.itt = logout.itt, .sequence = peer.status_sequence(0)}));
    CHECK(unknown.finished == 1);
    CHECK(unknown.outcome == Outcome::path_lost);
    CHECK_FALSE(unknown.proof.has_value());
    CHECK(peer.session.held_commands() == 0);
  }
}

TEST_CASE("held: losses in two groups, each command by what its own was") {
  Losing peer;
  Job& first = peer.sent_write(kLun1, false);
  peer.lose();
  peer.relogin_to("2");
  Job& second = peer.sent_write(kLun1, false);
  peer.disconnect(0);
  peer.relogin_to("1");
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  check_came_back(first, Kind::reinstated_and_reset, 1);
  CHECK(second.finished == 0);
  peer.disconnect(0);
  peer.relogin_to("2");
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  check_came_back(second, Kind::reinstated_and_reset, 2);
}

TEST_CASE("held: where another group is trusted, the login is enough") {
  auto settings = ladder_settings();
  settings.other_group = OtherGroup::trust;
  Losing peer(settings);
  Job& unknown = peer.sent_write(kLun1, false);
  peer.lose();
  peer.relogin_to("2");
  check_came_back(unknown, Kind::elsewhere_trusted, 2);
  CHECK(peer.silent());
}

TEST_CASE("held: a target that tells no group is in the same one at the same portal and address only") {
  TargetKeys silent;
  silent.portal_group.clear();
  bool same = true;
  Losing peer;
  peer.keys = silent;
  peer.address = "192.0.2.1:3260";
  peer.disconnect(0);
  peer.relogin_to("");
  Job& write = peer.sent_write(kLun1, false);
  peer.lose();
  SUBCASE("the same") {}
  SUBCASE("the shell does not say where it is") {
    peer.address.clear();
  }
  SUBCASE("another address of the same name") {
    same = false;
    peer.disconnect(0);
    peer.address = "192.0.2.9:3260";
    peer.pump();
  }
  if (!same) {
    // The second portal was next; it fails, too.
    peer.advance(kSecond);
    if (peer.wire(0).portal.port != 3260) {
      peer.disconnect(0);
      peer.advance(kSecond);
    }
  }
  peer.relogin_to("");
  if (same) {
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    check_came_back(write, Kind::reinstated_and_reset, Proof::kNoGroup);
    CHECK(peer.last_told().proof.find("at the same portal") != std::string::npos);
  } else {
    CHECK(peer.silent());
    CHECK(write.finished == 0);
  }
}

TEST_CASE("held: another portal of a target that tells no group is another group") {
  Losing peer;
  peer.keys.portal_group.clear();
  peer.disconnect(0);
  peer.relogin_to("");
  Job& write = peer.sent_write(kLun1, false);
  peer.lose();
  peer.advance(kSecond);
  peer.disconnect(0);  // the login fails: the next portal
  peer.relogin_to("");
  CHECK(peer.wire(0).portal.port == 3261);
  CHECK(peer.silent());
  CHECK(write.finished == 0);
}

TEST_CASE("held: after a loss the session asks for the address where it was, and other connections for the leading one's") {
  Losing peer(ladder_settings(2));
  peer.address = "a";
  peer.disconnect(0);
  peer.relogin_to("1");
  peer.requests.clear();
  peer.disconnect(0);
  peer.advance(kSecond);
  std::vector<std::string> asked;
  const auto connects = [&] {
    asked.clear();
    for (const SocketRequest& request : peer.requests) {
      if (request.kind == SocketRequest::Kind::connect) asked.push_back(request.address);
    }
    peer.requests.clear();
    return asked;
  };
  CHECK(connects() == std::vector<std::string>{"a"});
  peer.relogin();
  CHECK(connects() == std::vector<std::string>{"a"});
  peer.disconnect(0);
  peer.advance(kSecond);
  CHECK(connects() == std::vector<std::string>{"a"});
  peer.disconnect(0);  // the login fails
  peer.advance(kSecond);
  peer.disconnect(0);
  peer.advance(kSecond);
  CHECK(connects() == std::vector<std::string>{"", ""});
}

TEST_CASE("held: a connection that joins must lead to the session's portal group") {
  Losing peer(ladder_settings(2));
  peer.disconnect(0);
  peer.advance(kSecond);
  peer.keys.portal_group = "1";
  peer.login(0);
  peer.keys.portal_group = "7";
  while (peer.wire(1).open && peer.session.connection(1).state() == ConnectionState::login) {
    peer.answer_login(1, peer.take(1, Opcode::login_request));
    peer.pump();
  }
  CHECK(peer.session.connection(1).state() == ConnectionState::free);
  CHECK(peer.saw(Event::notice, "it leads to portal group 7, the session is in portal group 1"));
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.keys.portal_group = "1";
  peer.advance(3 * kSecond);  // it is tried again
  peer.login(1);
  CHECK(peer.session.connection(1).state() == ConnectionState::started);
}

TEST_CASE("held: what is queued before the loss was told comes back with it") {
  Losing peer;
  peer.disconnect(0);
  Job& unaware = peer.queue(Direction::none, 0);
  peer.pump();
  check_came_back(unaware, Kind::never_sent, Proof::kNoGroup);
  Job& aware = peer.queue(Direction::none, 0);
  peer.relogin();
  CHECK(aware.finished == 0);
  peer.deliver(0, peer.response(0, peer.take_command(aware)));
  CHECK(aware.outcome == Outcome::completed);
}

TEST_CASE("held: each kind of proof has a name and words of its own") {
  std::vector<std::string> names;
  for (int kind = 0; kind <= static_cast<int>(Kind::elsewhere_trusted); ++kind) {
    const std::string name = to_string(static_cast<Kind>(kind));
    CHECK(name != "?");
    CHECK(std::count(names.begin(), names.end(), name) == 0);
    names.push_back(name);
  }
}
