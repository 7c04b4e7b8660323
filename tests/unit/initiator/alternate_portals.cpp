// Portals that are tried beside one that does not answer.
#include <doctest/doctest.h>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Kind = SessionEvent::Kind;
using Portals = std::vector<Portal>;

namespace {

const Portal kFirst{"192.0.2.1", 3260};
const Portal kSecondOne{"192.0.2.2", 3261};
const Portal kThird{"192.0.2.3", 3262};

SessionSettings three_portals(std::uint16_t connections = 1) {
  auto settings = default_settings(connections);
  settings.portals = {kFirst, kSecondOne, kThird};
  return settings;
}

}  // namespace

TEST_CASE("alternate portals: the leading connection names the others in their order, the joining ones none") {
  Peer peer(three_portals(2));
  peer.start();
  REQUIRE(peer.requests.size() == 2);
  CHECK(peer.requests[0].portal == kFirst);
  CHECK(peer.requests[0].alternates == Portals{kSecondOne, kThird});
  CHECK(peer.requests[1].portal == kFirst);
  CHECK(peer.requests[1].alternates.empty());
}

TEST_CASE("alternate portals: whoever connects first has the session, and its turn") {
  Peer peer(three_portals(2));
  peer.portal = kSecondOne;
  peer.session.setup(peer.now);
  peer.login(0);
  CHECK(peer.saw(Kind::logged_in, "192.0.2.2:3261"));
  CHECK(peer.connection(0).portal() == kSecondOne);
  CHECK(peer.session.group().portal == kSecondOne);
  peer.login(1);
  CHECK(peer.requests.back().portal == kSecondOne);  // joins where the leading one is
  check_works(peer);
  peer.advance(kSecond);
  peer.portal.reset();
  peer.requests.clear();
  peer.disconnect(0);
  peer.pump();
  for (const SocketRequest& request : peer.requests) {
    if (request.kind != SocketRequest::Kind::connect) continue;
    CHECK(request.portal == kSecondOne);
    CHECK(request.alternates == Portals{kThird, kFirst});
  }
  peer.relogin();
  check_works(peer);
}

TEST_CASE("alternate portals: one whose login fails makes room for the one after it, and is tried beside none") {
  Peer peer(three_portals());
  peer.portal = kSecondOne;
  peer.session.setup(peer.now);
  peer.take(0, Opcode::login_request);
  peer.portal.reset();
  peer.auto_connect = false;
  peer.disconnect(0);
  peer.pump();
  CHECK(peer.saw(Kind::login_failed, "192.0.2.2:3261"));
  CHECK(peer.requests.back().portal == kThird);
  CHECK(peer.requests.back().alternates == Portals{kFirst});
  // One that cannot be reached may be there by then.
  peer.connection(0).on_disconnected("no route to host", peer.now);
  peer.advance(kSecond);
  CHECK(peer.requests.back().portal == kFirst);
  CHECK(peer.requests.back().alternates == Portals{kThird});
  // Its own turn comes all the same, and after a login all are as good as before.
  peer.connection(0).on_disconnected("no route to host", peer.now);
  peer.advance(kSecond);
  CHECK(peer.requests.back().portal == kSecondOne);
  CHECK(peer.requests.back().alternates == Portals{kThird, kFirst});
  peer.auto_connect = true;
  peer.portal = kThird;
  peer.connect(0);
  peer.login(0);
  check_works(peer);
  peer.advance(kSecond);
  peer.portal.reset();
  peer.requests.clear();
  peer.disconnect(0);
  peer.pump();
  REQUIRE(peer.requests.size() == 1);
  CHECK(peer.requests[0].portal == kThird);
  CHECK(peer.requests[0].alternates == Portals{kFirst, kSecondOne});
}

TEST_CASE("alternate portals: none for a redirect, nor where only one group is wanted") {
  Peer peer(three_portals());
  peer.session.setup(peer.now);
  peer.refuse_login(0, LoginStatus::redirect_temporary, {{"TargetAddress", "203.0.113.9:99,1"}});
  CHECK(peer.requests.back().portal == Portal{"203.0.113.9", 99});
  CHECK(peer.requests.back().alternates.empty());
}

TEST_CASE("alternate portals: no TCP connection at all") {
  for (const bool alone : {false, true}) {
    Peer peer(alone ? [] {
      auto settings = default_settings();
      settings.portals = {kFirst};
      return settings;
    }() : three_portals());
    peer.auto_connect = false;
    peer.session.setup(peer.now);
    peer.advance(15 * kSecond);
    CHECK(peer.saw(Kind::login_failed, "no TCP connection came about"));
    CHECK(peer.saw(Kind::login_failed, "to no other portal either") == !alone);
    REQUIRE(peer.requests.back().kind == SocketRequest::Kind::connect);
    CHECK(peer.requests.back().portal == (alone ? kFirst : kSecondOne));
  }
}

TEST_CASE("alternate portals: the first login goes to where a process before has left a session, after a pause") {
  auto settings = three_portals();
  settings.first_portal = kSecondOne;
  settings.first_address = "198.51.100.2";
  settings.first_pause = kSecond;
  Peer peer(settings);
  peer.session.setup(peer.now);
  peer.pump();
  CHECK(peer.requests.empty());
  CHECK(peer.session.state() == SessionState::failed);
  CHECK(peer.session.next_deadline() == peer.now + kSecond);
  peer.advance(kSecond);
  REQUIRE(peer.requests.size() == 1);
  CHECK(peer.requests[0].portal == kSecondOne);
  CHECK(peer.requests[0].address == "198.51.100.2");
  CHECK(peer.requests[0].alternates == Portals{kThird, kFirst});
}

TEST_CASE("alternate portals: one that is configured no more is no place to begin with") {
  auto settings = three_portals();
  settings.first_portal = Portal{"192.0.2.77", 3260};
  settings.first_address = "198.51.100.2";
  Peer peer(settings);
  peer.session.setup(peer.now);
  peer.pump();
  REQUIRE(peer.requests.size() == 1);
  CHECK(peer.requests[0].portal == kFirst);
  CHECK(peer.requests[0].address.empty());
}
