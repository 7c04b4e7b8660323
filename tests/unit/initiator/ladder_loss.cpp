// The loss of a connection at every step of a climb, and within every step; and a climb that ends on each rung.
#include <doctest/doctest.h>

#include <vector>

#include "tests/unit/initiator/ladder.hpp"
#include "tests/unit/initiator/model_target.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;
using Function = TaskManagementFunction;
using TmfAnswer = ModelTarget::TmfAnswer;

namespace {

constexpr std::uint64_t kNoCut = ~0ULL;

struct Cut {
  std::uint16_t cid = 0;
  bool sent = false;  // counted in bytes sent, or received
  std::uint64_t at = kNoCut;
};

/// What the functions of a climb get, rung by rung, and what the climb must tell if nothing else happens.
struct Script {
  const char* name;
  TmfAnswer abort;
  TmfAnswer lu_reset;
  TmfAnswer target_reset;
  std::vector<Function> functions;
  std::vector<Rung> told;  // before the relogin, if there is one
  bool lost;
};

using A = TmfAnswer;
using F = Function;
using R = Rung;

const Script kScripts[] = {
    {"abort", A::by_the_book, A::hangs, A::hangs, {F::abort_task}, {R::timeout, R::abort_task}, false},
    {"LU reset",
     A::refused,
     A::by_the_book,
     A::hangs,
     {F::abort_task, F::logical_unit_reset},
     {R::timeout, R::abort_task, R::lu_reset},
     false},
    {"target reset",
     A::does_not_exist,
     A::rejected,
     A::by_the_book,
     {F::abort_task, F::logical_unit_reset, F::target_warm_reset},
     {R::timeout, R::abort_task, R::lu_reset, R::target_warm_reset},
     false},
    {"session reset",
     A::rejected,
     A::refused,
     A::does_not_exist,
     {F::abort_task, F::logical_unit_reset, F::target_warm_reset},
     {R::timeout, R::abort_task, R::lu_reset, R::target_warm_reset, R::session_reset},
     true},
    {"abort hangs",
     A::hangs,
     A::by_the_book,
     A::by_the_book,
     {F::abort_task},
     {R::timeout, R::abort_task, R::session_reset},
     true},
    {"LU reset hangs",
     A::refused,
     A::hangs,
     A::by_the_book,
     {F::abort_task, F::logical_unit_reset},
     {R::timeout, R::abort_task, R::lu_reset, R::session_reset},
     true},
    {"target reset hangs",
     A::refused,
     A::refused,
     A::hangs,
     {F::abort_task, F::logical_unit_reset, F::target_warm_reset},
     {R::timeout, R::abort_task, R::lu_reset, R::target_warm_reset, R::session_reset},
     true},
};

std::vector<Cut> cuts_of(Peer& peer) {
  std::vector<Cut> cuts;
  for (const std::uint16_t cid : kBothConnections) {
    for (const bool sent : {true, false}) {
      std::uint64_t last = 0;
      for (const std::uint64_t at : sent ? peer.wire(cid).sent_marks : peer.wire(cid).received_marks) {
        // Before the PDU, within its header, and in the middle of it.
        if (last > 0) cuts.push_back({cid, sent, last});
        cuts.push_back({cid, sent, last + 20});
        cuts.push_back({cid, sent, last + (at - last) / 2});
        last = at;
      }
    }
  }
  return cuts;
}

void check_undisturbed(const Script& script, Peer& peer, ModelTarget& target) {
  CHECK(target.functions == script.functions);
  std::vector<Rung> told;
  for (const RecoveryEvent& event : peer.recovery_events) told.push_back(event.rung);
  std::vector<Rung> expected = script.told;
  if (script.lost) expected.push_back(Rung::relogin);
  CHECK(told == expected);
  CHECK(peer.session.counters().losses == (script.lost ? 1 : 0));
}

/// Two connections, two LUNs, writes and reads on both; one write hangs the first time, and its climb goes as the
/// script says. Meanwhile the other LUN works.
std::vector<Cut> run_script(const Script& script, const Cut& cut) {
  auto settings = ladder_settings(2);
  settings.queue_depth = 16;
  settings.nop_interval = 8 * kSecond;
  settings.nop_timeout = 3 * kSecond;
  require_digests(settings);
  Peer peer(settings);
  ModelTarget target(peer, 7);
  peer.keys = target.keys(2);
  peer.keys.with_digests();
  peer.jobs.retry = true;
  peer.tx_chunk = peer.rx_chunk = 1500;
  target.late_answers = 2;
  target.tmf_answer = [&](const TaskManagementRequest& request) {
    // What a loss leaves behind is reset without trouble.
    if (peer.session.counters().losses > 0) return A::by_the_book;
    return request.function == Function::abort_task           ? script.abort
           : request.function == Function::logical_unit_reset ? script.lu_reset
                                                              : script.target_reset;
  };
  if (cut.at != kNoCut) (cut.sent ? peer.wire(cut.cid).cut_sent : peer.wire(cut.cid).cut_received) = cut.at;

  const auto load = [&](std::uint64_t lun, std::uint32_t length) {
    for (const Direction direction : {Direction::read, Direction::write}) {
      Job& job = peer.jobs.make(direction, length, 3);
      job.lun = lun;
      peer.jobs.queue(job);
    }
    target.run();
  };
  peer.session.setup(peer.now);
  load(kLun1, 3000);
  Job& stuck = peer.jobs.make(Direction::write, 30'000, 3);
  target.hang_once.insert(stuck.number);
  peer.jobs.queue(stuck);
  target.run();
  for (int i = 0; i < 30; ++i) {
    if (i % 4 == 0) load(kLun2, 5000);
    peer.advance(2 * kSecond);
    target.run();
  }
  load(kLun1, 700);
  for (const auto& job : peer.jobs.all) {
    if (job->status == 0x40) peer.jobs.queue(*job);  // ended by the function, and answered before it
  }
  target.run();

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
  CHECK(peer.session.counters().losses <= 2);
  if (cut.at == kNoCut) check_undisturbed(script, peer, target);
  return cuts_of(peer);
}

}  // namespace

TEST_CASE("ladder loss: a climb to each rung, and a connection that breaks at any step of it") {
  for (const Script& script : kScripts) {
    const std::string name = script.name;
    CAPTURE(name);
    const std::vector<Cut> cuts = run_script(script, {});
    CHECK(cuts.size() > 200);
    MESSAGE(name << ": steps: " << cuts.size());
    for (const Cut& cut : cuts) {
      CAPTURE(cut.cid);
      CAPTURE(cut.sent);
      CAPTURE(cut.at);
      run_script(script, cut);
    }
  }
}
