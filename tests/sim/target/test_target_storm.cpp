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
    for (int step = 0; step < 200; ++step) turn();
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
    initiator->piece = random_.chance(0.5) ? static_cast<std::size_t>(random_.spread(16, 4096)) : 0;
    silent_ = 0;
    function_ = 0;
    links_.clear();
    return initiator;
  }
  void log_in() {
    if (random_.chance(0.5)) {
      for (const auto& link : initiator_->links) link->finish(false);
      for (int i = 0; i < 5; ++i) initiator_->wait(random_.spread(10, 5000));
    }
    initiator_ = fresh();
    const std::string keys = random_.chance(0.3) ? "HeaderDigest=CRC32C|DataDigest=CRC32C,None|" : "";
    const std::size_t controller = random_.below(2);
    if (target_.controller(controller).answer() != Controller::Answer::accept) return;
    const auto connections = random_.between(1, 3);
    for (std::int64_t i = 0; i < connections; ++i) {
      if (initiator_->login(controller, keys) == 0) continue;
      initiator_->links.pop_back();
      break;
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
    if (++silent_ == 20 || random_.chance(0.01)) trouble();
    while (function_ == 0 && initiator_->results.size() < 16 &&
           !comes_before(initiator_->max_cmd_sn, initiator_->cmd_sn)) {
      command();
    }
  }
  void reap() {
    std::erase_if(initiator_->results, [this](const auto& each) {
      if (!each.second.over) return false;
      if (each.second.good()) ++good_;
      if (each.first == function_) function_ = 0;  // it was rejected
      silent_ = 0;
      return true;
    });
    for (const ReceivedPdu& each : initiator_->others) {
      if (each.opcode() == pdu::kTaskManagementResponse) function_ = 0;
    }
    initiator_->others.clear();
  }
  void trouble() {
    if (function_ != 0) return;
    function_ = initiator_->next_itt;
    // The target gives no answer to what it ends.
    if (random_.chance(0.5) && !initiator_->results.empty()) {
      const std::uint32_t itt = initiator_->results.begin()->first;
      initiator_->send_function(pdu::kAbortTask, itt, links_[itt]);
      initiator_->results.erase(initiator_->results.begin());
    } else {
      initiator_->send_function(random_.pick({pdu::kLunReset, pdu::kWarmReset}), pdu::kNoTag);
      initiator_->results.clear();
    }
  }
  void command() {
    const std::size_t link = random_.below(initiator_->links.size());
    links_[initiator_->next_itt] = link;
    if (random_.chance(0.02)) return static_cast<void>(initiator_->nop_out(link));
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
    } else if (random_.chance(0.05)) {
      Buffer list(24);
      put_be16(&list[2], 16);
      put_be32(&list[16], 8);
      initiator_->begin(link, lun, {scsi::kUnmap, 0, 0, 0, 0, 0, 0, 0, 24, 0}, false, 24, list);
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
  std::map<std::uint32_t, std::size_t> links_;  // by tag
  std::unique_ptr<RawInitiator> initiator_;
  int silent_ = 0;
  std::uint32_t function_ = 0;  // its tag
  std::uint64_t good_ = 0;
};

}  // namespace

TEST_CASE("target: a storm of faults") {
  const char* const chosen = std::getenv("NBDGW_SEED");
  const std::uint64_t first = chosen != nullptr ? std::strtoull(chosen, nullptr, 10) : 1;
  const std::uint64_t last = chosen != nullptr ? first : 20;
  std::uint64_t good = 0;
  for (std::uint64_t seed = first; seed <= last; ++seed) {
    CAPTURE(seed);
    Storm storm(seed);
    storm.run(500);
    storm.target().check_rest();
    CHECK(storm.complaints() == "");
    good += storm.good();
  }
  CHECK(good > 0);
}

}  // namespace nbdgw::sim
