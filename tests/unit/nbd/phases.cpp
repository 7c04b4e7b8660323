// The whole product of phases and events: in every phase every call of the shell is allowed, and leads where the
// table says.

#include <array>
#include <cstring>
#include <memory>

#include <doctest/doctest.h>

#include "tests/unit/nbd/rig.hpp"
#include "tests/unit/nbd/wire.hpp"

using namespace nbdgw;
using namespace nbdgw::test;
using Phase = nbd::Connection::Phase;

namespace {

constexpr std::array kPhases{Phase::handshake, Phase::resuming,      Phase::transmission, Phase::parting,
                             Phase::draining,  Phase::disconnecting, Phase::closing,      Phase::closed};

enum class Event { bad_bytes, disc_bytes, sent, room, deadline, drain, handover, export_found, finish, disconnected };
constexpr int kEvents = 10;

/// A rig in the phase, with one FLUSH in flight where there can be one.
std::unique_ptr<Rig> rig_in(Phase phase) {
  if (phase == Phase::resuming) {
    Rig before;
    before.feed(attach(false));
    before.connection.begin_handover(before.now);
    auto resuming = std::make_unique<Rig>(before.connection.kept());
    resuming->automatic = false;
    return resuming;
  }
  auto made = std::make_unique<Rig>();
  Rig& rig = *made;
  rig.automatic = false;
  if (phase == Phase::handshake) {
    rig.feed(client_flags());
    return made;
  }
  rig.feed(attach(false) + request(kFlush, 0, 1, 0, 0));
  rig.send();
  if (phase == Phase::parting) rig.connection.begin_handover(rig.now);
  if (phase == Phase::draining) rig.connection.begin_drain(rig.now);
  if (phase == Phase::disconnecting) rig.feed(disc());
  if (phase == Phase::closing) rig.feed(std::string(28, 'x'));
  if (phase == Phase::closed) rig.disconnect();
  return made;
}

/// Bytes that come in although the engine may not want them: only if it offers room.
void receive(Rig& rig, const std::string& bytes) {
  std::array<iovec, 4> room;
  if (rig.connection.rx_buffers(room) == 0) return;
  std::memcpy(room[0].iov_base, bytes.data(), bytes.size());
  rig.connection.on_received(bytes.size(), rig.now);
}

void happen(Rig& rig, Event event) {
  switch (event) {
    case Event::bad_bytes:
      return receive(rig, std::string(28, 'x'));
    case Event::disc_bytes:
      return receive(rig, disc());
    case Event::sent:
      return rig.send();
    case Event::room:
      return rig.connection.on_room(rig.now);
    case Event::deadline:
      rig.now += 3600 * proto::kSecond;
      return rig.connection.on_deadline(rig.now);
    case Event::drain:
      return rig.connection.begin_drain(rig.now);
    case Event::handover:
      return rig.connection.begin_handover(rig.now);
    case Event::export_found:
      return rig.connection.export_found(rig.backend, rig.now);
    case Event::finish:
      if (!rig.backend.running().empty()) rig.backend.complete_all();
      return;
    case Event::disconnected:
      return rig.disconnect();
  }
}

/// Where each event leads, phase by phase (columns in the order of Event).
constexpr Phase kHs = Phase::handshake, kRe = Phase::resuming, kTr = Phase::transmission, kPa = Phase::parting,
                kDr = Phase::draining, kDi = Phase::disconnecting, kCl = Phase::closing, kEnd = Phase::closed;
constexpr std::array<std::array<Phase, kEvents>, kPhases.size()> kLeadsTo{{
    //               bad  disc sent room deadl drain handover found finish disconnected
    /* handshake */ {kCl, kCl, kHs, kHs, kCl, kHs, kHs, kHs, kHs, kEnd},
    /* resuming */ {kRe, kRe, kRe, kRe, kCl, kCl, kPa, kTr, kRe, kEnd},
    /* transmission */ {kCl, kDi, kTr, kTr, kTr, kDr, kPa, kTr, kTr, kEnd},
    /* parting */ {kPa, kPa, kPa, kPa, kPa, kPa, kPa, kPa, kPa, kEnd},
    /* draining */ {kDr, kDr, kDr, kDr, kDr, kDr, kDr, kDr, kDr, kEnd},
    /* disconnecting */ {kDi, kDi, kDi, kDi, kDi, kDi, kDi, kDi, kDi, kEnd},
    /* closing */ {kCl, kCl, kCl, kCl, kCl, kCl, kCl, kCl, kCl, kEnd},
    /* closed */ {kEnd, kEnd, kEnd, kEnd, kEnd, kEnd, kEnd, kEnd, kEnd, kEnd},
}};

}  // namespace

TEST_CASE("phases: every event in every phase") {
  for (std::size_t p = 0; p < kPhases.size(); ++p) {
    for (int e = 0; e < kEvents; ++e) {
      CAPTURE(p);
      CAPTURE(e);
      const auto rig = rig_in(kPhases[p]);
      REQUIRE(rig->connection.phase() == kPhases[p]);
      happen(*rig, static_cast<Event>(e));
      CHECK(rig->connection.phase() == kLeadsTo[p][static_cast<std::size_t>(e)]);
      // And any second event behind it does no harm.
      for (int second = 0; second < kEvents; ++second) {
        const auto other = rig_in(kPhases[p]);
        happen(*other, static_cast<Event>(e));
        happen(*other, static_cast<Event>(second));
        other->disconnect();
        CHECK(other->connection.phase() == Phase::closed);
        CHECK(other->backend.requests_out == 0);
      }
    }
  }
}

TEST_CASE("phases: every reason to close has a name and a sentence") {
  for (std::size_t i = 0; i < nbd::kCloseReasons; ++i) {
    const auto reason = static_cast<nbd::CloseReason>(i);
    CHECK(std::strlen(nbd::name_of(reason)) > 0);
    const std::string_view sentence = nbd::describe(reason);
    CHECK((sentence.ends_with('.') || sentence.ends_with('?')));
  }
}
