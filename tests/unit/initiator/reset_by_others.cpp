// Another host has ended commands of ours, without a word for each of them.
#include <doctest/doctest.h>

#include <set>

#include "tests/unit/initiator/ladder.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;
using nbdgw::proto::Micros;
using Function = TaskManagementFunction;
using Result = TaskManagementResult;

namespace {

struct Shared : LadderPeer {
  using LadderPeer::LadderPeer;

  /// A command that is answered with this unit attention.
  void attention(std::uint8_t asc, std::uint8_t ascq, std::uint64_t lun = kLun1) {
    Job& job = queue(Direction::none, 0, lun);
    respond(0, take_command(job), 2, sense_segment(nbdgw::proto::scsi::SenseKey::unit_attention, asc, ascq));
    REQUIRE(job.outcome == Outcome::completed);
  }
  /// Until a function leaves.
  Micros wait() {
    const Micros begin = now;
    while (silent()) {
      REQUIRE(now - begin < 60 * kSecond);
      advance(10 * kMillisecond);
    }
    return now - begin;
  }
};

}  // namespace

TEST_CASE("reset by others: older commands of the LUN are overdue soon, and only those") {
  for (const std::uint8_t asc : {std::uint8_t{0x29}, std::uint8_t{0x2f}}) {
    Shared peer;
    Job& old = peer.hang();
    Job& other = peer.hang(kLun2);
    peer.attention(asc, 0);
    Job& young = peer.hang();
    CHECK(peer.wait() <= kSecond);
    CHECK(old.overdue);
    CHECK_FALSE(young.overdue);
    CHECK_FALSE(other.overdue);
    // It is no proof.
    CHECK(old.finished == 0);
    peer.answer(peer.tmf(Function::abort_task), Result::complete);
    CHECK(old.outcome == Outcome::aborted);
    CHECK(peer.silent());
  }
}

TEST_CASE("reset by others: a command that moves on is not given up, and other attentions mean nothing of the kind") {
  Shared peer;
  Job& read = peer.queue(Direction::read, 1000);
  const std::uint32_t itt = peer.take_command(read);
  peer.attention(0x2a, 0x09);
  peer.advance(2 * kSecond);
  CHECK(peer.silent());
  peer.attention(0x29, 0x03);
  peer.advance(kSecond / 2);
  peer.deliver(0, peer.data_in(0, itt, 0, 0, Bytes(500), false));
  peer.advance(2 * kSecond);
  CHECK(peer.silent());
  CHECK_FALSE(read.overdue);
}

TEST_CASE("reset by others: ours waits for a random time, which grows") {
  std::set<Micros> pauses;
  Shared peer;
  for (int i = 0; i < 8; ++i) {
    peer.hang();
    peer.attention(0x2f, 0);
    peer.wait();
    peer.answer(peer.tmf(Function::abort_task), Result::task_does_not_exist);
    CHECK(peer.silent());
    pauses.insert(peer.wait());
    // Where a reset for a single command is not worth while again, the abort is tried once more before it.
    auto request = peer.tmf();
    if (request.function == Function::abort_task) {
      peer.answer(request, Result::task_does_not_exist);
      request = peer.tmf();
    }
    CHECK(request.function == Function::logical_unit_reset);
    peer.answer(request, Result::complete);
    Job& works = peer.queue(Direction::none, 0);
    peer.serve(works);
  }
  CHECK(pauses.size() > 3);
  CHECK(*pauses.begin() < kSecond);
  CHECK(*pauses.rbegin() > 2 * kSecond);
  CHECK(*pauses.rbegin() <= LadderMemory::kLongestPause + kSecond);
  for (const auto& job : peer.jobs.all) CHECK(job->finished == 1);
  peer.check_nothing_leaked();
}

TEST_CASE("reset by others: while a LUN has its pause the others are climbed for") {
  Shared peer;
  peer.hang();
  peer.attention(0x2f, 0);
  peer.wait();
  peer.answer(peer.tmf(Function::abort_task), Result::task_does_not_exist);
  CHECK(peer.silent());
  REQUIRE(peer.session.request_recovery({.id = 1, .rung = Rung::lu_reset, .lun = kLun2}));
  peer.pump();
  CHECK(peer.tmf(Function::logical_unit_reset).lun == kLun2);
}

TEST_CASE("reset by others: nobody else, no pause") {
  Shared peer;
  Job& job = peer.hang();
  peer.overdue();
  peer.answer(peer.tmf(Function::abort_task), Result::task_does_not_exist);
  peer.answer(peer.tmf(Function::logical_unit_reset), Result::complete);
  CHECK(job.outcome == Outcome::aborted);
}

TEST_CASE("reset by others: of two LUNs that pause, each is reset when its own pause is over") {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    CAPTURE(seed);
    Shared peer;
    peer.random = SeededSource(seed);
    peer.hang(kLun1);
    peer.hang(kLun2);
    peer.attention(0x29, 0, kLun1);
    peer.attention(0x29, 0, kLun2);
    for (int i = 0; i < 2; ++i) {
      peer.wait();
      peer.answer(peer.tmf(Function::abort_task), Result::task_does_not_exist);
    }
    CHECK(peer.wait() <= kSecond);
    const auto first = peer.tmf(Function::logical_unit_reset);
    peer.answer(first, Result::complete);
    if (peer.silent()) CHECK(peer.session.next_deadline() <= peer.now + LadderMemory::kFirstPause);
    CHECK(peer.wait() <= kSecond);
    CHECK(peer.tmf(Function::logical_unit_reset).lun != first.lun);
  }
}
