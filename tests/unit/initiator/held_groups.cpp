// Writes that were under way in one target portal group, when the next session is in another.
#include <doctest/doctest.h>

#include <algorithm>
#include <array>

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
  peer.serve(next);
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
    check_came_back(unknown, Kind::reinstated_and_reset, 2);
  }
  SUBCASE("the end") {
    peer.session.teardown(peer.now);
    peer.answer_logout();
    CHECK(unknown.finished == 1);
    CHECK(unknown.outcome == Outcome::path_lost);
    CHECK_FALSE(unknown.proof.has_value());
    CHECK(peer.session.held_commands() == 0);
  }
}

TEST_CASE("held: an errand into the old group ends its session, and the session that is there now goes on") {
  for (const bool trust : {false, true}) {
    auto settings = ladder_settings();
    if (trust) settings.after_reinstatement = AfterReinstatement::trust;
    Losing peer(settings);
    Job& unknown = peer.sent_write(kLun1, false);
    peer.lose();
    peer.relogin_to("2");
    REQUIRE(peer.errands.size() == 1);
    CHECK(peer.errands[0].tag == 1);
    peer.advance(60 * kSecond);
    CHECK(peer.errands.size() == 1);  // it is still out
    peer.session.errand_over(&peer.errands[0], peer.now);
    peer.pump();
    CHECK(peer.saw(Event::notice, "reinstated on the side"));
    if (trust) {
      check_came_back(unknown, Kind::reinstated_trusted, 1);
    } else {
      CHECK(unknown.finished == 0);
      peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
      check_came_back(unknown, Kind::reinstated_and_reset, 2);
    }
    CHECK(peer.count(Event::lost) == 1);
    peer.advance(60 * kSecond);
    CHECK(peer.errands.size() == 1);
  }
}

TEST_CASE("held: errands that fail are repeated, with growing pauses, for as long as something is held") {
  Losing peer;
  Job& unknown = peer.sent_write(kLun1, false);
  peer.lose();
  peer.relogin_to("2");
  std::vector<nbdgw::proto::Micros> times;
  while (times.size() < 12) {
    REQUIRE(peer.errands.size() == times.size() + 1);
    times.push_back(peer.now);
    peer.session.errand_over(nullptr, peer.now);
    for (int i = 0; i < 400 && peer.errands.size() == times.size(); ++i) peer.advance(100 * kMillisecond);
  }
  CHECK(times[1] - times[0] >= kSecond);
  CHECK(times[1] - times[0] <= 3 * kSecond);
  CHECK(times[11] - times[10] >= 29 * kSecond);
  // The session itself goes back there: the errand that is out does no harm.
  peer.disconnect(0);
  peer.relogin_to("1");
  peer.session.errand_over(&peer.errands[0], peer.now);
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  check_came_back(unknown, Kind::reinstated_and_reset, 1);
  const auto count = peer.errands.size();
  peer.advance(120 * kSecond);
  CHECK(peer.errands.size() == count);
}

TEST_CASE("held: an errand comes back when the session is lost") {
  Losing peer;
  Job& unknown = peer.sent_write(kLun1, false);
  peer.lose();
  peer.relogin_to("2");
  REQUIRE(peer.errands.size() == 1);
  peer.disconnect(0);
  peer.session.errand_over(&peer.errands[0], peer.now);
  CHECK(unknown.finished == 0);
  peer.relogin_to("2");
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  check_came_back(unknown, Kind::reinstated_and_reset, 2);
}

TEST_CASE("held: no errand where nobody could tell where it leads") {
  Losing peer;
  peer.keys.portal_group.clear();
  peer.disconnect(0);
  peer.relogin_to("");
  peer.sent_write(kLun1, false);
  peer.lose();
  peer.advance(kSecond);
  peer.disconnect(0);
  peer.relogin_to("");
  peer.advance(60 * kSecond);
  CHECK(peer.errands.empty());
}

