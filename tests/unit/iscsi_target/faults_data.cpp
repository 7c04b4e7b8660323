#include "tests/unit/iscsi_target/faulty.hpp"

using namespace nbdgw::test;
using iscsi::Opcode;

namespace {

struct Case {
  bool good;
  bool told;
};
constexpr Case kCases[] = {{false, true}, {false, false}, {true, true}, {true, false}};

void post_short(Faulty& faulty, std::uint32_t bytes, const Case& each) {
  faulty.post(FaultKind::short_data, [&](Fault& f) {
    f.count = 1;
    f.bytes = bytes;
    f.good = each.good;
    f.told = each.told;
  });
}

void check_fields(const iscsi::StatusFields& status, const Case& each, std::uint32_t missing) {
  CHECK(status.status == (each.good ? 0 : 2));
  CHECK(status.underflow == (each.told && missing > 0));
  CHECK(status.residual_count == (each.told ? missing : 0));
  CHECK_FALSE(status.overflow);
}

}  // namespace

TEST_CASE("faults: a read that ends well without its data, or with a part of it") {
  for (const Case& each : kCases) {
    for (const std::uint32_t bytes : {0U, 512U, 700U}) {
      CAPTURE(each.good);
      CAPTURE(each.told);
      CAPTURE(bytes);
      Faulty faulty;
      Peer peer(faulty.world);
      peer.log_in();
      peer.clear_attentions();
      post_short(faulty, bytes, each);
      peer.command(Peer::read_cdb(0, 2), {.read = true, .length = 1024});
      Pdu pdu = peer.receive();
      if (bytes > 0) {
        CHECK(pdu.opcode() == Opcode::data_in);
        CHECK(pdu.data.size() == bytes);
        const auto data = pdu.as<iscsi::DataIn>();
        CHECK(data.final);
        CHECK(data.has_status == each.good);
        if (each.good) check_fields(data.status, each, 1024 - bytes);
      }
      if (bytes == 0 || !each.good) {
        if (bytes > 0) pdu = peer.receive();
        REQUIRE(pdu.opcode() == Opcode::scsi_response);
        check_fields(pdu.as<iscsi::ScsiResponse>().status, each, 1024 - bytes);
        if (!each.good) CHECK((pdu.data.at(4) & 15) == 1);
        if (!each.good) CHECK(pdu.data.at(14) == 0x17);
      }
      peer.command(Peer::read_cdb(0, 2), {.read = true, .length = 1024});
      CHECK(peer.receive().data.size() == 1024);
      CHECK(peer.empty());
      CHECK(faulty.world.server->buffers().used() == 0);
    }
  }
}

TEST_CASE("faults: a write of which only a part is asked for, and which ends well") {
  for (const Case& each : kCases) {
    for (const std::uint32_t bytes : {0U, 512U}) {
      CAPTURE(each.good);
      CAPTURE(each.told);
      CAPTURE(bytes);
      Faulty faulty;
      Peer peer(faulty.world);
      peer.log_in();
      peer.clear_attentions();
      post_short(faulty, bytes, each);
      peer.command(Peer::write_cdb(0, 2), {.write = true, .length = 1024});
      if (bytes > 0) {
        const auto r2t = peer.receive_as<iscsi::R2t>(Opcode::r2t);
        CHECK(r2t.desired_length == bytes);
        peer.send(iscsi::DataOut{.final = true, .itt = r2t.itt, .ttt = r2t.ttt}, Bytes(bytes, 7));
      }
      const auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
      check_fields(response.status, each, 1024 - bytes);
      CHECK(stored(faulty, 0) == (bytes > 0 ? 7 : 0));
      CHECK(stored(faulty, 1) == 0);
      CHECK(faulty.world.server->buffers().used() == 0);
    }
  }
}

TEST_CASE("faults: of data that came unasked only a part is written") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  peer.clear_attentions();
  post_short(faulty, 512, {false, true});
  peer.command(Peer::write_cdb(0, 2), {.write = true, .length = 1024}, kLun1, Bytes(1024, 7));
  const auto response = peer.receive_as<iscsi::ScsiResponse>(Opcode::scsi_response);
  check_fields(response.status, {false, true}, 512);
  CHECK(stored(faulty, 0) == 7);
  CHECK(stored(faulty, 1) == 0);
}

TEST_CASE("faults: what fails by itself is not made good") {
  Faulty faulty;
  Peer peer(faulty.world);
  peer.log_in();
  const auto id = faulty.post(FaultKind::short_data, [](Fault& f) { f.count = 1; });
  peer.command(Peer::read_cdb(0, 1), {.read = true, .length = 512});
  CHECK(end_of_next(peer).sense == 0x062900);
  CHECK(faulty.posted(id).hits == 1);
}
