// The ladder against a target that hangs commands, hangs and refuses functions, answers late, and loses connections:
// whatever is drawn, every command comes back once for each time that it was queued, and right.
#include <doctest/doctest.h>

#include <algorithm>
#include <map>

#include "tests/unit/initiator/ladder.hpp"
#include "tests/unit/initiator/model_target.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kMillisecond;
using nbdgw::proto::kSecond;

namespace {

struct Tally {
  std::uint64_t climbed[9] = {};  // by rung, ended well
  std::uint64_t refused = 0;
  std::uint64_t timed_out = 0;
  std::uint64_t failed = 0;
  std::uint64_t late = 0;
  std::uint64_t late_at_work = 0;  // of them ignored by the session
  std::uint64_t went_on = 0;
  std::map<Proof::Kind, std::uint64_t> proofs;
};

class Storm {
 public:
  explicit Storm(std::uint64_t seed)
      : random_(seed),
        connections_(static_cast<std::uint16_t>(1 + below(4))),
        peer_(settings(), random_()),
        target_(peer_, random_()) {
    target_.window = static_cast<std::uint32_t>(2 + below(40));
    target_.max_outstanding_r2t = static_cast<std::uint32_t>(1 + below(3));
    target_.initial_r2t = below(2) == 0;
    target_.immediate_data = below(2) == 0;
    target_.max_burst = 16'384;
    target_.first_burst = 8192;
    target_.goes_on_inside = true;
    target_.lags = below(2) == 0;
    peer_.keys = target_.keys(connections_);
    peer_.keys.max_recv = 4096;
    if (digests_) peer_.keys.with_digests();
    peer_.tx_chunk = 500 + below(60'000);
    peer_.rx_chunk = 500 + below(60'000);
    peer_.jobs.retry = true;
    for (auto* hook : {&peer_.jobs.on_aborted, &peer_.jobs.on_disrupted}) {
      *hook = [this, check = *hook](const Job& job) {
        check(job);
        ++proofs_[job.proof->kind()];
      };
    }
    peer_.session.setup(peer_.now);
    peer_.pump();
  }

  void run(Tally& tally) {
    trouble();
    for (int round = 0; round < 25; ++round) {
      load();
      disturb();
      target_.run();
      peer_.advance(static_cast<nbdgw::proto::Micros>(below(8000)) * kMillisecond);
      again();
    }
    heal();
    check();
    count(tally);
  }

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }

  SessionSettings settings() {
    auto settings = ladder_settings(connections_);
    settings.queue_depth = static_cast<std::uint16_t>(1 + below(30));
    settings.fast_abort = below(2) == 0;
    digests_ = below(3) == 0;
    if (digests_) require_digests(settings);
    if (below(4) != 0) settings.nop_interval = static_cast<nbdgw::proto::Micros>(1 + below(9)) * kSecond;
    settings.nop_timeout = static_cast<nbdgw::proto::Micros>(1 + below(5)) * kSecond;
    return settings;
  }

  void trouble() {
    target_.hangs = static_cast<unsigned>(4 + below(30));
    target_.late_answers = static_cast<unsigned>(1 + below(4));
    const std::uint64_t obliging = below(8);  // how often functions do what they are asked
    target_.tmf_answer = [this, obliging](const TaskManagementRequest&) {
      using enum ModelTarget::TmfAnswer;
      if (below(8) < obliging) return by_the_book;
      switch (below(6)) {
        case 0:
          return hangs;
        case 1:
          return does_not_exist;
        case 2:
          return rejected;
        default:
          return refused;
      }
    };
  }

  void load() {
    for (std::uint64_t i = below(12); i > 0; --i) {
      const auto length = static_cast<std::uint32_t>(below(3) == 0 ? below(600) : below(40'000));
      const auto direction = static_cast<Direction>(below(3));
      Job& job = peer_.jobs.make(direction, direction == Direction::none ? 0 : length, 1 + below(3));
      job.lun = (1 + below(3)) << 48;
      if (job.data_length == 0) job.direction = Direction::none;
      peer_.jobs.queue(job);
    }
  }

  void disturb() {
    const auto cid = static_cast<std::uint16_t>(below(connections_));
    switch (below(12)) {
      case 0:
        if (peer_.wire(cid).open) peer_.disconnect(cid);
        break;
      case 1:
        peer_.wire(cid).takes = false;
        break;
      case 2: {
        const auto rung = static_cast<Rung>(1 + below(7));
        const std::uint64_t lun = (1 + below(3)) << 48;
        const bool taken = peer_.session.request_recovery(
            {.id = next_id_, .rung = rung, .lun = lun, .itt = static_cast<std::uint32_t>(below(1 << 16))});
        if (taken) ++next_id_;
        break;
      }
      default:
        for (std::uint16_t i = 0; i < connections_; ++i) peer_.wire(i).takes = true;
    }
  }

  /// What ended with a status that says "aborted" is tried again, as the layer above does.
  void again() {
    for (const auto& job : peer_.jobs.all) {
      if (job->finished == job->queued && job->status == 0x40) peer_.jobs.queue(*job);
    }
  }

  void heal() {
    target_.hangs = 0;
    target_.late_answers = 0;
    target_.lags = false;
    target_.tmf_answer = nullptr;
    for (std::uint16_t cid = 0; cid < connections_; ++cid) peer_.wire(cid).takes = true;
    const auto rough = [&] {
      return peer_.jobs.outstanding > 0 || std::any_of(peer_.jobs.all.begin(), peer_.jobs.all.end(),
                                                       [](const auto& job) { return job->status != 0; });
    };
    for (int i = 0; i < 400 && rough(); ++i) {
      target_.run();
      peer_.advance(kSecond);
      again();
    }
    for (int i = 0; i < 20; ++i) {  // pings, connections that join, answers that come late
      target_.run();
      peer_.advance(kSecond);
    }
    target_.run();
  }

  void check() {
    CHECK(peer_.session.state() == SessionState::logged_in);
    for (std::uint16_t cid = 0; cid < connections_; ++cid) {
      CHECK(peer_.connection(cid).state() == ConnectionState::started);
    }
    for (const auto& job : peer_.jobs.all) {
      REQUIRE(job->finished == job->queued);
      CHECK(job->outcome == Outcome::completed);
      CHECK(job->status == 0);
      const Bytes expected = pattern_bytes(job->number, job->data_length);
      if (job->direction != Direction::none) CHECK(job->content == expected);
      if (job->direction == Direction::write) CHECK(target_.written[job->number] == expected);
    }
    peer_.check_nothing_leaked();
    for (std::uint32_t id = 1; id < next_id_; ++id) {  // each told, once
      CHECK(peer_.told_of(id) == 1);
    }
  }

  void count(Tally& tally) {
    for (const RecoveryEvent& event : peer_.recovery_events) {
      if (event.outcome == RungOutcome::success) ++tally.climbed[static_cast<int>(event.rung)];
      if (event.outcome == RungOutcome::refused) ++tally.refused;
      if (event.outcome == RungOutcome::timed_out) ++tally.timed_out;
      if (event.outcome == RungOutcome::failed) ++tally.failed;
    }
    tally.late += target_.late_answers_sent;
    tally.went_on += target_.went_on;
    for (const auto& [kind, count] : proofs_) tally.proofs[kind] += count;
    tally.late_at_work += peer_.session.counters().late_answers;
  }

  std::mt19937_64 random_;
  const std::uint16_t connections_;
  bool digests_ = false;
  std::uint32_t next_id_ = 1;
  std::map<Proof::Kind, std::uint64_t> proofs_;
  Peer peer_;
  ModelTarget target_;
};

}  // namespace

TEST_CASE("ladder at random: every command comes back, right, and nothing of an aborted one is left at the target") {
  auto random = seeded_random();
  Tally tally;
  for (int i = 0; i < 150; ++i) {
    const std::uint64_t seed = random();
    CAPTURE(i);
    CAPTURE(seed);
    Storm storm(seed);
    storm.run(tally);
  }
  // Every rung was climbed, and every kind of trouble was met.
  for (const Rung rung : {Rung::timeout, Rung::abort_task, Rung::lu_reset, Rung::target_warm_reset,
                          Rung::session_reset, Rung::relogin}) {
    const std::string name = to_string(rung);
    CAPTURE(name);
    CHECK(tally.climbed[static_cast<int>(rung)] > 0);
  }
  for (const auto kind : {Proof::Kind::never_sent, Proof::Kind::harmless, Proof::Kind::task_management,
                          Proof::Kind::reinstated, Proof::Kind::reinstated_and_reset}) {
    const std::string name = to_string(kind);
    CAPTURE(name);
    CHECK(tally.proofs[kind] > 0);
  }
  CHECK(tally.went_on > 0);
  CHECK(tally.refused > 0);
  CHECK(tally.timed_out > 0);
  CHECK(tally.failed > 0);
  CHECK(tally.late > 0);
  CHECK(tally.late_at_work > 0);
}
