#include "tests/unit/iscsi_target/peer.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;

namespace {

Bytes pattern(std::size_t length, unsigned seed) {
  Bytes bytes(length);
  std::mt19937 random(seed);
  for (auto& byte : bytes) byte = static_cast<std::uint8_t>(random());
  return bytes;
}

Bytes part(const Bytes& bytes, std::size_t offset, std::size_t length) {
  return Bytes(bytes.begin() + static_cast<long>(offset), bytes.begin() + static_cast<long>(offset + length));
}

/// Reads blocks of LUN 1 and checks how the Data-In PDUs come.
Bytes read_back(Peer& peer, std::uint64_t lba, std::uint32_t blocks, std::uint32_t segment = 8192,
                std::uint32_t burst = 262144) {
  const std::uint32_t length = blocks * 512;
  peer.command(Peer::read_cdb(lba, blocks), {.read = true, .length = length});
  Bytes all;
  for (std::uint32_t data_sn = 0; all.size() < length; ++data_sn) {
    const auto pdu = peer.receive_as<iscsi::DataIn>(Opcode::data_in);
    CHECK(pdu.data_sn == data_sn);
    CHECK(pdu.buffer_offset == all.size());
    CHECK(peer.data.size() == std::min({std::size_t{segment}, length - all.size(), burst - all.size() % burst}));
    all.insert(all.end(), peer.data.begin(), peer.data.end());
    CHECK(pdu.has_status == (all.size() == length));
    CHECK(pdu.final == (all.size() == length || all.size() % burst == 0));
  }
  return all;
}

}  // namespace

TEST_CASE("data: a write with immediate, unsolicited and solicited data; several R2Ts at a time") {
  World world;
  Peer peer(world);
  peer.log_in(pairs({"InitialR2T=No", "FirstBurstLength=16384", "MaxBurstLength=32768", "MaxOutstandingR2T=2",
                     "MaxRecvDataSegmentLength=8192"}));
  peer.clear_attentions();
  const Bytes bytes = pattern(160 * 512, 1);  // 81920: 4096 immediate, 12288 unsolicited, 2 * 32768 solicited
  peer.command(Peer::write_cdb(10, 160), {.write = true, .final = false, .length = 81920}, 1ULL << 48,
               part(bytes, 0, 4096));
  CHECK(peer.empty());
  peer.send(iscsi::DataOut{.itt = peer.itt, .data_sn = 0, .buffer_offset = 4096}, part(bytes, 4096, 8192));
  CHECK(peer.empty());
  peer.send(iscsi::DataOut{.final = true, .itt = peer.itt, .data_sn = 1, .buffer_offset = 12288},
            part(bytes, 12288, 4096));
  const auto one = peer.receive_as<iscsi::R2t>(Opcode::r2t);
  const auto two = peer.receive_as<iscsi::R2t>(Opcode::r2t);
  CHECK(peer.empty());
  CHECK(one.r2t_sn == 0);
  CHECK(one.buffer_offset == 16384);
  CHECK(one.desired_length == 32768);
  CHECK(one.lun == 1ULL << 48);
  CHECK(one.sequence.stat_sn == two.sequence.stat_sn);  // not consumed
  CHECK(two.r2t_sn == 1);
  CHECK(two.buffer_offset == 49152);
  CHECK(two.desired_length == 32768);
  for (const auto& r2t : {one, two}) {
    for (std::uint32_t at = 0; at < r2t.desired_length; at += 16384) {
      CHECK(peer.empty());
      peer.send(iscsi::DataOut{.final = at == 16384,
                               .itt = peer.itt,
                               .ttt = r2t.ttt,
                               .data_sn = at / 16384,
                               .buffer_offset = r2t.buffer_offset + at},
                part(bytes, r2t.buffer_offset + at, 16384));
    }
  }
  const auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  CHECK(response.status.status == 0);
  CHECK_FALSE(response.status.underflow);
  CHECK_FALSE(response.status.overflow);
  CHECK(response.exp_data_sn == 2);
  CHECK(read_back(peer, 10, 160, 8192, 32768) == bytes);
}

