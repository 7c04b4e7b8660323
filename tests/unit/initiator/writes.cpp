#include <doctest/doctest.h>

#include "tests/unit/initiator/model_target.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using Kind = SessionEvent::Kind;

namespace {

/// A session whose writes send everything only when asked.
void start_solicited(Peer& peer) {
  peer.keys.solicited_only();
  peer.start();
}

}  // namespace

TEST_CASE("write: the split, for each ImmediateData and InitialR2T") {
  // FirstBurstLength 16384, the target's MaxRecvDataSegmentLength 8192.
  struct Case {
    bool immediate_data, initial_r2t;
    std::uint32_t length, immediate, unsolicited;
  };
  for (const Case& each :
       {Case{true, false, 512, 512, 0}, Case{true, false, 8192, 8192, 0}, Case{true, false, 8193, 8192, 1},
        Case{true, false, 16384, 8192, 8192}, Case{true, false, 100'000, 8192, 8192}, Case{true, true, 512, 512, 0},
        Case{true, true, 100'000, 8192, 0}, Case{false, false, 512, 0, 512}, Case{false, false, 100'000, 0, 16384},
        Case{false, true, 512, 0, 0}, Case{false, true, 100'000, 0, 0}}) {
    CAPTURE(each.immediate_data);
    CAPTURE(each.initial_r2t);
    CAPTURE(each.length);
    Peer peer;
    peer.keys.answers["ImmediateData"] = each.immediate_data ? "Yes" : "No";
    peer.keys.answers["InitialR2T"] = each.initial_r2t ? "Yes" : "No";
    peer.start();
    peer.jobs.write(each.length);
    const Pdu pdu = peer.take(0, Opcode::scsi_command);
    const auto command = pdu.as<ScsiCommandPdu>();
    CHECK(command.write);
    CHECK_FALSE(command.read);
    CHECK(command.expected_length == each.length);
    CHECK(command.final == (each.unsolicited == 0));
    CHECK(pdu.data == pattern_bytes(1, each.immediate));
    std::uint32_t data_sn = 0;
    for (std::uint32_t done = 0; done < each.unsolicited;) {
      const Pdu out = peer.take(0, Opcode::data_out);
      const auto header = out.as<DataOut>();
      CHECK(header.ttt == kReservedTag);
      CHECK(header.itt == command.itt);
      CHECK(header.data_sn == data_sn++);
      CHECK(header.buffer_offset == each.immediate + done);
      done += static_cast<std::uint32_t>(out.data.size());
      CHECK(header.final == (done == each.unsolicited));
    }
    peer.pump();
    CHECK(peer.idle(0));
  }
}

TEST_CASE("write: unsolicited data goes in the order of its commands") {
  // RFC 7143 section 4.2.5.2, also when R2T data of an earlier command is waiting.
  Peer peer;
  peer.keys.answers["ImmediateData"] = "No";
  peer.start();
  peer.jobs.write(100'000);
  const std::uint32_t first = peer.take_command().itt;
  peer.take(0, Opcode::data_out);
  peer.take(0, Opcode::data_out);
  peer.send(0, peer.r2t(0, first, 0, 16384, 60'000, 1));
  peer.wire(0).takes = false;
  peer.pump();
  for (int i = 0; i < 5; ++i) peer.jobs.write(20'000);
  peer.pump();
  peer.wire(0).takes = true;
  peer.pump();
  std::vector<std::uint32_t> commands;
  std::vector<std::uint32_t> data;
  while (!peer.idle(0)) {
    const Pdu pdu = peer.wire(0).inbox.front();
    peer.wire(0).inbox.pop_front();
    const std::uint32_t itt = pdu.as<NopOut>().itt;
    if (pdu.opcode() == Opcode::scsi_command) commands.push_back(itt);
    if (pdu.opcode() == Opcode::data_out && pdu.as<DataOut>().ttt == kReservedTag && pdu.as<DataOut>().final) {
      data.push_back(itt);
    }
  }
  CHECK(commands.size() == 5);
  CHECK(data == commands);
}

TEST_CASE("write: every split and many bursts, taken apart by a model target") {
  auto random = seeded_random();
  for (int round = 0; round < 40; ++round) {
    const auto below = [&](std::uint64_t bound) { return random() % bound; };
    const auto connections = static_cast<std::uint16_t>(1 + below(3));
    auto settings = default_settings(connections);
    settings.queue_depth = static_cast<std::uint16_t>(1 + below(40));
    const bool digests = below(3) == 0;
    if (digests) settings.header_digest = settings.data_digest = DigestOffer::prefer_crc32c;
    Peer peer(settings, random());
    ModelTarget target(peer, random());
    target.immediate_data = round % 2 == 0;
    target.initial_r2t = round % 4 < 2;
    target.max_burst = static_cast<std::uint32_t>(512 + below(100'000));
    target.first_burst = static_cast<std::uint32_t>(512 + below(target.max_burst - 511));
    target.max_outstanding_r2t = static_cast<std::uint32_t>(1 + below(4));
    target.window = static_cast<std::uint32_t>(1 + below(40));
    target.early_failures = below(4) == 0 ? 3 : 0;
    peer.keys = target.keys(connections);
    peer.keys.max_recv = static_cast<std::uint32_t>(512 + below(30'000));
    if (digests) peer.keys.with_digests();
    peer.tx_chunk = 1 + below(20'000);
    peer.tx_iovecs = 1 + below(20);
    peer.rx_chunk = 1 + below(20'000);
    peer.session.setup(peer.now);
    peer.pump();
    REQUIRE(peer.session.state() == SessionState::logged_in);
    for (int i = 0; i < 30; ++i) {
      const auto length = static_cast<std::uint32_t>(1 + below(below(4) == 0 ? 300'000 : 20'000));
      below(4) == 0 ? peer.jobs.read(length, 1 + below(9)) : peer.jobs.write(length, 1 + below(9));
    }
    target.run();
    for (const auto& job : peer.jobs.all) {
      REQUIRE(job->finished == 1);
      REQUIRE(job->outcome == Outcome::completed);
      if (job->status == 2) {
        CHECK(target.early_failures > 0);
        CHECK(target.written.count(job->number) == 0);
        continue;
      }
      const Bytes expected = pattern_bytes(job->number, job->data_length);
      CHECK(job->content == expected);
      if (job->direction == Direction::write) CHECK(target.written[job->number] == expected);
    }
    CHECK(peer.session.counters().losses == 0);
    peer.check_nothing_leaked();
  }
}

TEST_CASE("write: several R2Ts at once are answered in their order, one after the other") {
  Peer peer;
  start_solicited(peer);
  Job& job = peer.jobs.write(60'000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.wire(0).takes = false;
  std::uint32_t offset = 0;
  std::uint32_t r2t_sn = 0;
  for (const std::uint32_t length : {20'000U, 30'000U, 10'000U}) {
    peer.send(0, peer.r2t(0, itt, r2t_sn, offset, length, 0x100 + r2t_sn));
    ++r2t_sn;
    offset += length;
  }
  peer.pump();
  peer.wire(0).takes = true;
  Bytes content;
  for (const auto& [ttt, lengths] : {std::pair{0x100U, std::vector<std::size_t>{8192, 8192, 3616}},
                                     {0x101U, {8192, 8192, 8192, 5424}},
                                     {0x102U, {8192, 1808}}}) {
    std::uint32_t data_sn = 0;
    for (const std::size_t length : lengths) {
      const Pdu out = peer.take(0, Opcode::data_out);
      CHECK(out.as<DataOut>().ttt == ttt);
      CHECK(out.as<DataOut>().data_sn == data_sn++);
      CHECK(out.as<DataOut>().final == (data_sn == lengths.size()));
      CHECK(out.as<DataOut>().buffer_offset == content.size());
      CHECK(out.data.size() == length);
      content.insert(content.end(), out.data.begin(), out.data.end());
    }
  }
  CHECK(content == pattern_bytes(1, 60'000));
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
}

TEST_CASE("write: as many R2Ts as were negotiated fit beside the unsolicited data") {
  auto settings = default_settings();
  settings.max_outstanding_r2t = 100;
  settings.first_burst_length = settings.max_burst_length = 1 << 20;
  Peer peer(settings);
  peer.keys.answers["MaxOutstandingR2T"] = "100";
  peer.keys.answers["ImmediateData"] = "No";
  peer.keys.answers["FirstBurstLength"] = peer.keys.answers["MaxBurstLength"] = "1048576";
  peer.start();
  const std::uint32_t allowed = peer.session.parameters().max_outstanding_r2t;
  CHECK(allowed >= 4);
  Job& job = peer.jobs.write((1 << 20) + 1000 * allowed);
  peer.tx_chunk = 48;
  peer.turn();
  peer.wire(0).takes = false;  // the unsolicited data is more than the queue takes: its rest waits in the task
  const std::uint32_t itt = peer.take_command().itt;
  for (std::uint32_t i = 0; i < allowed; ++i) peer.send(0, peer.r2t(0, itt, i, (1 << 20) + 1000 * i, 1000, i));
  peer.pump();
  CHECK(peer.session.state() == SessionState::logged_in);
  peer.tx_chunk = 1 << 20;
  peer.wire(0).takes = true;
  std::uint32_t total = 0;
  for (peer.pump(); !peer.idle(0);) total += peer.take(0, Opcode::data_out).as<DataOut>().data_length;
  CHECK(total == job.data_length);
  peer.respond(0, itt);
  CHECK(job.outcome == Outcome::completed);
}

TEST_CASE("write: the target fails the command while its data is still queued") {
  // The memory is freed in on_command_done(): the address sanitizer sees whoever touches it later.
  for (const bool solicited : {true, false}) {
    for (const bool half_sent : {true, false}) {
      CAPTURE(solicited);
      CAPTURE(half_sent);
      Peer peer;
      if (!solicited) peer.keys.answers["FirstBurstLength"] = "65536";
      solicited ? start_solicited(peer) : peer.start();
      Job& job = peer.jobs.write(60'000, 5);
      peer.tx_chunk = 100;  // into the middle of the second PDU at most
      peer.wire(0).takes = !solicited ? half_sent : true;
      if (solicited) {
        const std::uint32_t itt = peer.take_command().itt;
        peer.wire(0).takes = half_sent;
        peer.send(0, peer.r2t(0, itt, 0, 0, 60'000, 5));
        peer.turn();
        peer.turn();
        peer.wire(0).takes = false;
        peer.send(0, peer.response(0, itt, 2, {0, 2, 0x70, 0}));
      } else {
        peer.turn();
        peer.turn();
        peer.wire(0).takes = false;
        // The tag is known to the test from the header that is half out, or not at all: age 0, generation 1, index 0.
        peer.send(0, peer.response(0, 1U << 13, 2, {0, 2, 0x70, 0}));
      }
      peer.pump();
      // Its PDUs that are committed must still go out whole: only then does the command come back.
      CHECK(job.finished == 0);
      peer.wire(0).takes = true;
      peer.pump();
      REQUIRE(job.finished == 1);
      CHECK(job.outcome == Outcome::completed);
      CHECK(job.status == 2);
      peer.check_nothing_leaked();
      peer.wire(0).inbox.clear();
      peer.exp_cmd_sn = 2;
      check_works(peer);
    }
  }
}

TEST_CASE("write: the session is lost while data is queued") {
  Peer peer;
  start_solicited(peer);
  Job& job = peer.jobs.write(60'000, 5);
  const std::uint32_t itt = peer.take_command().itt;
  peer.tx_chunk = 1000;
  peer.send(0, peer.r2t(0, itt, 0, 0, 60'000, 5));
  for (int i = 0; i < 4; ++i) peer.turn();
  peer.disconnect(0);
  peer.pump();
  CHECK(job.finished == 0);  // the target might still have all of it
  peer.relogin();
  REQUIRE(job.finished == 1);
  CHECK(job.outcome == Outcome::transport_disrupted);
  peer.check_nothing_leaked();
  check_works(peer);
}

TEST_CASE("write: it is told how much was asked for and sent, whatever the status says, and the session stays") {
  for (const std::uint32_t asked : {0U, 1U, 59'999U, 60'000U}) {
    for (const std::uint8_t status : std::initializer_list<std::uint8_t>{0, 2, 4, 8}) {
      Peer peer;
      start_solicited(peer);
      Job& job = peer.jobs.write(60'000);
      const std::uint32_t itt = peer.take_command().itt;
      if (asked > 0) peer.deliver(0, peer.r2t(0, itt, 0, 0, asked, 1));
      peer.wire(0).inbox.clear();
      peer.respond(0, itt, status, status == 2 ? Bytes{0, 2, 0x70, 0} : Bytes{});
      REQUIRE(job.finished == 1);
      CHECK(job.outcome == Outcome::completed);
      CHECK(job.status == status);
      CHECK(job.transferred == asked);
      CHECK(peer.count(Kind::lost) == 0);
      check_works(peer);
    }
  }
}

TEST_CASE("write: each byte counts once, however often it is asked for, and none behind a gap") {
  struct Ask {
    std::uint32_t offset, length;
  };
  struct Case {
    std::vector<Ask> asks;
    std::uint32_t transferred;
  };
  for (const Case& each :
       {Case{{{0, 30'000}, {0, 30'000}}, 30'000}, Case{{{0, 30'000}, {20'000, 20'000}}, 40'000},
        Case{{{0, 30'000}, {10'000, 10'000}}, 30'000}, Case{{{0, 30'000}, {30'001, 29'999}}, 30'000},
        Case{{{30'000, 30'000}}, 0}, Case{{{0, 30'000}, {30'000, 30'000}}, 60'000}}) {
    Peer peer;
    start_solicited(peer);
    Job& job = peer.jobs.write(60'000);
    const std::uint32_t itt = peer.take_command().itt;
    std::uint32_t r2t_sn = 0;
    for (const Ask& ask : each.asks) {
      peer.deliver(0, peer.r2t(0, itt, r2t_sn, ask.offset, ask.length, 1 + r2t_sn));
      ++r2t_sn;
    }
    peer.respond(0, itt);
    REQUIRE(job.finished == 1);
    CHECK(job.transferred == each.transferred);
  }
}

TEST_CASE("write: immediate and unsolicited data count as asked for") {
  Peer peer;  // 8192 with the command, 8192 behind it
  peer.start();
  Job& job = peer.jobs.write(60'000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.respond(0, itt);
  CHECK(job.transferred == 16384);
}

TEST_CASE("write: what is still in our own queue when the answer comes has not been sent") {
  Peer peer;
  start_solicited(peer);
  Job& job = peer.jobs.write(60'000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.tx_chunk = 10'000;  // into the second Data-Out
  peer.send(0, peer.r2t(0, itt, 0, 0, 60'000, 5));
  peer.turn();
  peer.wire(0).takes = false;
  peer.pump();
  peer.respond(0, itt);
  peer.wire(0).takes = true;
  peer.pump();
  REQUIRE(job.finished == 1);
  CHECK(job.transferred % 8192 == 0);
  CHECK(job.transferred <= 8192);
}

TEST_CASE("write: with a residual the target says itself what it did not take") {
  Peer peer;
  start_solicited(peer);
  Job& job = peer.jobs.write(60'000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.deliver(0, peer.r2t(0, itt, 0, 0, 50'000, 1));
  peer.deliver(0, make_pdu(ScsiResponse{.status = {.underflow = true, .residual_count = 10'000},
                                        .itt = itt,
                                        .sequence = peer.status_sequence(0)}));
  CHECK(job.outcome == Outcome::completed);
  CHECK(job.residual_underflow == 10'000);
  CHECK(job.transferred == 50'000);
}

TEST_CASE("write: data that found no room goes on as soon as something was sent") {
  auto settings = default_settings();
  settings.max_burst_length = 4 << 20;
  Peer peer(settings);
  peer.keys.answers["MaxBurstLength"] = "4194304";
  peer.keys.max_recv = 60'000;
  start_solicited(peer);
  peer.jobs.write(2'000'000);
  const std::uint32_t itt = peer.take_command().itt;
  peer.wire(0).takes = false;
  peer.deliver(0, peer.r2t(0, itt, 0, 0, 2'000'000, 1));
  peer.wire(0).takes = true;
  // From here on only the socket says anything.
  while (peer.transmit(0)) {
  }
  std::uint32_t total = 0;
  while (!peer.idle(0)) {
    total += peer.wire(0).inbox.front().as<DataOut>().data_length;
    peer.wire(0).inbox.pop_front();
  }
  CHECK(total == 2'000'000);
}

TEST_CASE("write: when every send queue is full the session wants its turn when something was sent") {
  auto settings = default_settings();
  settings.queue_depth = 128;
  Peer peer(settings);
  peer.window = 1000;
  peer.start();
  peer.wire(0).takes = false;
  for (int i = 0; i < 5; ++i) peer.jobs.simple();
  peer.session.data_xmit(peer.now);
  CHECK_FALSE(peer.session.wants_turn());
  for (int i = 0; i < 100; ++i) peer.jobs.write(60'000);
  CHECK(peer.session.wants_turn());
  peer.session.data_xmit(peer.now);
  CHECK_FALSE(peer.session.wants_turn());
  peer.wire(0).takes = true;
  while (peer.transmit(0)) {
  }
  CHECK(peer.session.wants_turn());
  peer.session.data_xmit(peer.now);
  CHECK_FALSE(peer.session.wants_turn());
}
