// A command that ends last (ScsiCommand::ends_last), and what a late answer tells of its LUN.
#include <doctest/doctest.h>

#include <array>
#include <vector>

#include "proto/scsi/sense.hpp"
#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
namespace scsi = nbdgw::proto::scsi;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;
using Kind = SessionEvent::Kind;

namespace {

constexpr std::uint8_t kCheckCondition = 2;

/// A read hangs on connection 0, and behind it, on `way`, a command that ends last.
struct Overtaken : LadderPeer {
  explicit Overtaken(std::uint16_t way = 1, std::uint64_t lun = kLun1)
      : LadderPeer(asking_settings(way == 0 ? 1 : 2)) {
    first = &queue(Direction::read, 200'000);
    first_itt = take_command(*first, 0);
    ender = &jobs.make(Direction::none, 0);
    ender->lun = lun;
    ender->ends_last = true;
    jobs.queue(*ender);
    pump();
    last_itt = take_command(*ender, way);
    acknowledge();
    ender->sink = first->sink = &order;
  }

  struct Order final : CommandSink {
    explicit Order(Jobs& all) : jobs(all) {}
    void on_command_done(ScsiCommand& command, nbdgw::proto::Micros now) override {
      done.push_back(&command);
      jobs.on_command_done(command, now);
    }
    Jobs& jobs;
    std::vector<const ScsiCommand*> done;
  };

  Order order{jobs};
  Job* first = nullptr;
  Job* ender = nullptr;
  std::uint32_t first_itt = 0;
  std::uint32_t last_itt = 0;
};

using Done = std::vector<const ScsiCommand*>;

}  // namespace

TEST_CASE("ends last: its good end waits for what was with the target, over whatever connection") {
  for (const std::uint16_t way : std::to_array<std::uint16_t>({0, 1})) {
    Overtaken peer(way);
    peer.respond(way, peer.last_itt);
    CHECK(peer.order.done.empty());
    Job& later = peer.queue(Direction::none, 0);
    const std::uint32_t later_itt = peer.take_command(later, way);
    peer.respond(0, peer.first_itt, kCheckCondition, sense_segment(scsi::SenseKey::unit_attention, 0x29, 0x01));
    CHECK(peer.order.done == Done{peer.first, peer.ender});
    CHECK(peer.ender->outcome == Outcome::completed);
    peer.respond(way, later_itt);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("ends last: RECOVERED ERROR and CONDITION MET are good ends, too") {
  constexpr std::uint8_t kConditionMet = 4;
  for (const bool recovered : {true, false}) {
    Overtaken peer;
    if (recovered) {
      peer.respond(1, peer.last_itt, kCheckCondition, sense_segment(scsi::SenseKey::recovered_error, 0x17, 0x01));
    } else {
      peer.respond(1, peer.last_itt, kConditionMet);
    }
    CHECK(peer.order.done.empty());
    peer.respond(0, peer.first_itt, kCheckCondition, sense_segment(scsi::SenseKey::unit_attention, 0x29, 0x01));
    CHECK(peer.order.done == Done{peer.first, peer.ender});
  }
}

TEST_CASE("ends last: what it need not wait for") {
  SUBCASE("another LUN") {
    Overtaken peer(1, kLun2);
    peer.respond(1, peer.last_itt);
    CHECK(peer.order.done == Done{peer.ender});
  }
  SUBCASE("when it has failed") {
    Overtaken peer;
    peer.respond(1, peer.last_itt, kCheckCondition, sense_segment(scsi::SenseKey::medium_error, 0x0c, 0));
    CHECK(peer.order.done == Done{peer.ender});
  }
}

TEST_CASE("ends last: where the others are not answered") {
  Overtaken peer;
  peer.respond(1, peer.last_itt);
  SUBCASE("a function ends them: it has ended well") {
    REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::abort_task, .itt = peer.first_itt}));
    peer.answer(peer.tmf(Function::abort_task), Result::complete);
    CHECK(peer.order.done == Done{peer.first, peer.ender});
    CHECK(peer.ender->outcome == Outcome::completed);
  }
  SUBCASE("the session is lost: nobody will know, so it is to be sent again") {
    peer.disconnect(0);
    peer.pump();
    REQUIRE(peer.ender->finished == 1);
    CHECK(peer.ender->outcome == Outcome::transport_disrupted);
    CHECK(peer.ender->proof->kind() == Proof::Kind::harmless);
    peer.relogin();
  }
  SUBCASE("the session ends for good") {
    peer.session.teardown(peer.now);
    peer.pump();
    peer.disconnect(0);
    peer.pump();
    REQUIRE(peer.ender->finished == 1);
    CHECK(peer.ender->outcome == Outcome::path_lost);
    return;
  }
  peer.check_nothing_leaked();
}

TEST_CASE("late answers: a unit attention or a deferred error is told for its LUN, and nothing else is") {
  struct Case {
    Bytes sense;
    bool told;
  };
  Bytes deferred = sense_segment(scsi::SenseKey::medium_error, 0x0c, 0);
  deferred[2] = 0x71;
  for (const Case& each :
       {Case{sense_segment(scsi::SenseKey::unit_attention, 0x29, 0x01), true}, Case{deferred, true},
        Case{sense_segment(scsi::SenseKey::medium_error, 0x11, 0), false}, Case{{0, 9}, false}}) {
    Overtaken peer;
    REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun1}));
    peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
    REQUIRE(peer.first->outcome == Outcome::aborted);
    peer.respond(0, peer.first_itt, kCheckCondition, each.sense);
    CHECK(peer.session.counters().late_answers == 1);
    CHECK(peer.saw(Kind::unit_answer) == each.told);
    if (each.told) CHECK(peer.last(Kind::unit_answer).lun == kLun1);
  }
}
