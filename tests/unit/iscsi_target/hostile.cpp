#include "proto/bytes/endian.hpp"
#include "tests/unit/iscsi_target/peer.hpp"
#include "tests/unit/iscsi_target/plausible.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;

namespace {

/// What a well-behaved initiator sends in a short life: login, commands of all kinds, logout.
std::vector<Bytes> a_short_life(Peer& peer) {
  std::vector<Bytes> wire;
  const auto say = [&](const Bytes& bytes) { wire.push_back(bytes); };
  const std::string keys = Peer::names() + pairs({"InitialR2T=No", "MaxBurstLength=4096", "FirstBurstLength=2048"});
  say(peer.bytes_of(peer.login_request(iscsi::LoginStage::operational, iscsi::LoginStage::full_feature),
                    Bytes(keys.begin(), keys.end())));
  say(peer.bytes_of(peer.command_pdu(scsi::test_unit_ready(), {}), {}));
  say(peer.bytes_of(peer.command_pdu(scsi::Inquiry{.allocation_length = 255}.build(), {.read = true, .length = 255}),
                    {}));
  say(peer.bytes_of(peer.command_pdu(Peer::write_cdb(0, 4), {.write = true, .final = false, .length = 2048}),
                    Bytes(512, 1)));
  say(peer.bytes_of(iscsi::DataOut{.final = true, .itt = peer.itt, .buffer_offset = 512}, Bytes(1536, 2)));
  say(peer.bytes_of(peer.command_pdu(Peer::read_cdb(0, 4), {.read = true, .length = 2048}), {}));
  say(peer.bytes_of(iscsi::NopOut{.itt = 60, .cmd_sn = peer.cmd_sn}, Bytes(7, 3)));
  say(peer.bytes_of(iscsi::TaskManagementRequest{.function = iscsi::TaskManagementFunction::logical_unit_reset,
                                                 .lun = 1ULL << 48,
                                                 .itt = 61,
                                                 .cmd_sn = peer.cmd_sn}));
  const std::string text = pairs({"SendTargets="});
  say(peer.bytes_of(iscsi::TextRequest{.itt = 62, .cmd_sn = peer.cmd_sn++}, Bytes(text.begin(), text.end())));
  say(peer.bytes_of(iscsi::LogoutRequest{.itt = 63, .cmd_sn = peer.cmd_sn}));
  return wire;
}

/// Whatever came, the engine is in a state that makes sense, and lets go of everything in the end.
void check_sane(World& world, Peer& peer) {
  peer.pull();
  if (!peer.is_open()) CHECK_FALSE(peer.engine().wants_to_read());
  peer.disconnect();
  CHECK(world.server->sessions().empty());
  CHECK(world.server->buffers().used() == 0);
}

}  // namespace

TEST_CASE("hostile: a short life goes well, in any chunks") {
  for (std::size_t chunk : {0, 1, 2, 3, 47, 48, 49, 1000}) {
    World world;
    Peer peer(world);
    for (const Bytes& bytes : a_short_life(peer)) {
      peer.feed(bytes, chunk);
      peer.pull();
    }
    int answers = 0;
    Opcode last{};
    while (!peer.empty()) {
      last = peer.receive().opcode();
      ++answers;
    }
    CHECK(answers == 9);
    CHECK(last == Opcode::logout_response);
    check_sane(world, peer);
  }
}

TEST_CASE("hostile: cut off after every byte") {
  World plan;
  Peer planner(plan);
  Bytes wire;
  for (const Bytes& bytes : a_short_life(planner)) wire.insert(wire.end(), bytes.begin(), bytes.end());
  for (std::size_t length = 0; length <= wire.size(); length += 1 + length / 200) {
    World world;
    Peer peer(world);
    peer.feed(Bytes(wire.begin(), wire.begin() + static_cast<long>(length)));
    check_sane(world, peer);
  }
}

TEST_CASE("hostile: another value at every byte of every header, and in the text") {
  World plan;
  Peer planner(plan);
  const auto life = a_short_life(planner);
  for (std::size_t which = 0; which < life.size(); ++which) {
    const std::size_t bytes = which == 0 ? life[which].size() : 48;
    for (std::size_t at = 0; at < bytes; ++at) {
      for (const int value : {0x00, 0x01, 0x7f, 0x80, 0xff}) {
        World world;
        Peer peer(world);
        for (std::size_t i = 0; i < life.size(); ++i) {
          Bytes pdu = life[i];
          if (i == which) pdu[at] = static_cast<std::uint8_t>(value);
          peer.feed(pdu);
          if (i % 3 == 0) peer.pull();
        }
        check_sane(world, peer);
      }
    }
  }
}

TEST_CASE("hostile: PDUs that are mostly plausible, on two connections") {
  auto random = seeded_random();
  std::uint64_t executed = 0, aborted = 0;
  for (int round = 0; round < 400; ++round) {
    World world;
    auto one = std::make_unique<Peer>(world);
    one->log_in(pairs({"MaxConnections=2", "InitialR2T=No", "MaxOutstandingR2T=3", "MaxBurstLength=1024",
                       "FirstBurstLength=1024"}));
    one->clear_attentions();
    auto two = std::make_unique<Peer>(world);
    two->cid = 1;
    two->tsih = one->tsih;
    two->log_in();
    std::uint32_t cmd_sn = one->cmd_sn;
    for (int i = 0; i < 100; ++i) {
      Peer& peer = random() % 2 == 0 ? *one : *two;
      peer.feed(plausible_pdu(peer, random, cmd_sn), random() % 2 == 0 ? 0 : 1 + random() % 300);
      if (random() % 2 == 0) peer.pull(1 + random() % 5000);
    }
    executed += world.server->counters().commands;
    aborted += world.server->counters().aborted;
    if (random() % 2 == 0) std::swap(one, two);
    one.reset();
    check_sane(world, *two);
  }
  MESSAGE(executed << " commands executed, " << aborted << " aborted");
  CHECK(executed > 400);  // it is not all refused at the door
  CHECK(aborted > 100);
}

TEST_CASE("hostile: pure noise, before and after the login") {
  auto random = seeded_random();
  for (int round = 0; round < 2000; ++round) {
    World world;
    Peer peer(world);
    if (round % 2 == 0) peer.log_in();
    Bytes noise(random() % 600);
    for (auto& byte : noise) byte = static_cast<std::uint8_t>(random());
    peer.feed(noise, random() % 2 == 0 ? 0 : 1 + random() % 50);
    check_sane(world, peer);
  }
}
