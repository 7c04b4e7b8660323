#include "tests/unit/iscsi_target/faulty.hpp"
#include "tests/unit/iscsi_target/plausible.hpp"

using namespace nbdgw::test;

namespace {

/// Any fault, of any scope, with parameters that may be.
Fault random_fault(std::mt19937_64& random) {
  const auto number = [&](std::uint64_t below) { return static_cast<std::uint32_t>(random() % below); };
  const auto all = nbdgw::iscsi_target::all_fault_traits();
  const auto& kind = all[random() % all.size()];
  Fault fault = default_fault(kind);
  for (const auto& each : kind.parameters) {
    if (each.flag != nullptr) fault.*each.flag = random() % 2 == 0;
    if (each.number != nullptr && random() % 2 == 0)
      fault.*each.number = each.least + number(each.most - each.least + 1);
  }
  fault.delay_ms = number(20);
  // Mostly one connection, or what hangs on both would be all that is tested.
  if (kind.cid && random() % 4 != 0) fault.cid = number(2);
  if (kind.needs_lun || (kind.lun && random() % 2 == 0)) fault.lun = 1 + number(2);
  if (kind.opcode && random() % 2 == 0) fault.group = static_cast<CommandGroup>(number(6));
  if (kind.trigger && random() % 2 == 0) {
    fault.has_trigger = true;
    fault.count = 1 + number(4);
    fault.skip = number(3);
    fault.probability = 0.5;
    fault.seed = random();
  }
  // The end of all connections leaves nothing to test.
  if (fault.kind == FaultKind::power_loss) fault.drop = random() % 8 == 0;
  return fault;
}

/// Two connections of one session, as far as the faults let them log in.
struct Initiator {
  explicit Initiator(Faulty& faulty)
      : one(std::make_unique<Peer>(faulty.world)), two(std::make_unique<Peer>(faulty.world)) {
    log_in(*one, pairs({"MaxConnections=2", "InitialR2T=No", "MaxBurstLength=1024", "FirstBurstLength=1024",
                        "HeaderDigest=CRC32C"}));
    one->header_digest = one->takes_wrong_digests = true;
    if (one->engine().session() != nullptr) two->tsih = one->engine().session()->tsih();
    two->cid = 1;
    log_in(*two, {});
    cmd_sn = one->cmd_sn;
  }
  static void log_in(Peer& peer, const std::string& keys) {
    peer.send(peer.login_request(iscsi::LoginStage::operational, iscsi::LoginStage::full_feature),
              Peer::names() + keys);
    peer.pull();
  }
  std::unique_ptr<Peer> one, two;
  std::uint32_t cmd_sn = 0;
};

}  // namespace

TEST_CASE("faults: any of them, coming and going under plausible traffic, hold nothing in the end") {
  auto random = seeded_random();
  std::uint64_t hits = 0, commands = 0;
  for (int round = 0; round < 200; ++round) {
    Faulty faulty;
    auto initiator = std::make_unique<Initiator>(faulty);
    for (int i = 0; i < 400; ++i) {
      if (random() % 10 == 0) faulty.faults.add(random_fault(random), faulty.world.now);
      if (random() % 15 == 0 && !faulty.faults.posted().empty()) {
        const auto& some = faulty.faults.posted()[random() % faulty.faults.posted().size()];
        hits += some.hits;
        faulty.remove(some.id);
      }
      if (random() % 5 == 0) faulty.pass_time(static_cast<nbdgw::proto::Micros>(random() % 10'000));
      if (!initiator->one->is_open() || !initiator->two->is_open()) {
        initiator.reset();
        initiator = std::make_unique<Initiator>(faulty);
      }
      Peer& peer = random() % 2 == 0 ? *initiator->one : *initiator->two;
      peer.feed(plausible_pdu(peer, random, initiator->cmd_sn), random() % 2 == 0 ? 0 : 1 + random() % 300);
      if (random() % 2 == 0) peer.pull(1 + random() % 5000);
    }
    commands += faulty.world.server->counters().commands;
    const bool faults_first = random() % 2 == 0;
    if (faults_first) faulty.faults.clear(faulty.world.now);
    if (random() % 2 == 0) initiator->one.reset();
    initiator.reset();
    if (!faults_first) faulty.faults.clear(faulty.world.now);
    CHECK(faulty.faults.next_deadline() == nbdgw::proto::kNever);
    CHECK(faulty.world.server->buffers().used() == 0);
    CHECK(faulty.world.server->sessions().empty());
    CHECK_FALSE(faulty.world.server->window_frozen());
  }
  MESSAGE(hits << " hits, " << commands << " commands executed");
  CHECK(hits > 400);
  CHECK(commands > 400);
}
