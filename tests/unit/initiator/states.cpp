// Every public call in every state of session and connection: each cell is decided, and the session converges after
// it.
#include <doctest/doctest.h>

#include <array>
#include <functional>
#include <utility>

#include "tests/unit/initiator/model_target.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kNever;
using nbdgw::proto::kSecond;

namespace {

/// Bytes that no target may send, if the connection takes any.
void garbage(Peer& peer, std::uint16_t cid) {
  std::array<iovec, 4> pieces;
  if (peer.connection(cid).rx_buffers(pieces) > 0) {
    REQUIRE(pieces[0].iov_len >= 48);
    std::fill_n(static_cast<std::uint8_t*>(pieces[0].iov_base), 48, std::uint8_t{0});
  }
  peer.connection(cid).on_received(48, peer.now);
}

/// One header's worth of what is queued is taken by the socket; or the shell says so of a queue that is gone.
void sent(Peer& peer, std::uint16_t cid) {
  const bool takes = std::exchange(peer.wire(cid).takes, true);
  const std::size_t chunk = std::exchange(peer.tx_chunk, 48);
  if (!peer.transmit(cid)) peer.connection(cid).on_sent(peer.connection(cid).wants_rx() ? 0 : 48, peer.now);
  peer.wire(cid).takes = takes;
  peer.tx_chunk = chunk;
}

enum Event : std::size_t {
  kTeardown,
  kQueue,
  kDeliver,
  kTransmit,
  kDeadline,
  kConnected0,
  kDisconnected0,
  kGarbage0,
  kSent0,
  kConnected1,
  kDisconnected1,
  kGarbage1,
  kSent1,
  kEvents
};

void apply(Peer& peer, Event event) {
  switch (event) {
    case kTeardown:
      return peer.session.teardown(peer.now);
    case kQueue:
      peer.jobs.simple();
      return;
    case kDeliver:
      return peer.session.deliver(peer.now);
    case kTransmit:
      peer.session.data_xmit(peer.now);
      return;
    case kDeadline:
      return peer.session.on_deadline(peer.now);
    case kConnected0:
      return peer.connection(0).on_connected(peer.now);
    case kDisconnected0:
      peer.wire(0).open = false;
      return peer.connection(0).on_disconnected("reset", peer.now);
    case kGarbage0:
      return garbage(peer, 0);
    case kSent0:
      return sent(peer, 0);
    case kConnected1:
      return peer.connection(1).on_connected(peer.now);
    case kDisconnected1:
      peer.wire(1).open = false;
      return peer.connection(1).on_disconnected("reset", peer.now);
    case kGarbage1:
      return garbage(peer, 1);
    case kSent1:
      return sent(peer, 1);
    case kEvents:
      break;
  }
}

/// A session in some state, with commands, and whatever is about it.
struct Stage {
  Stage() : peer(default_settings(2)), target(peer, 1) { peer.keys = target.keys(2); }