TEST_CASE("data: any split of a write, any chunks on the wire, against a copy in memory") {
  auto random = seeded_random();
  for (int round = 0; round < 12; ++round) {
    World world;
    Peer peer(world);
    const auto first_burst = static_cast<std::uint32_t>(512 + random() % 20000);
    const auto max_burst = static_cast<std::uint32_t>(first_burst + random() % 20000);
    const bool unsolicited = random() % 2 == 0;
    const bool immediate = random() % 2 == 0;
    const auto digests = random() % 2 == 0;
    const auto segment = static_cast<std::uint32_t>(512 + random() % 9000);
    const char* digest = digests ? "CRC32C" : "None";
    peer.log_in(
        pairs({unsolicited ? "InitialR2T=No" : "InitialR2T=Yes", immediate ? "ImmediateData=Yes" : "ImmediateData=No",
               "FirstBurstLength=" + std::to_string(first_burst), "MaxBurstLength=" + std::to_string(max_burst),
               "MaxOutstandingR2T=" + std::to_string(1 + random() % 4),
               "MaxRecvDataSegmentLength=" + std::to_string(segment), std::string("HeaderDigest=") + digest,
               std::string("DataDigest=") + digest}));
    peer.header_digest = peer.data_digest = digests;
    peer.clear_attentions();
    Bytes copy(2048 * 512);
    for (int request = 0; request < 30; ++request) {
      const auto blocks = static_cast<std::uint32_t>(1 + random() % 200);
      const auto lba = random() % (2048 - blocks);
      const std::uint32_t length = blocks * 512;
      const std::size_t chunk = random() % 3 == 0 ? 1 + random() % 3000 : 0;
      if (random() % 3 == 0) {
        CHECK(read_back(peer, lba, blocks, segment, max_burst) == part(copy, lba * 512, length));
        continue;
      }
      const Bytes bytes = pattern(length, static_cast<unsigned>(random()));
      std::copy(bytes.begin(), bytes.end(), copy.begin() + static_cast<long>(lba * 512));
      const std::uint32_t first = std::min(first_burst, length);
      const auto now = static_cast<std::uint32_t>(immediate ? random() % (first + 1) : 0);
      const auto more = static_cast<std::uint32_t>(unsolicited ? random() % (first - now + 1) : 0);
      Bytes wire = peer.bytes_of(
          peer.command_pdu(Peer::write_cdb(lba, blocks), {.write = true, .final = !unsolicited, .length = length}),
          part(bytes, 0, now));
      std::uint32_t at = now;
      if (unsolicited) {
        const std::uint32_t half = more / 2;
        const Bytes a = peer.bytes_of(iscsi::DataOut{.itt = peer.itt, .buffer_offset = at}, part(bytes, at, half));
        const Bytes b =
            peer.bytes_of(iscsi::DataOut{.final = true, .itt = peer.itt, .data_sn = 1, .buffer_offset = at + half},
                          part(bytes, at + half, more - half));
        wire.insert(wire.end(), a.begin(), a.end());
        wire.insert(wire.end(), b.begin(), b.end());
        at += more;
      }
      peer.feed(wire, chunk);
      while (at < length) {
        const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
        CHECK(r2t.buffer_offset == at);
        CHECK(r2t.desired_length == std::min(max_burst, length - at));
        std::uint32_t sent = 0;
        for (std::uint32_t data_sn = 0; sent < r2t.desired_length; ++data_sn) {
          const auto n =
              static_cast<std::uint32_t>(std::min<std::uint64_t>(r2t.desired_length - sent, 1 + random() % 9000));
          peer.feed(peer.bytes_of(iscsi::DataOut{.final = sent + n == r2t.desired_length,
                                                 .itt = r2t.itt,
                                                 .ttt = r2t.ttt,
                                                 .data_sn = data_sn,
                                                 .buffer_offset = at + sent},
                                  part(bytes, at + sent, n)),
                    chunk);
          sent += n;
        }
        at += sent;
      }
      const auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
      CHECK(response.status.status == 0);
      CHECK(peer.empty());
    }
    CHECK(read_back(peer, 0, 2048, segment, max_burst) == copy);
  }
}

