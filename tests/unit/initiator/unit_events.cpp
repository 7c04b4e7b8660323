#include <algorithm>

#include <doctest/doctest.h>

#include "proto/scsi/sense.hpp"
#include "tests/unit/initiator/peer.hpp"

/// What the session tells of its LUNs, and what of their commands it gives back.
using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
namespace scsi = nbdgw::proto::scsi;
using Kind = SessionEvent::Kind;

namespace {

constexpr std::uint64_t kLun = 0x0003'0000'0000'0000ULL;

}  // namespace

TEST_CASE("unit event: a SCSI asynchronous event is told for its LUN, or for all") {
  struct Case {
    Bytes data;
    std::uint64_t lun;
    std::string text;
  };
  for (const Case& each :
       {Case{{}, kLun, "event of a LUN"}, Case{{0}, kLun, "event"}, Case{{0xff, 0xff, 0x70}, kLun, "event"},
        Case{sense_segment(scsi::SenseKey::unit_attention, 0x3f, 0x03), kLun, "3f/03"},
        Case{sense_segment(scsi::SenseKey::unit_attention, 0x3f, 0x0e), RecoveryEvent::kNoLun, ""}}) {
    Peer peer;
    peer.start();
    const auto length = static_cast<std::uint32_t>(each.data.size());
    peer.deliver(0, make_pdu(AsyncMessage{.data_length = length,
                                          .lun = kLun,
                                          .sequence = peer.status_sequence(0),
                                          .event = AsyncEvent::scsi},
                             each.data));
    CHECK(peer.saw(Kind::unit_event));
    CHECK(peer.last(Kind::unit_event).lun == each.lun);
    CHECK(peer.session.state() == SessionState::logged_in);
    check_works(peer);
  }
}

TEST_CASE("recall: what has no CmdSN comes back, of this LUN alone, and the rest goes on") {
  Peer peer;
  peer.window = 1;
  peer.start();
  Job& sent = peer.jobs.simple();
  peer.pump();
  Job& mine = peer.jobs.simple();
  Job& other = peer.jobs.make(Direction::none, 0);
  other.lun = kLun;
  peer.jobs.queue(other);
  Job& too = peer.jobs.simple();
  peer.pump();
  peer.session.recall(mine.lun);
  peer.pump();
  CHECK(sent.finished == 0);
  CHECK(other.finished == 0);
  for (const Job* job : {&mine, &too}) {
    CHECK(job->finished == 1);
    CHECK(job->outcome == Outcome::recalled);
  }
  peer.session.recall(mine.lun);
  const ScsiCommandPdu first = peer.take_command();
  peer.respond(0, first.itt);
  const ScsiCommandPdu second = peer.take_command();
  CHECK(second.lun == kLun);
  CHECK(second.cmd_sn == first.cmd_sn + 1);  // no hole
  peer.respond(0, second.itt);
  CHECK(other.outcome == Outcome::completed);
  CHECK(sent.outcome == Outcome::completed);
  check_works(peer);
}

TEST_CASE("login: whether we have ended the session before ourselves") {
  Peer peer;
  peer.start();
  CHECK_FALSE(peer.last(Kind::logged_in).own_doing);
  SUBCASE("by hand") {
    REQUIRE(peer.session.drop_connection(0, "asked for by hand", peer.now));
    peer.relogin();
    CHECK(peer.last(Kind::logged_in).own_doing);
  }
  SUBCASE("by a reset of the session") {
    REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::session_reset}));
    peer.relogin();
    CHECK(peer.last(Kind::logged_in).own_doing);
  }
  SUBCASE("by hand, but the target was away when we came back") {
    REQUIRE(peer.session.drop_connection(0, "asked for by hand", peer.now));
    peer.auto_connect = false;
    peer.pump();
    peer.disconnect(0, "connection refused");
    peer.auto_connect = true;
    peer.advance(nbdgw::proto::kSecond);
    peer.relogin();
    CHECK_FALSE(peer.last(Kind::logged_in).own_doing);
  }
  SUBCASE("not so") {
    peer.disconnect(0);
    peer.relogin();
    CHECK_FALSE(peer.last(Kind::logged_in).own_doing);
  }
  check_works(peer);
}