  void logged_in() {
    peer.session.setup(peer.now);
    peer.pump();
    REQUIRE(peer.connection(1).state() == ConnectionState::started);
    peer.jobs.read(3000);  // one answered, so that the next login may be at once
    target.run();
    peer.jobs.read(5000, 2);
    peer.jobs.write(50'000, 2);
    for (int i = 0; i < 40; ++i) peer.jobs.simple();
    peer.turn();
  }

  Peer peer;
  ModelTarget target;
};

constexpr auto F = SessionState::free;
constexpr auto I = SessionState::logging_in;
constexpr auto L = SessionState::logged_in;
constexpr auto X = SessionState::failed;
constexpr auto O = SessionState::logging_out;
constexpr auto T = SessionState::terminated;

struct Row {
  const char* name;
  SessionState state;
  bool ends;  // a teardown has begun
  std::function<void(Stage&)> arrange;
  std::array<SessionState, kEvents> after;
};

const Row kRows[] = {
    {"free", F, false, [](Stage&) {}, {T, F, F, F, F, F, F, F, F, F, F, F, F}},
    {"connecting",
     I,
     false,
     [](Stage& s) {
       s.peer.auto_connect = false;
       s.peer.session.setup(s.peer.now);
       s.peer.pump();
     },
     {O, I, I, I, I, I, I, I, I, I, I, I, I}},
    {"logging in",
     I,
     false,
     [](Stage& s) {
       s.peer.wire(0).takes = false;
       s.peer.session.setup(s.peer.now);
       s.peer.pump();
     },
     {O, I, I, I, I, I, I, X, I, I, I, I, I}},
    {"logged in, one joining",
     L,
     false,
     [](Stage& s) {
       s.peer.wire(1).takes = false;
       s.peer.session.setup(s.peer.now);
       s.peer.pump();
       s.peer.jobs.simple();
       s.peer.turn();
     },
     {O, L, L, L, L, L, X, X, L, L, L, L, L}},
    {"logged in", L, false, [](Stage& s) { s.logged_in(); }, {O, L, L, L, L, L, X, X, L, L, X, X, L}},
    {"failed, a socket still closes",
     X,
     false,
     [](Stage& s) {
       s.logged_in();
       s.peer.auto_close = false;
       s.peer.disconnect(1);
     },
     {O, X, X, X, X, X, I, X, X, X, X, X, X}},
    {"failed, waits",
     X,
     false,
     [](Stage& s) {
       s.peer.auto_connect = false;
       s.peer.session.setup(s.peer.now);
       s.peer.jobs.simple();
       s.peer.connection(0).on_disconnected("refused", s.peer.now);
       s.peer.connection(0).on_disconnected("refused", s.peer.now);
     },
     {T, X, X, X, X, X, X, X, X, X, X, X, X}},
    {"logging out, the target asked",
     O,
     false,
     [](Stage& s) {
       s.logged_in();
       s.peer.wire(0).takes = false;
       s.peer.deliver(0, s.peer.async_message(0, AsyncEvent::logout_request));
     },
     {O, O, O, O, O, O, X, X, O, O, X, X, O}},
    {"logging out for good",
     O,
     true,
     [](Stage& s) {
       s.logged_in();
       s.peer.session.teardown(s.peer.now);
     },
     {O, O, O, O, O, O, O, O, O, O, O, O, O}},
    {"terminated",
     T,
     true,
     [](Stage& s) {
       s.logged_in();
       s.peer.session.teardown(s.peer.now);
       s.target.run();
     },
     {T, T, T, T, T, T, T, T, T, T, T, T, T}},
};

void converge(Stage& stage, bool ends) {
  Peer& peer = stage.peer;
  peer.auto_connect = false;
  peer.auto_close = true;
  if (peer.session.state() == F) peer.session.setup(peer.now);
  peer.pump();
  peer.wire(0).takes = peer.wire(1).takes = true;
  peer.auto_connect = true;
  // Sockets that the test held back come, or go, now.
  for (const std::uint16_t cid : kBothConnections) {
    if (peer.connection(cid).state() == ConnectionState::connecting && !peer.wire(cid).open) peer.connect(cid);
    if (peer.connection(cid).state() == ConnectionState::stopped) peer.disconnect(cid, "closed");
  }
  peer.jobs.retry = true;
  for (int i = 0; i < 30; ++i) {
    stage.target.run();
    peer.advance(kSecond);
  }
  if (ends) {
    CHECK(peer.session.state() == T);
  } else {
    REQUIRE(peer.session.state() == L);
    Job& job = peer.jobs.write(30'000);
    stage.target.run();
    CHECK(job.outcome == Outcome::completed);
    CHECK(peer.connection(1).state() == ConnectionState::started);
  }
  peer.check_nothing_leaked();
}

}  // namespace

TEST_CASE("states: every (session state, event) has its outcome, and the session converges") {
  for (const Row& row : kRows) {
    for (std::size_t event = 0; event < kEvents; ++event) {
      const std::string name = row.name;
      CAPTURE(name);
      CAPTURE(event);
      Stage stage;
      row.arrange(stage);
      REQUIRE(stage.peer.session.state() == row.state);
      apply(stage.peer, static_cast<Event>(event));
      CHECK(std::string(to_string(stage.peer.session.state())) == to_string(row.after[event]));
      converge(stage, row.ends || event == kTeardown);
    }
  }
}

TEST_CASE("states: two events in a row, each pair in every state") {
  for (const Row& row : kRows) {
    for (std::size_t first = 0; first < kEvents; ++first) {
      for (std::size_t second = 0; second < kEvents; ++second) {
        const std::string name = row.name;
        CAPTURE(name);
        CAPTURE(first);
        CAPTURE(second);
        Stage stage;
        row.arrange(stage);
        apply(stage.peer, static_cast<Event>(first));
        apply(stage.peer, static_cast<Event>(second));
        converge(stage, row.ends || first == kTeardown || second == kTeardown);
      }
    }
  }
}

namespace {

using C = ConnectionState;

struct ConnectionRow {
  C state;
  std::function<void(Stage&)> arrange;
  std::array<C, 5> after;  // connected, disconnected, garbage, sent, its deadline
};

const ConnectionRow kConnectionRows[] = {
    {C::free, [](Stage&) {}, {C::free, C::free, C::free, C::free, C::free}},
    // A failed attempt is followed by the next one at once.
    {C::connecting,
     [](Stage& s) {
       s.peer.auto_connect = false;
       s.peer.session.setup(s.peer.now);
     },
     {C::login, C::connecting, C::connecting, C::connecting, C::stopped}},
    {C::login,
     [](Stage& s) {
       s.peer.wire(0).takes = false;
       s.peer.session.setup(s.peer.now);
       s.peer.pump();
     },
     {C::login, C::connecting, C::stopped, C::login, C::stopped}},
    {C::started, [](Stage& s) { s.logged_in(); }, {C::started, C::free, C::stopped, C::started, C::started}},
    {C::stopped,
     [](Stage& s) {
       s.logged_in();
       s.peer.auto_close = false;
       s.peer.disconnect(1);
     },
     {C::stopped, C::connecting, C::stopped, C::stopped, C::stopped}},
};

}  // namespace

TEST_CASE("states: every (connection state, event) has its outcome") {
  for (const ConnectionRow& row : kConnectionRows) {
    for (std::size_t event = 0; event < row.after.size(); ++event) {
      const std::string name = to_string(row.state);
      CAPTURE(name);
      CAPTURE(event);
      Stage stage;
      Peer& peer = stage.peer;
      row.arrange(stage);
      REQUIRE(peer.connection(0).state() == row.state);
      CHECK(peer.connection(0).wants_rx() == (row.state == C::login || row.state == C::started));
      if (event < 4) {
        apply(peer, std::array{kConnected0, kDisconnected0, kGarbage0, kSent0}[event]);
      } else {
        peer.now += 15 * kSecond;
        peer.session.on_deadline(peer.now);
      }
      CHECK(std::string(to_string(peer.connection(0).state())) == to_string(row.after[event]));
      converge(stage, false);
    }
  }
}
