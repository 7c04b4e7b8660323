#include <doctest/doctest.h>

#include <numeric>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using Kind = SessionEvent::Kind;

namespace {

Bytes slice_of(const Bytes& bytes, std::size_t offset, std::size_t length) {
  const auto begin = bytes.begin() + static_cast<std::ptrdiff_t>(offset);
  return {begin, begin + static_cast<std::ptrdiff_t>(length)};
}

Bytes sense_segment(std::size_t sense_length, std::size_t told) {
  Bytes data(2 + sense_length);
  data[0] = static_cast<std::uint8_t>(told >> 8);
  data[1] = static_cast<std::uint8_t>(told);
  std::iota(data.begin() + 2, data.end(), std::uint8_t{0x70});
  return data;
}

}  // namespace

TEST_CASE("read: the command on the wire") {
  Peer peer;
  peer.start();
  peer.jobs.read(4096);
  const Pdu pdu = peer.take(0, Opcode::scsi_command);
  const auto command = pdu.as<ScsiCommandPdu>();
  CHECK(command.final);
  CHECK(command.read);
  CHECK_FALSE(command.write);
  CHECK_FALSE(command.immediate);
  CHECK(command.attribute == 1);
  CHECK(command.expected_length == 4096);
  CHECK(command.lun == 0x0001000000000000ULL);
  CHECK(command.exp_stat_sn == peer.wire(0).stat_sn);
  CHECK(command.cdb[0] == 0x88);
  CHECK(command.itt != kReservedTag);
  CHECK(pdu.data.empty());
  CHECK(pdu.ahs.empty());
}

TEST_CASE("read: a long CDB goes on in an additional header") {
  for (const std::size_t length : {16, 17, 20, 29, 32}) {
    auto settings = default_settings();
    settings.header_digest = DigestOffer::require_crc32c;
    Peer peer(settings);
    peer.keys.answers["HeaderDigest"] = "CRC32C";
    peer.start();
    Job& job = peer.jobs.make(Direction::none, 0);
    std::iota(job.cdb.begin(), job.cdb.end(), std::uint8_t{1});
    job.cdb_length = static_cast<std::uint8_t>(length);
    peer.jobs.queue(job);
    const Pdu pdu = peer.take(0, Opcode::scsi_command);
    if (length == 16) {
      CHECK(pdu.ahs.empty());
      continue;
    }
    const std::size_t rest = length - 16U;
    REQUIRE(pdu.ahs.size() == (4 + rest + 3) / 4 * 4);
    CHECK(pdu.ahs[0] == 0);
    CHECK(pdu.ahs[1] == rest + 1);
    CHECK(pdu.ahs[2] == 1);
    CHECK(pdu.ahs[3] == 0);
    for (std::size_t i = 0; i < pdu.ahs.size() - 4; ++i) CHECK(pdu.ahs[4 + i] == (i < rest ? 17 + i : 0));
  }
}

TEST_CASE("read: data in several PDUs into scattered memory, status in the last or in a response") {
  for (const std::size_t chunk :
       {std::size_t{1}, std::size_t{7}, std::size_t{48}, std::size_t{1000}, std::size_t{1} << 20}) {
    for (const bool in_response : {true, false}) {
      for (const bool digests : {true, false}) {
        CAPTURE(chunk);
        CAPTURE(in_response);
        auto settings = default_settings();
        if (digests) settings.header_digest = settings.data_digest = DigestOffer::prefer_crc32c;
        Peer peer(settings);
        if (digests) peer.keys.with_digests();
        peer.start();
        peer.rx_chunk = chunk;
        peer.rx_iovecs = 3 + chunk % 5;
        const std::uint32_t total = chunk == 1 ? 5003 : 50'003;
        Job& job = peer.jobs.read(total, 7);
        const std::uint32_t itt = peer.take_command().itt;
        const Bytes content = pattern_bytes(77, total);
        std::uint32_t offset = 0;
        std::uint32_t data_sn = 0;
        for (const std::uint32_t length : {1U, 4U, 511U, 0U, 3000U, total - 3516U}) {
          Pdu pdu = peer.data_in(0, itt, data_sn++, offset, slice_of(content, offset, length), false);
          offset += length;
          if (offset == total) {
            auto last = pdu.as<DataIn>();
            last.final = true;
            if (!in_response) {
              last.has_status = true;
              last.sequence = peer.status_sequence(0);
            }
            pdu = make_pdu(last, pdu.data);
          }
          CHECK(job.finished == 0);
          peer.send(0, pdu);
        }
        if (in_response) peer.send(0, peer.response(0, itt));
        peer.pump();
        REQUIRE(job.finished == 1);
        CHECK(job.outcome == Outcome::completed);
        CHECK(job.status == 0);
        CHECK(job.content == content);
        CHECK(job.residual_underflow == 0);
        peer.check_nothing_leaked();
      }
    }
  }
}

