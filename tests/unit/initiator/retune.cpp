// What changes of a session while it lives, and what becomes of one that is not wanted any more.
#include <doctest/doctest.h>

#include "gateway/initiator/host.hpp"
#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;

TEST_CASE("retune: a command under way keeps its deadline, later ones get the new one") {
  LadderPeer peer;
  Job& job = peer.queue(Direction::none, 0);
  const auto sent_at = peer.now;
  peer.take_command(job);
  SessionSettings settings = ladder_settings();
  settings.command_timeout = kCommandTimeout / 2;
  peer.session.retune(settings);
  CHECK(peer.session.next_deadline() == sent_at + kCommandTimeout);
  peer.hang();
  CHECK(peer.session.next_deadline() == sent_at + kCommandTimeout / 2);
}

TEST_CASE("retune: pings begin and end as configured") {
  LadderPeer peer;
  CHECK(peer.session.next_deadline() == kNever);
  SessionSettings settings = ladder_settings();
  settings.nop_interval = 5 * kSecond;
  settings.nop_timeout = 5 * kSecond;
  peer.session.retune(settings);
  peer.advance(12 * kSecond);
  CHECK(peer.pings == 2);
  settings.nop_interval = 0;
  peer.session.retune(settings);
  CHECK(peer.session.next_deadline() == kNever);
}

TEST_CASE("retune: more tasks are there at once, fewer are not taken away") {
  SessionSettings settings = ladder_settings();
  settings.queue_depth = 2;
  LadderPeer peer(settings);
  Job* jobs[4];
  for (Job*& job : jobs) job = &peer.queue(Direction::none, 0);
  peer.pump();
  peer.take_command(*jobs[0]);
  peer.take_command(*jobs[1]);
  CHECK(peer.silent());
  settings.queue_depth = 4;
  peer.session.retune(settings);
  peer.pump();
  peer.take_command(*jobs[2]);
  peer.take_command(*jobs[3]);
  settings.queue_depth = 1;
  peer.session.retune(settings);
  CHECK(peer.session.settings().queue_depth == 4);
}

TEST_CASE("retune: another secret costs no session, and is there for the next login") {
  SessionSettings settings = ladder_settings();
  settings.chap.secret = "the first secret";
  LadderPeer peer(settings);
  settings.chap.secret = "another secret";
  settings.chap.mutual_secret = "a third one";
  peer.session.retune(settings);
  CHECK(peer.session.state() == SessionState::logged_in);
  CHECK(peer.session.counters().losses == 0);
  CHECK(peer.session.settings().chap.secret == "another secret");
  CHECK(peer.session.settings().chap.mutual_secret == "a third one");
}

TEST_CASE("retune: what a session is logged in with stays") {
  LadderPeer peer;
  SessionSettings settings = ladder_settings();
  settings.target_name = "iqn.2026-11.io.nbdgw:another";
  settings.label = "another";
  settings.portals = {{"192.0.2.9", 3260}};
  const SessionSettings before = peer.session.settings();
  peer.session.retune(settings);
  CHECK(peer.session.settings().target_name == before.target_name);
  CHECK(peer.session.settings().label == before.label);
  CHECK(peer.session.settings().portals == before.portals);
}

TEST_CASE("host: a session that is terminated can go, and the others stay") {
  SeededSource random(1);
  Host host("iqn.2026-11.io.nbdgw:test", random);
  SessionSettings settings = default_settings();
  Session& first = host.add(settings, 1, 0);
  Session& second = host.add(settings, 2, 0);
  first.teardown(0);
  SocketRequest request;
  while (first.next_socket_request(request)) {
    if (request.kind == SocketRequest::Kind::close) first.connection(request.connection).on_disconnected("closed", 0);
  }
  REQUIRE(first.state() == SessionState::terminated);
  host.erase(first);
  REQUIRE(host.session_count() == 1);
  CHECK(&host.session(0) == &second);
  CHECK_FALSE(host.removed());
}