TEST_CASE("data: Data-Out that breaks the rules costs the connection") {
  struct Case {
    const char* expected;
    void (*change)(iscsi::DataOut&, Bytes&);
  };
  const std::vector<Case> solicited{
      {"gap in its DataSN", [](auto& p, auto&) { p.data_sn = 1; }},
      {"begin where the last one ended", [](auto& p, auto&) { p.buffer_offset = 512; }},
      {"begin where the last one ended", [](auto& p, auto&) { p.buffer_offset = 0xfffffe00; }},
      {"not the next one", [](auto& p, auto&) { p.ttt ^= 1; }},
      {"nobody asked for", [](auto& p, auto&) { p.ttt = iscsi::kReservedTag; }},
      {"beyond what its R2T asked for", [](auto&, auto& data) { data.resize(5120); }},
      {"too early", [](auto&, auto& data) { data.resize(2048); }},
      {"without the F bit", [](auto& p, auto&) { p.final = false; }},
  };
  for (const Case& each : solicited) {
    CAPTURE(each.expected);
    World world;
    Peer peer(world);
    peer.log_in();
    peer.clear_attentions();
    peer.command(Peer::write_cdb(0, 8), {.write = true, .length = 4096});
    const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
    iscsi::DataOut pdu{.final = true, .itt = r2t.itt, .ttt = r2t.ttt};
    Bytes data(4096, 1);
    each.change(pdu, data);
    peer.send(pdu, data);
    CHECK_FALSE(peer.is_open());
    CHECK(peer.reason().starts_with("protocol error: "));
    CHECK_MESSAGE(peer.reason().find(each.expected) != std::string::npos, peer.reason());
    CHECK(world.disk1.pages() == 0);
  }
  const std::vector<Case> unsolicited{
      {"gap in its DataSN", [](auto& p, auto&) { p.data_sn = 7; }},
      {"begin where the last one ended", [](auto& p, auto&) { p.buffer_offset = 0; }},
      {"beyond FirstBurstLength", [](auto&, auto& data) { data.resize(2048 - 512 + 4); }},
      {"while unsolicited data is not complete", [](auto& p, auto&) { p.ttt = 0; }},
  };
  for (const Case& each : unsolicited) {
    CAPTURE(each.expected);
    World world;
    Peer peer(world);
    peer.log_in(pairs({"InitialR2T=No", "FirstBurstLength=2048"}));
    peer.clear_attentions();
    peer.command(Peer::write_cdb(0, 8), {.write = true, .final = false, .length = 4096}, 1ULL << 48, Bytes(512, 1));
    iscsi::DataOut pdu{.final = true, .itt = peer.itt, .buffer_offset = 512};
    Bytes data(512, 1);
    each.change(pdu, data);
    peer.send(pdu, data);
    CHECK_FALSE(peer.is_open());
    CHECK_MESSAGE(peer.reason().find(each.expected) != std::string::npos, peer.reason());
  }
}

TEST_CASE("data: commands that bring what they may not cost the connection") {
  struct Case {
    const char* expected;
    Peer::Flags flags;
    std::size_t immediate;
    const char* keys;
  };
  for (const Case& each : {
           Case{"no write", {.read = true, .length = 4096}, 512, "InitialR2T=No"},
           Case{"ImmediateData=No", {.write = true, .length = 4096}, 512, "ImmediateData=No"},
           Case{"FirstBurstLength", {.write = true, .length = 4096}, 1024, "FirstBurstLength=512"},
           Case{"the transfer", {.write = true, .length = 512}, 1024, "InitialR2T=No"},
           Case{"may not send", {.write = true, .final = false, .length = 4096}, 0, "InitialR2T=Yes"},
           Case{"may not send", {.read = true, .final = false, .length = 4096}, 0, "InitialR2T=No"},
       }) {
    CAPTURE(each.expected);
    World world;
    Peer peer(world);
    peer.log_in(pairs({each.keys}));
    peer.clear_attentions();
    peer.command(Peer::write_cdb(0, 8), each.flags, 1ULL << 48, Bytes(each.immediate, 1));
    CHECK_FALSE(peer.is_open());
    CHECK_MESSAGE(peer.reason().find(each.expected) != std::string::npos, peer.reason());
  }
}

TEST_CASE("data: Data-Out for a task that is not there is dropped, on the wrong connection it is not") {
  World world;
  Peer peer(world);
  peer.log_in(pairs({"MaxConnections=2"}));
  peer.clear_attentions();
  peer.send(iscsi::DataOut{.final = true, .itt = 4711, .ttt = 1}, Bytes(4096, 1));
  CHECK(peer.is_open());
  CHECK(world.server->counters().stray_data_out == 1);
  peer.command(Peer::write_cdb(0, 8), {.write = true, .length = 4096});
  const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
  Peer other(world);
  other.cid = 1;
  other.tsih = peer.tsih;
  other.log_in();
  other.send(iscsi::DataOut{.final = true, .itt = r2t.itt, .ttt = r2t.ttt}, Bytes(4096, 1));
  CHECK_FALSE(other.is_open());
  peer.send(iscsi::DataOut{.final = true, .itt = r2t.itt, .ttt = r2t.ttt}, Bytes(4096, 1));
  CHECK(peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response).status.status == 0);
}

