// A target that breaks the protocol: what it costs, what it is called, and that everything comes back.
#include <doctest/doctest.h>

#include <algorithm>
#include <functional>

#include "tests/unit/initiator/peer.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using Kind = SessionEvent::Kind;

namespace {

/// Two connections, digests on; on connection 0 a read of 10000 bytes whose first 100 bytes have come, and a write of
/// 60000 bytes that waits for its first R2T; on connection 1 a read of 10000 bytes.
struct Scene {
  Scene()
      : peer([] {
          auto settings = default_settings(2);
          require_digests(settings);
          settings.max_recv_data_segment_length = 16384;
          return settings;
        }()) {
    peer.keys.with_digests();
    peer.keys.solicited_only();
    peer.start();
    peer.jobs.read(10'000, 3);
    read = peer.take_command(0).itt;
    peer.jobs.read(10'000, 3);
    other_read = peer.take_command(1).itt;
    peer.jobs.write(60'000, 3);
    write = peer.take_command(0).itt;
    peer.deliver(0, peer.data_in(0, read, 0, 0, Bytes(100), false));
    REQUIRE(peer.session.state() == SessionState::logged_in);
  }

  Pdu status_in_data_in(std::uint32_t itt, bool final) {
    auto header = peer.data_in(0, itt, 1, 100, {}, final).as<DataIn>();
    header.has_status = true;
    header.status.underflow = true;
    header.status.residual_count = 9900;
    header.sequence = peer.status_sequence(0);
    return make_pdu(header);
  }

  Peer peer;
  std::uint32_t read = 0;
  std::uint32_t other_read = 0;
  std::uint32_t write = 0;
};

struct Breach {
  const char* name;
  ConnectionError error;
  std::function<void(Scene&)> commit;
};

Pdu unknown_opcode(std::uint8_t opcode) {
  Pdu pdu = make_pdu(NopIn{});
  pdu.bhs[0] = opcode;
  return pdu;
}

void send_broken(Scene& scene, const Pdu& pdu, std::size_t flip) {
  Bytes bytes = to_bytes(pdu, true, true);
  bytes[flip < bytes.size() ? flip : bytes.size() - 1] ^= 0x10;
  scene.peer.send_bytes(0, bytes);
}

using E = ConnectionError;

const Breach kBreaches[] = {
    {"response: tag never given", E::bad_itt, [](Scene& s) { s.peer.send(0, s.peer.response(0, 0x1234)); }},
    {"response: index beyond the pool", E::bad_itt,
     [](Scene& s) { s.peer.send(0, s.peer.response(0, s.read | 0x1fff)); }},
    {"response: the reserved tag", E::bad_itt, [](Scene& s) { s.peer.send(0, s.peer.response(0, kReservedTag)); }},
    {"response: another age", E::bad_itt,
     [](Scene& s) { s.peer.send(0, s.peer.response(0, s.read ^ (1U << TaskPool::kAgeShift))); }},
    {"response: another generation", E::bad_itt,
     [](Scene& s) { s.peer.send(0, s.peer.response(0, s.read + (1U << TaskPool::kIndexBits))); }},
    {"response: twice", E::bad_itt,
     [](Scene& s) {
       s.peer.send(0, s.peer.response(0, s.write, 8));
       s.peer.send(0, s.peer.response(0, s.write, 8));
     }},
    {"response: wrong connection", E::wrong_connection,
     [](Scene& s) { s.peer.send(0, s.peer.response(0, s.other_read)); }},
    {"response: a status was skipped", E::stat_sn,
     [](Scene& s) {
       s.peer.status_sequence(0);
       s.peer.send(0, s.peer.response(0, s.write));
     }},
    {"response: a status again", E::stat_sn,
     [](Scene& s) {
       --s.peer.wire(0).stat_sn;
       s.peer.send(0, s.peer.response(0, s.write));
     }},
    {"data-in: tag never given", E::bad_itt,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, 0x1234, 0, 0, Bytes(10), false)); }},
    {"data-in: wrong connection", E::wrong_connection,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.other_read, 0, 0, Bytes(10), false)); }},
    {"data-in: wrong connection, no data", E::wrong_connection,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.other_read, 0, 0, {}, false)); }},
    {"data-in: for a write", E::protocol,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.write, 0, 0, Bytes(10), false)); }},
    {"data-in: one was skipped", E::data_sn,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 2, 100, Bytes(10), false)); }},
    {"data-in: one again", E::data_sn,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 0, 0, Bytes(100), false)); }},
    {"data-in: one byte past the end", E::data_offset,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 1, 9991, Bytes(10), false)); }},
    {"data-in: more than all", E::data_offset,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 1, 100, Bytes(9901), false)); }},
    {"data-in: far beyond the end", E::data_offset,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 1, 0xffffffff, Bytes(10), false)); }},
    {"data-in: a gap", E::data_offset,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 1, 200, Bytes(10), false)); }},
    {"data-in: over what came before", E::data_offset,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 1, 99, Bytes(10), false)); }},
    {"data-in: longer than we take", E::data_length,
     [](Scene& s) { s.peer.send(0, s.peer.data_in(0, s.read, 1, 100, Bytes(16385), false)); }},
    {"data-in: status, but not the final one", E::protocol,
     [](Scene& s) { s.peer.send(0, s.status_in_data_in(s.read, false)); }},
    {"data-in: status out of sequence", E::stat_sn,
     [](Scene& s) {
       s.peer.status_sequence(0);
       s.peer.send(0, s.status_in_data_in(s.read, true));
     }},
    {"r2t: tag never given", E::bad_itt, [](Scene& s) { s.peer.send(0, s.peer.r2t(0, 0x1234, 0, 0, 512, 1)); }},
    {"r2t: wrong connection", E::wrong_connection,
     [](Scene& s) { s.peer.send(1, s.peer.r2t(1, s.write, 0, 0, 512, 1)); }},
    {"r2t: for a read", E::protocol, [](Scene& s) { s.peer.send(0, s.peer.r2t(0, s.read, 1, 0, 512, 1)); }},
    {"r2t: one was skipped", E::r2t_sn, [](Scene& s) { s.peer.send(0, s.peer.r2t(0, s.write, 1, 0, 512, 1)); }},
    {"r2t: for nothing", E::data_length, [](Scene& s) { s.peer.send(0, s.peer.r2t(0, s.write, 0, 0, 0, 1)); }},
    {"r2t: one byte past the end", E::data_offset,
     [](Scene& s) { s.peer.send(0, s.peer.r2t(0, s.write, 0, 59'001, 1000, 1)); }},
    {"r2t: far beyond the end", E::data_offset,
     [](Scene& s) { s.peer.send(0, s.peer.r2t(0, s.write, 0, 0xffffffff, 0xffffffff, 1)); }},
    {"r2t: without a tag", E::protocol,
     [](Scene& s) { s.peer.send(0, s.peer.r2t(0, s.write, 0, 0, 512, kReservedTag)); }},
    {"r2t: with data", E::data_length,
     [](Scene& s) {
       Pdu pdu = s.peer.r2t(0, s.write, 0, 0, 512, 1);
       pdu.data = Bytes(4);
       pdu.bhs[7] = 4;
       s.peer.send(0, pdu);
     }},
    {"r2t: with an additional header", E::ahs_length,
     [](Scene& s) {
       Pdu pdu = s.peer.r2t(0, s.write, 0, 0, 512, 1);
       pdu.ahs = Bytes(8);
       s.peer.send(0, pdu);
     }},
    {"r2t: more at once than can be", E::protocol,
     [](Scene& s) {
       s.peer.wire(0).takes = false;
       for (std::uint32_t i = 0; i < 200; ++i) s.peer.send(0, s.peer.r2t(0, s.write, i, 0, 60'000, i));
     }},
    {"unknown opcode", E::bad_opcode, [](Scene& s) { s.peer.send(0, unknown_opcode(0x3e)); }},
    {"an initiator's opcode", E::bad_opcode, [](Scene& s) { s.peer.send(0, unknown_opcode(0x01)); }},
    {"unknown opcode with data", E::bad_opcode,
     [](Scene& s) {
       Pdu pdu = unknown_opcode(0x2f);
       pdu.data = Bytes(1000);
       pdu.bhs[6] = 1000 >> 8;
       pdu.bhs[7] = 1000 & 0xff;
       s.peer.send(0, pdu);
     }},
    {"additional headers too long", E::ahs_length,
     [](Scene& s) {
       Pdu pdu = make_pdu(NopIn{});
       pdu.ahs = Bytes(68);
       s.peer.send(0, pdu);
     }},
    {"text that is longer than we take", E::data_length,
     [](Scene& s) { s.peer.send(0, make_pdu(AsyncMessage{}, Bytes(16385))); }},
    {"header digest", E::header_digest, [](Scene& s) { send_broken(s, make_pdu(NopIn{}), 20); }},
    {"header digest, the digest itself", E::header_digest, [](Scene& s) { send_broken(s, make_pdu(NopIn{}), 50); }},
    {"data digest", E::data_digest,
     [](Scene& s) { send_broken(s, s.peer.data_in(0, s.read, 1, 100, Bytes(1000), false), 500); }},
    {"data digest, in the padding", E::data_digest,
     [](Scene& s) { send_broken(s, s.peer.data_in(0, s.read, 1, 100, Bytes(5), false), 52 + 6); }},
    {"data digest, the digest itself", E::data_digest,
     [](Scene& s) { send_broken(s, s.peer.data_in(0, s.read, 1, 100, Bytes(1000), false), ~std::size_t{0}); }},
    {"data digest, of sense", E::data_digest,
     [](Scene& s) { send_broken(s, s.peer.response(0, s.read, 2, Bytes(20)), 60); }},
    {"login response", E::protocol, [](Scene& s) { s.peer.send(0, make_pdu(LoginResponse{})); }},
    {"text response", E::protocol, [](Scene& s) { s.peer.send(0, make_pdu(TextResponse{})); }},
    {"task management response", E::bad_itt,
     [](Scene& s) { s.peer.send(0, make_pdu(TaskManagementResponse{.itt = s.read})); }},
    {"logout response", E::bad_itt, [](Scene& s) { s.peer.send(0, make_pdu(LogoutResponse{.itt = s.read})); }},
    {"nop-in: answers no ping", E::bad_itt, [](Scene& s) { s.peer.send(0, make_pdu(NopIn{.itt = s.read})); }},
    {"reject: without a header", E::protocol,
     [](Scene& s) { s.peer.send(0, make_pdu(Reject{.sequence = s.peer.status_sequence(0)}, Bytes(47))); }},
    {"reject: a status was skipped", E::stat_sn,
     [](Scene& s) {
       s.peer.status_sequence(0);
       s.peer.send(0, s.peer.reject_of(make_pdu(NopOut{}), RejectReason::protocol_error));
     }},
    {"reject: write data", E::rejected,
     [](Scene& s) {
       s.peer.send(0, s.peer.reject_of(make_pdu(DataOut{.itt = s.write}), RejectReason::data_digest_error));
     }},
    {"reject: immediate data with a bad digest", E::rejected,
     [](Scene& s) {
       s.peer.send(0, s.peer.reject_of(make_pdu(ScsiCommandPdu{.itt = s.write}), RejectReason::data_digest_error));
     }},
    {"reject: a command that is not there", E::rejected,
     [](Scene& s) {
       s.peer.send(0, s.peer.reject_of(make_pdu(ScsiCommandPdu{.itt = 0x1234}), RejectReason::protocol_error));
     }},
    {"async message: a status was skipped", E::stat_sn,
     [](Scene& s) {
       s.peer.status_sequence(0);
       s.peer.send(0, make_pdu(AsyncMessage{.sequence = s.peer.status_sequence(0)}));
     }},
};

}  // namespace

TEST_CASE("protocol error: costs the session its connections, gives the tasks back, and the session returns") {
  for (const Breach& breach : kBreaches) {
    for (const std::size_t chunk : {std::size_t{1} << 16, std::size_t{7}}) {
      const std::string name = breach.name;
      CAPTURE(name);
      CAPTURE(chunk);
      Scene scene;
      Peer& peer = scene.peer;
      peer.rx_chunk = chunk;
      breach.commit(scene);
      peer.pump();
      CHECK(peer.count(Kind::lost) == 1);
      CHECK(peer.saw(Kind::lost, describe(breach.error)));
      CHECK(peer.session.trouble().find(describe(breach.error)) != std::string::npos);
      CHECK(peer.wire(0).closes == 1);
      CHECK(peer.wire(1).closes == 1);
      CHECK(peer.session.counters().losses == 1);
      const bool digest = breach.error == E::header_digest || breach.error == E::data_digest;
      CHECK(peer.session.counters().digest_errors == (digest ? 1 : 0));
      for (const auto& job : peer.jobs.all) {
        if (job->finished == 0) {  // held until the next login
          CHECK(job->direction == Direction::write);
          continue;
        }
        REQUIRE(job->finished == 1);
        CHECK((job->outcome == Outcome::transport_disrupted || job->status == 8));
      }
      // Logged in again, the same commands succeed.
      peer.wire(0).takes = true;
      peer.rx_chunk = 1 << 16;
      CHECK(peer.wire(0).open);
      CHECK_FALSE(peer.wire(1).open);
      peer.pump();
      REQUIRE_FALSE(peer.idle(0));
      const auto again = peer.wire(0).inbox.front().as<LoginRequest>();
      CHECK(again.isid == kTestIsid);
      CHECK(again.tsih == 0);
      peer.relogin();
      for (const auto& job : peer.jobs.all) {
        REQUIRE(job->finished == 1);
        peer.jobs.queue(*job);
      }
      peer.pump();
      for (const std::uint16_t cid : kBothConnections) {
        while (!peer.idle(cid)) {
          const ScsiCommandPdu command = peer.take_command(cid);
          if (command.read) {
            peer.send(cid, peer.data_in(cid, command.itt, 0, 0, Bytes(10'000), true));
          } else {
            peer.deliver(cid, peer.r2t(cid, command.itt, 0, 0, 60'000, 1));
            for (int i = 0; i < 8; ++i) peer.take(cid, Opcode::data_out);
          }
          peer.respond(cid, command.itt);
        }
      }
      for (const auto& job : peer.jobs.all) CHECK(job->outcome == Outcome::completed);
      peer.check_nothing_leaked();
    }
  }
}

TEST_CASE("protocol error: a joining connection's error before it has joined costs only itself") {
  Peer peer(default_settings(2));
  peer.session.setup(peer.now);
  peer.login(0);
  Job& job = peer.jobs.read(5);
  const auto command = peer.take(0, Opcode::scsi_command).as<ScsiCommandPdu>();
  peer.deliver(1, unknown_opcode(0x3e));
  CHECK_FALSE(peer.wire(1).open);
  CHECK(job.finished == 0);
  peer.send(0, peer.data_in(0, command.itt, 0, 0, Bytes(5), true));
  peer.respond(0, command.itt);
  CHECK(job.outcome == Outcome::completed);
  peer.advance(2 * nbdgw::proto::kSecond);
  peer.login(1);
}

TEST_CASE("reject: of a command ends the command") {
  for (const auto reason :
       {RejectReason::protocol_error, RejectReason::command_not_supported, RejectReason::invalid_pdu_field,
        RejectReason::task_in_progress, RejectReason::waiting_for_logout}) {
    Scene scene;
    scene.peer.reject(make_pdu(ScsiCommandPdu{.itt = scene.write}), reason);
    CHECK(scene.peer.session.state() == SessionState::logged_in);
    CHECK(scene.peer.jobs.all[2]->finished == 1);
    CHECK(scene.peer.jobs.all[2]->outcome == Outcome::bad_target);
    CHECK(scene.peer.jobs.all[0]->finished == 0);
    CHECK(scene.peer.session.counters().rejects == 1);
    check_works(scene.peer);
  }
}

TEST_CASE("reject: of our answer to a ping is nothing to us") {
  Scene scene;
  scene.peer.reject(make_pdu(NopOut{.ttt = 5}), RejectReason::immediate_command_reject);
  CHECK(scene.peer.session.state() == SessionState::logged_in);
}

TEST_CASE("protocol error: an answer to the session of before is not taken for one of this") {
  Peer peer;
  peer.start();
  peer.jobs.read(100);
  const std::uint32_t old = peer.take(0, Opcode::scsi_command).as<ScsiCommandPdu>().itt;
  peer.disconnect(0);
  peer.relogin();
  Job& job = peer.jobs.read(100);
  const std::uint32_t tag = peer.take(0, Opcode::scsi_command).as<ScsiCommandPdu>().itt;
  CHECK((tag & TaskPool::kIndexMask) == (old & TaskPool::kIndexMask));
  CHECK(tag != old);
  const std::uint32_t age = tag >> TaskPool::kAgeShift;
  CHECK(age == (old >> TaskPool::kAgeShift) + 1);
  peer.deliver(0, peer.data_in(0, old, 0, 0, Bytes(100), true));
  CHECK(job.outcome == Outcome::transport_disrupted);
  CHECK(peer.saw(Kind::lost, describe(E::bad_itt)));
}

TEST_CASE("errors: each has a name and a sentence of its own") {
  std::vector<std::string> names;
  for (int i = 0; i <= static_cast<int>(E::session_failed); ++i) {
    const std::string name = to_string(static_cast<E>(i));
    CHECK(name != "unknown");
    CHECK(std::string(describe(static_cast<E>(i))) != "unknown error");
    CHECK(std::find(names.begin(), names.end(), name) == names.end());
    names.push_back(name);
  }
}