TEST_CASE("read: behind a large segment there is room for a header, not for the next data") {
  Peer peer;
  peer.start();
  peer.jobs.read(200'000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.rx_chunk = 48;
  peer.send(0, peer.data_in(0, itt, 0, 0, Bytes(100'000), false));
  peer.turn();
  std::vector<iovec> pieces(4);
  REQUIRE(peer.connection(0).rx_buffers(pieces) == 2);
  CHECK(pieces[0].iov_len == 100'000);  // the command's own memory
  CHECK(pieces[1].iov_len == PduReader::kHeaderRoom);
  peer.rx_chunk = 1 << 20;
  peer.pump();
  REQUIRE(peer.connection(0).rx_buffers(pieces) == 1);  // nor does the next header bring its data with it
  CHECK(pieces[0].iov_len == PduReader::kHeaderRoom);
}

TEST_CASE("read: large segments go straight to the memory, whatever comes with them") {
  Peer peer;
  peer.start();
  peer.rx_chunk = 3000;
  const Bytes content = pattern_bytes(5, 200'000);
  for (int round = 0; round < 3; ++round) {
    Job& one = peer.jobs.read(200'000, 5);
    Job& two = peer.jobs.read(3);
    const std::uint32_t itt_one = peer.take_command().itt;
    const std::uint32_t itt_two = peer.take_command().itt;
    peer.send(0, peer.data_in(0, itt_one, 0, 0, slice_of(content, 0, 100'000), false));
    peer.send(0, peer.data_in(0, itt_two, 0, 0, {1, 2, 3}, true));
    peer.send(0, peer.response(0, itt_two));
    peer.send(0, peer.data_in(0, itt_one, 1, 100'000, slice_of(content, 100'000, 100'000), true));
    peer.send(0, peer.response(0, itt_one));
    peer.pump();
    CHECK(one.content == content);
    CHECK(two.content == Bytes{1, 2, 3});
  }
}

namespace {

struct ResidualCase {
  bool underflow, overflow;
  std::uint32_t count;
  std::uint32_t sent;  // bytes of data that really come
  Outcome outcome;
};

// Of a read of 1000 bytes (iscsi_scsi_cmd_rsp).
const ResidualCase kResiduals[] = {
    {false, false, 0, 1000, Outcome::completed},    {true, false, 1, 999, Outcome::completed},
    {true, false, 1000, 0, Outcome::completed},     {true, false, 0, 1000, Outcome::bad_target},
    {true, false, 1001, 1000, Outcome::bad_target}, {true, false, 0x80000000, 1000, Outcome::bad_target},
    {false, true, 1, 1000, Outcome::completed},     {false, true, 5000, 1000, Outcome::completed},
    {false, true, 0, 1000, Outcome::bad_target},    {false, true, 0x80000000, 1000, Outcome::bad_target},
    {true, true, 1, 999, Outcome::bad_target},
};

}  // namespace

TEST_CASE("read: residuals, in a response and in a Data-In") {
  for (const auto& each : kResiduals) {
    for (const bool in_response : {true, false}) {
      CAPTURE(each.underflow);
      CAPTURE(each.overflow);
      CAPTURE(each.count);
      CAPTURE(in_response);
      Peer peer;
      peer.start();
      Job& job = peer.jobs.read(1000);
      const std::uint32_t itt = peer.take_command().itt;
      const StatusFields status{.underflow = each.underflow, .overflow = each.overflow, .residual_count = each.count};
      Pdu data = peer.data_in(0, itt, 0, 0, pattern_bytes(9, each.sent), true);
      if (in_response) {
        if (each.sent > 0) peer.send(0, data);
        peer.send(0, make_pdu(ScsiResponse{.status = status, .itt = itt, .sequence = peer.status_sequence(0)}));
      } else {
        auto header = data.as<DataIn>();
        header.has_status = true;
        header.status = status;
        header.sequence = peer.status_sequence(0);
        peer.send(0, make_pdu(header, data.data));
      }
      peer.pump();
      REQUIRE(job.finished == 1);
      CHECK(job.outcome == each.outcome);
      if (each.outcome == Outcome::completed) {
        CHECK(job.residual_underflow == (each.underflow ? each.count : 0));
        CHECK(job.residual_overflow == (each.overflow ? each.count : 0));
      }
      CHECK(peer.session.state() == SessionState::logged_in);
    }
  }
}

TEST_CASE("read: the wrong kind of response") {
  Peer peer;
  peer.start();
  Job& job = peer.jobs.read(1000);
  const std::uint32_t itt = peer.take_command().itt;
  ScsiResponse answer{.itt = itt, .sequence = peer.status_sequence(0)};
  SUBCASE("target failure") {
    answer.response = ScsiResponseCode::target_failure;
  }
  SUBCASE("vendor's own") {
    answer.response = static_cast<ScsiResponseCode>(0x80);
  }
  SUBCASE("residual of the other direction, under") {
    answer.bidi_underflow = true;
  }
  SUBCASE("residual of the other direction, over") {
    answer.bidi_overflow = true;
  }
  peer.deliver(0, make_pdu(answer));
  REQUIRE(job.finished == 1);
  CHECK(job.outcome == Outcome::bad_target);
  check_works(peer);
}

TEST_CASE("read: sense") {
  struct Case {
    std::uint8_t status;
    Bytes segment;
    Outcome outcome;
    std::size_t sense_length;
  };
  for (const Case& each : {
           Case{2, sense_segment(18, 18), Outcome::completed, 18},
           Case{2, sense_segment(20, 18), Outcome::completed, 18},
           Case{2, sense_segment(0, 0), Outcome::completed, 0},
           Case{2, sense_segment(252, 252), Outcome::completed, 96},
           Case{2, sense_segment(17, 18), Outcome::bad_target, 0},
           Case{2, sense_segment(2, 0xffff), Outcome::bad_target, 0},
           Case{2, Bytes{0}, Outcome::bad_target, 0},
           Case{2, Bytes{}, Outcome::bad_target, 0},
           Case{8, Bytes{}, Outcome::completed, 0},                   // BUSY
           Case{0x28, sense_segment(18, 18), Outcome::completed, 0},  // TASK SET FULL
           Case{0, sense_segment(18, 18), Outcome::completed, 0},     // GOOD, and sense all the same (tgt's UNMAP)
           Case{0, sense_segment(2, 0xffff), Outcome::completed, 0},
       }) {
    CAPTURE(each.status);
    CAPTURE(each.segment.size());
    Peer peer;
    peer.start();
    Job& job = peer.jobs.simple();
    peer.respond(0, peer.take_command().itt, each.status, each.segment);
    REQUIRE(job.finished == 1);
    CHECK(job.outcome == each.outcome);
    CHECK(job.status == each.status);
    CHECK(job.sense_length == each.sense_length);
    for (std::size_t i = 0; i < each.sense_length; ++i) CHECK(job.sense[i] == static_cast<std::uint8_t>(0x70 + i));
  }
}

TEST_CASE("read: CHECK CONDITION in the middle of the data") {
  Peer peer;
  peer.start();
  Job& job = peer.jobs.read(1000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.send(0, peer.data_in(0, itt, 0, 0, pattern_bytes(1, 400), true));
  peer.respond(0, itt, 2, sense_segment(18, 18));
  REQUIRE(job.finished == 1);
  CHECK(job.outcome == Outcome::completed);
  CHECK(job.status == 2);
  CHECK(job.sense_length == 18);
  check_works(peer);
}

TEST_CASE("read: it is told how much has come, whatever the status and the residual say, and the session stays") {
  for (const std::uint32_t sent : {0U, 1U, 500U, 999U, 1000U}) {
    for (const std::uint32_t underflow : {0U, 500U}) {
      for (const std::uint8_t status : std::initializer_list<std::uint8_t>{0, 2, 4, 8}) {
        CAPTURE(sent);
        CAPTURE(static_cast<int>(status));
        Peer peer;
        peer.start();
        Job& job = peer.jobs.read(1000);
        const std::uint32_t itt = peer.take_command().itt;
        if (sent > 0) peer.send(0, peer.data_in(0, itt, 0, 0, pattern_bytes(1, sent), true));
        ScsiResponse answer{.status = {.status = status}, .itt = itt, .sequence = peer.status_sequence(0)};
        if (underflow > 0) answer.status.underflow = true, answer.status.residual_count = underflow;
        peer.deliver(0, make_pdu(answer, status == 2 ? sense_segment(18, 18) : Bytes{}));
        REQUIRE(job.finished == 1);
        CHECK(job.outcome == Outcome::completed);
        CHECK(job.status == status);
        CHECK(job.transferred == sent);
        CHECK(job.residual_underflow == underflow);
        CHECK(peer.count(Kind::lost) == 0);
        check_works(peer);
      }
    }
  }
}

TEST_CASE("read: what came for the command before does not count for the one in its place") {
  Peer peer;
  peer.start();
  peer.jobs.read(1000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.send(0, peer.data_in(0, itt, 0, 0, pattern_bytes(1, 1000), true));
  peer.respond(0, itt);
  Job& job = peer.jobs.read(1000);
  peer.respond(0, peer.take_command().itt);
  CHECK(job.transferred == 0);
}

TEST_CASE("read: of nothing") {
  Peer peer;
  peer.start();
  Job& job = peer.jobs.read(0);
  peer.respond(0, peer.take_command().itt);
  CHECK(job.outcome == Outcome::completed);
}
