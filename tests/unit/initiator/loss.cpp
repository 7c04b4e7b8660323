// The loss of a connection at every step of a script, and within every step.
#include <doctest/doctest.h>

#include <string>
#include <vector>

#include "tests/unit/initiator/model_target.hpp"

using namespace nbdgw::test;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
namespace proto = nbdgw::proto;

namespace {

struct Cut {
  std::uint16_t cid = 0;
  bool sent = false;  // counted in bytes sent, or received
  std::uint64_t at = ~0ULL;
};

struct Marks {
  std::vector<Cut> steps;
};

/// Login of two connections, reads, writes, an idle spell with pings, logout; with a break of one connection.
Marks run_script(const Cut& cut, bool ends_first) {
  auto settings = default_settings(2);
  settings.queue_depth = 8;
  settings.nop_interval = 5 * kSecond;
  require_digests(settings);
  Peer peer(settings);
  ModelTarget target(peer, 7);
  target.window = 6;
  peer.keys = target.keys(2);
  peer.keys.with_digests();
  peer.jobs.retry = true;
  peer.tx_chunk = peer.rx_chunk = 1500;
  if (cut.at != ~0ULL) (cut.sent ? peer.wire(cut.cid).cut_sent : peer.wire(cut.cid).cut_received) = cut.at;

  peer.session.setup(peer.now);
  for (const std::uint32_t length : {5000U, 0U, 30'000U}) peer.jobs.read(length, 3);
  for (const std::uint32_t length : {512U, 20'000U, 40'000U, 9000U}) peer.jobs.write(length, 3);
  target.run();
  peer.advance(5 * kSecond);
  target.run();
  peer.jobs.read(700);
  peer.jobs.write(17'000);
  target.run();
  for (int i = 0; i < 3; ++i) {  // what a cut during the idle spell has left to do
    peer.advance(3 * kSecond);
    target.run();
  }
  // Everything came back, whatever happened, and came back right; nothing is left behind.
  CHECK(peer.session.state() == SessionState::logged_in);
  CHECK(peer.connection(1).state() == ConnectionState::started);
  for (const auto& job : peer.jobs.all) {
    REQUIRE(job->finished == job->queued);
    CHECK(job->outcome == Outcome::completed);
    CHECK(job->status == 0);
    const Bytes expected = pattern_bytes(job->number, job->data_length);
    CHECK(job->content == expected);
    if (job->direction == Direction::write) CHECK(target.written[job->number] == expected);
  }
  peer.check_nothing_leaked();
  CHECK(peer.session.counters().losses <= 1);
  if (ends_first) return {};

  peer.session.teardown(peer.now);
  peer.pump();
  peer.advance(20 * kSecond);
  CHECK(peer.session.state() == SessionState::terminated);
  peer.check_nothing_leaked();

  Marks marks;
  for (const std::uint16_t cid : kBothConnections) {
    for (const bool sent : {true, false}) {
      std::uint64_t last = 0;
      for (const std::uint64_t at : sent ? peer.wire(cid).sent_marks : peer.wire(cid).received_marks) {
        // Before the PDU, within its header, and in the middle of it.
        if (last > 0) marks.steps.push_back({cid, sent, last});
        marks.steps.push_back({cid, sent, last + 1});
        marks.steps.push_back({cid, sent, last + 20});
        marks.steps.push_back({cid, sent, last + (at - last) / 2});
        last = at;
      }
    }
  }
  return marks;
}

}  // namespace

TEST_CASE("loss: a connection breaks at any step of a script, and everything converges") {
  const Marks marks = run_script({}, false);
  REQUIRE(marks.steps.size() > 200);
  MESSAGE("steps: " << marks.steps.size());
  for (const Cut& cut : marks.steps) {
    CAPTURE(cut.cid);
    CAPTURE(cut.sent);
    CAPTURE(cut.at);
    run_script(cut, false);
  }
}

TEST_CASE("loss: each command finishes once for each time that it was queued, without a retry too") {
  for (int after = 0; after < 40; ++after) {
    Peer peer(default_settings(2));
    ModelTarget target(peer, 3);
    peer.keys = target.keys(2);
    peer.tx_chunk = peer.rx_chunk = 700;
    peer.session.setup(peer.now);
    peer.pump();
    for (int i = 0; i < 20; ++i) i % 2 == 0 ? peer.jobs.read(4000, 2) : peer.jobs.write(30'000, 2);
    for (int i = 0; i < after; ++i) {
      target.act();
      peer.turn();
    }
    peer.auto_connect = false;
    peer.disconnect(after % 2 == 0 ? 0 : 1);
    peer.turn();
    for (const auto& job : peer.jobs.all) {
      if (job->finished == 0) {  // held until the session is there again
        CHECK(job->direction == Direction::write);
        continue;
      }
      REQUIRE(job->finished == 1);  // those not sent yet come back as well
      CHECK((job->outcome == Outcome::completed || job->outcome == Outcome::transport_disrupted));
    }
    CHECK(peer.session.tasks_in_use() == 0);
    peer.auto_connect = true;
    if (!peer.wire(0).open && peer.connection(0).state() == ConnectionState::connecting) peer.connect(0);
    target.run();
    CHECK(peer.session.state() == SessionState::logged_in);
    for (const auto& job : peer.jobs.all) {
      REQUIRE(job->finished == 1);
      CHECK((job->outcome == Outcome::completed || job->outcome == Outcome::transport_disrupted));
    }
    peer.check_nothing_leaked();
  }
}

namespace {

SessionSettings with_pings(proto::Micros interval) {
  auto settings = default_settings(3);
  settings.nop_interval = interval;
  settings.nop_timeout = 5 * kSecond;
  return settings;
}

}  // namespace

TEST_CASE("the connections of a lost session are left, with patience if the target answers") {
  bool pings = true, patient = true, asked = false;
  SUBCASE("it has closed one of them") {}
  SUBCASE("one of them was dropped by hand") {
    asked = true;
  }
  SUBCASE("without pings nobody knows whether it answers") {
    asked = true;
    pings = patient = false;
  }
  SUBCASE("a ping was not answered") {
    asked = true;
    patient = false;
  }
  Peer peer(with_pings(pings ? 5 * kSecond : 0));
  peer.start();
  peer.requests.clear();
  peer.auto_close = false;
  if (!asked) {
    peer.disconnect(1);
  } else if (patient || !pings) {
    REQUIRE(peer.session.drop_connection(1, "for a test", peer.now));
  } else {
    peer.advance(10 * kSecond);
  }
  peer.pump();
  REQUIRE(peer.session.state() == SessionState::failed);
  REQUIRE(peer.requests.size() == (asked ? 3 : 2));
  for (const SocketRequest& request : peer.requests) {
    CHECK(request.kind == SocketRequest::Kind::leave);
    CHECK(request.patient == patient);
  }
  // The next login waits for the last of them.
  peer.requests.clear();
  peer.advance(30 * kSecond);
  for (const std::uint16_t cid : {std::uint16_t{0}, std::uint16_t{1}, std::uint16_t{2}}) {
    CHECK(peer.requests.empty());
    if (peer.wire(cid).open) peer.disconnect(cid);
    peer.pump();
  }
  REQUIRE(peer.requests.size() == 1);
  CHECK(peer.requests[0].kind == SocketRequest::Kind::connect);
}

TEST_CASE("a connection that is given up before full feature phase, or at the end, is closed") {
  Peer peer(with_pings(5 * kSecond));
  SUBCASE("in the login") {
    peer.session.setup(peer.now);
    peer.pump();
    peer.requests.clear();
    peer.auto_close = false;
    peer.advance(20 * kSecond);
    REQUIRE(peer.requests.size() == 1);
  }
  SUBCASE("at the end") {
    peer.start();
    peer.requests.clear();
    peer.auto_close = false;
    peer.session.teardown(peer.now);
    peer.advance(20 * kSecond);  // the Logout is not answered
    REQUIRE(peer.requests.size() == 3);
  }
  for (const SocketRequest& request : peer.requests) CHECK(request.kind == SocketRequest::Kind::close);
}

TEST_CASE("loss: what comes back tells whether we have ended the session ourselves") {
  struct Way {
    const char* what;
    void (*loses)(Peer& peer);
    bool by_us;
  };
  const Way ways[] = {
      {"the target closes", [](Peer& peer) { peer.disconnect(1); }, false},
      {"a ping is not answered", [](Peer& peer) { peer.advance(10 * kSecond); }, false},
      {"a connection dropped by hand", [](Peer& peer) { REQUIRE(peer.session.drop_connection(1, "why", peer.now)); },
       true},
      {"another portal", [](Peer& peer) { REQUIRE(peer.session.leave_portal("why", peer.now)); }, true},
      {"a session reset by hand",
       [](Peer& peer) { REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::session_reset})); }, true},
  };
  // One after the other in each order of two, for what is known of one loss is not of the next.
  for (const Way& first : ways) {
    for (const Way& second : ways) {
      const std::string both = first.what + (", then " + std::string(second.what));
      CAPTURE(both);
      Peer peer(pinging_settings(2));
      peer.keys.solicited_only();  // what a held write needs is the login alone
      peer.start();
      for (const Way* const way : {&first, &second}) {
        Job& read = peer.jobs.simple();
        Job& write = peer.jobs.write(512);  // is held
        peer.pump();
        for (const std::uint16_t cid : kBothConnections) peer.wire(cid).inbox.clear();
        way->loses(peer);
        peer.pump();
        REQUIRE(peer.session.state() != SessionState::logged_in);
        CHECK(read.outcome == Outcome::transport_disrupted);
        CHECK(read.lost_by_us == way->by_us);
        CHECK(write.lost_by_us == way->by_us);
        if (peer.session.counters().losses == 1) peer.relogin();
      }
    }
  }
}