TEST_CASE("errand: a login that leads to another group, or does not say where, ends before its last word") {
  for (const char* group : {"1", "2", ""}) {
    CAPTURE(group);
    auto settings = ladder_settings();
    settings.only_group = 2;
    Peer peer(settings);
    peer.keys.portal_group = group;
    peer.session.setup(peer.now);
    peer.pump();
    bool last_word = false;
    while (peer.wire(0).open && peer.session.connection(0).state() == ConnectionState::login) {
      const Pdu pdu = peer.take(0, Opcode::login_request);
      last_word = last_word || pdu.as<LoginRequest>().next_stage == LoginStage::full_feature;
      peer.answer_login(0, pdu);
      peer.pump();
    }
    CHECK(last_word == (group == std::string("2")));
    CHECK((peer.session.state() == SessionState::logged_in) == last_word);
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

TEST_CASE(
    "held: after a loss the session asks for the address where it was, and other connections for the leading one's") {
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
  peer.serve(aware);
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

TEST_CASE("held: what a process before has left in another group bars its LUN until somebody has logged in there") {
  const PortalGroup there{.tag = 2, .portal = {.host = "192.0.2.9", .port = 3260}, .address = ""};
  Losing peer;
  peer.lose();
  peer.session.suspect(kLun1, std::array{LeftWrites{.group = there}});
  peer.relogin_to("1");
  CHECK(peer.saw(Event::notice, "1 write(s) are held: they were under way in portal group 2"));
  Job& waits = peer.queue(Direction::write, 1000, kLun1);
  peer.serve(peer.queue(Direction::none, 0, kLun2));
  CHECK(waits.finished == 0);
  CHECK(peer.session.suspects(kLun1));
  SUBCASE("an errand has") {
    peer.advance(2 * kSecond);
    REQUIRE(peer.errands.size() == 1);
    CHECK(peer.errands[0].portal == there.portal);
    peer.session.errand_over(&peer.errands[0], peer.now);
    peer.pump();
    CHECK(waits.finished == 0);
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    peer.serve(waits);
    CHECK_FALSE(peer.session.suspects(kLun1));
  }
  SUBCASE("the session has, itself") {
    peer.disconnect(0);
    peer.relogin_to("2");
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    CHECK_FALSE(peer.session.suspects(kLun1));
  }
  SUBCASE("nobody can: it is waited for") {
    peer.advance(121 * kSecond);
    peer.pump();
    CHECK(waits.finished == 0);
    CHECK(peer.session.suspects(kLun1));
  }
}

TEST_CASE("held: a target that is trusted to end the other group's writes bars nothing") {
  auto settings = ladder_settings();
  settings.other_group = OtherGroup::trust;
  Losing peer(settings);
  peer.lose();
  peer.session.suspect(kLun1,
                       std::array{LeftWrites{.group = {.tag = 2, .portal = {.host = "192.0.2.9"}, .address = ""}}});
  peer.relogin_to("1");
  CHECK_FALSE(peer.session.suspects(kLun1));
  peer.serve(peer.queue(Direction::write, 1000, kLun1));
}

TEST_CASE("held: what a session before this one has left is over where it was, and nothing goes to the LUN before") {
  Losing old;
  old.sent_write(kLun1, false);
  SUBCASE("given up while it is there") {}
  SUBCASE("given up when it was lost, and has gone to another group") {
    old.lose();
    old.relogin_to("2");
  }
  old.session.teardown(old.now);
  old.answer_logout();
  const std::vector<LeftWrites> left = old.session.left_writes(kLun1);
  REQUIRE(left.size() == 1);
  CHECK(left[0].group.tag == 1);
  CHECK_FALSE(left[0].acknowledged);
  CHECK(old.session.left_writes(kLun2).empty());

  Losing next;
  next.lose();
  next.relogin_to("2");
  next.session.suspect(kLun1, left);
  Job& waits = next.queue(Direction::none, 0, kLun1);
  next.serve(next.queue(Direction::none, 0, kLun2));
  CHECK(next.silent());
  REQUIRE(next.errands.size() == 1);
  CHECK(next.errands[0].tag == 1);
  SUBCASE("an errand has been there") {
    next.session.errand_over(&next.errands[0], next.now);
    next.pump();
    next.answer(next.tmf(Function::logical_unit_reset), Result::complete);
    next.serve(waits);
  }
  SUBCASE("in a third group") {
    next.disconnect(0);
    next.relogin_to("3");
    CHECK(next.silent());
    CHECK(next.session.suspects(kLun1));
  }
  SUBCASE("it is the next one's to do") {
    next.session.teardown(next.now);
    next.answer_logout();
    REQUIRE(next.session.left_writes(kLun1).size() == 1);
    CHECK(next.session.left_writes(kLun1)[0].group.tag == 1);
  }
}

TEST_CASE("held: of what a session before this one has left and was acknowledged, a reset is enough, anywhere") {
  Losing old;
  old.sent_write(kLun1);
  old.session.teardown(old.now);
  old.answer_logout();
  Losing next;
  next.session.suspect(kLun1, old.session.left_writes(kLun1));
  next.lose();
  next.relogin_to("2");
  next.answer(next.tmf(Function::logical_unit_reset), Result::complete);
  CHECK_FALSE(next.session.suspects(kLun1));
  next.serve(next.queue(Direction::none, 0, kLun1));
}
