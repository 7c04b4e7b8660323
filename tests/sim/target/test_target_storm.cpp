// Everything at once: whatever the target does, it does not complain about an initiator that keeps the rules, and it
// comes to rest when it has healed.
#include <doctest/doctest.h>

#include <cstdlib>

#include "tests/sim/target/test_raw_initiator.hpp"

namespace nbdgw::sim {
namespace {

class Complaints final : public ProtocolComplaints {
 public:
  void on_violation(const std::string& what) override { all += what + "\n"; }
  std::string all;
};

/// Sends what fits into the window, aborts and resets what takes too long, and logs in again when it must.
class Storm {
 public:
  explicit Storm(std::uint64_t seed)
      : random_(seed), target_(timeline_, random_.fork(), draw()), initiator_(fresh()) {}

  void run(int steps) {
    for (int step = 0; step < steps; ++step) turn();
    target_.heal();
    for (int step = 0; step < 300; ++step) turn();
    for (int step = 0; step < 100; ++step) initiator_->wait(100 * proto::kMillisecond);
  }
  const std::string& complaints() const { return complaints_.all; }
  std::uint64_t good() const { return good_; }
  Target& target() { return target_; }

 private:
  TargetOptions draw() {
    TargetOptions options;
    options.habits = TargetHabits::draw(random_);
    options.faults = TargetFaults::draw(random_);
    options.faults.tick = 5 * proto::kMillisecond;
    options.faults.longest_delay = options.faults.longest_outage = options.faults.longest_ghost =
        50 * proto::kMillisecond;
    for (std::uint32_t i = 0; i < 3; ++i) options.media.push_back(MediumOptions::draw(random_, i, 1 << 20));
    options.luns = {{.number = 0, .medium = 0}, {.number = 1, .medium = 1}};
    options.controllers = {{.addresses = {"10.1.0.1:3260"}, .group_tag = 1},
                           {.addresses = {"10.1.0.2:3260"}, .group_tag = 2}};
    options.complaints = &complaints_;
    return options;
  }
  std::unique_ptr<RawInitiator> fresh() {
    auto initiator = std::make_unique<RawInitiator>(timeline_, target_);
    initiator->cmd_sn = static_cast<std::uint32_t>(random_.next());
    initiator->piece = random_.chance(0.5) ? static_cast<std::size_t>(random_.spread(1, 4096)) : 0;
    silent_ = 0;
    function_ = false;
    return initiator;
  }
  void log_in() {
    initiator_ = fresh();
    const std::size_t controller = random_.below(2);
    if (target_.controller(controller).answer() != Controller::Answer::accept) return;
    const auto connections = random_.between(1, 3);
    for (std::int64_t i = 0; i < connections; ++i) {
      if (initiator_->login(controller) != 0) break;
    }
  }
  bool broken() const {
    if (initiator_->links.empty() || initiator_->tsih == 0) return true;
    for (const auto& link : initiator_->links) {
      if (link->fin || link->over) return true;
    }
    return false;
  }
  void turn() {
    initiator_->wait(random_.spread(10, 2000));
    if (broken() || silent_ > 60) log_in();
    if (broken()) return;
    reap();
    if (++silent_ == 20) trouble();
    while (!function_ && initiator_->results.size() < 16 &&
           !comes_before(initiator_->max_cmd_sn, initiator_->cmd_sn)) {
      command();
    }
  }
  void reap() {
    std::erase_if(initiator_->results, [this](const auto& each) {
      if (!each.second.over) return false;
      if (each.second.good()) ++good_;
      silent_ = 0;
      return true;
    });
    if (!initiator_->others.empty()) function_ = false;
    initiator_->others.clear();
  }
  void trouble() {
    if (function_ || initiator_->links.size() > 1) return;
    function_ = true;
    // The target gives no answer to what it ends.
    if (random_.chance(0.5) && !initiator_->results.empty()) {
      initiator_->send_function(pdu::kAbortTask, initiator_->results.begin()->first);
      initiator_->results.erase(initiator_->results.begin());
    } else {
      initiator_->send_function(random_.pick({pdu::kLunReset, pdu::kWarmReset}), pdu::kNoTag);
      initiator_->results.clear();
    }
  }
  void command() {
    const std::size_t link = random_.below(initiator_->links.size());
    const auto lun = random_.below(3);
    const std::uint32_t block = target_.medium(lun % 2).block_size();
    const auto blocks = static_cast<std::uint32_t>(random_.spread(1, 40));
    Buffer cdb(16);
    const bool write = random_.chance(0.5);
    cdb[0] = write ? scsi::kWrite10 : scsi::kRead10;
    put_be32(&cdb[2], static_cast<std::uint32_t>(random_.below(128)));
    put_be16(&cdb[7], blocks);
    if (random_.chance(0.1)) {
      initiator_->begin(link, lun, {scsi::kSynchronizeCache10, 0, 0, 0, 0, 0, 0, 0, 0, 0}, false, 0);
    } else if (random_.chance(0.1)) {
      initiator_->begin(link, lun, {scsi::kInquiry, 1, 0x83, 0, 255, 0}, true, 255);
    } else if (write) {
      initiator_->begin(link, lun, cdb, false, blocks * block, Buffer(blocks * block, 7));
    } else {
      initiator_->begin(link, lun, cdb, true, blocks * block);
    }
  }

  Timeline timeline_;
  Random random_;
  Complaints complaints_;
  Target target_;
  std::unique_ptr<RawInitiator> initiator_;
  int silent_ = 0;
  bool function_ = false;
  std::uint64_t good_ = 0;
};

}  // namespace

TEST_CASE("target: a storm of faults") {
  const char* const chosen = std::getenv("NBDGW_SEED");
  const std::uint64_t first = chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : 1;
  const std::uint64_t last = chosen != nullptr ? first : 40;
  std::uint64_t good = 0;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    CAPTURE(seed);
    Storm storm(seed);
    storm.run(1000);
    storm.target().check_rest();
    CHECK(storm.complaints() == "");
    good += storm.good();
  }
  CHECK(good > 0);
}

}  // namespace nbdgw::sim