TEST_CASE("data: residuals") {
  World world;
  Peer peer(world);
  peer.log_in();
  peer.clear_attentions();
  // A read with more room than there is data, and with less.
  peer.command(Peer::read_cdb(0, 1), {.read = true, .length = 2048});
  auto in = peer.receive_as<iscsi::DataIn>(Opcode::data_in);
  CHECK(peer.data.size() == 512);
  CHECK(in.status.underflow);
  CHECK(in.status.residual_count == 1536);
  peer.command(Peer::read_cdb(0, 4), {.read = true, .length = 512});
  in = peer.receive_as<iscsi::DataIn>(Opcode::data_in);
  CHECK(peer.data.size() == 512);
  CHECK(in.status.overflow);
  CHECK(in.status.residual_count == 1536);
  // Without room at all, and in the wrong direction.
  peer.command(Peer::read_cdb(0, 4), {});
  auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  CHECK(response.status.overflow);
  CHECK(response.status.residual_count == 2048);
  // A write that announces more than the CDB, and less: the block that is there is written.
  peer.command(Peer::write_cdb(0, 1), {.write = true, .length = 1024}, 1ULL << 48, Bytes(1024, 0x11));
  response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  CHECK(response.status.status == 0);
  CHECK(response.status.underflow);
  CHECK(response.status.residual_count == 512);
  peer.command(Peer::write_cdb(1, 2), {.write = true, .length = 512}, 1ULL << 48, Bytes(512, 0x22));
  response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  CHECK(response.status.overflow);
  CHECK(response.status.residual_count == 512);
  const Bytes back = read_back(peer, 0, 3);
  CHECK(back[0] == 0x11);
  CHECK(back[512] == 0x22);
  CHECK(back[1024] == 0);
  // CHECK CONDITION: nothing was moved.
  peer.command(Peer::read_cdb(1ULL << 40, 1), {.read = true, .length = 512});
  response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  CHECK(response.status.status == 2);
  CHECK(response.status.underflow);
  CHECK(response.status.residual_count == 512);
  CHECK(peer.data.size() == 20);
  CHECK(peer.data[1] == 18);
}

TEST_CASE("data: memory is bounded: TASK SET FULL, and nothing leaks") {
  World world;
  Peer peer(world);
  peer.log_in(pairs({"MaxBurstLength=16776192"}));
  peer.clear_attentions();
  const std::uint32_t blocks = 32768;  // 16 MiB, of 34 there are
  std::vector<iscsi::R2t> r2ts;
  for (int i = 0; i < 2; ++i) {
    peer.command(Peer::write_cdb(0, blocks), {.write = true, .length = blocks * 512});
    r2ts.push_back(peer.receive_as<iscsi::R2t>(Opcode::r2t));
  }
  peer.command(Peer::write_cdb(0, blocks), {.write = true, .length = blocks * 512}, 1ULL << 48, Bytes(4096, 1));
  auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  CHECK(response.status.status == 0x28);
  CHECK(response.status.residual_count == blocks * 512);
  peer.command(Peer::read_cdb(0, blocks), {.read = true, .length = blocks * 512});
  CHECK(peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response).status.status == 0x28);
  CHECK(world.server->counters().task_set_full == 2);
  CHECK(world.server->buffers().used() >= 32u << 20);
  peer.disconnect();
  CHECK(world.server->buffers().used() == 0);
}

TEST_CASE("data: an initiator that takes no answers is not read from any more") {
  World world;
  Peer peer(world);
  peer.log_in();
  const Bytes nop = peer.bytes_of(iscsi::NopOut{.itt = 3, .cmd_sn = peer.cmd_sn});
  std::size_t sent = 0;
  while (peer.engine().wants_to_read()) {
    peer.feed(nop);
    ++sent;
    REQUIRE(sent < 5000);
  }
  CHECK(sent > nbdgw::iscsi_target::kMaxQueuedControl);
  for (std::size_t i = 0; i < sent; ++i) CHECK(peer.receive_as<iscsi::NopIn>(Opcode::nop_in).itt == 3);
  CHECK(peer.engine().wants_to_read());
}
