// Noise from the target, in every phase: nothing is touched that is not ours, and afterwards everything works.
#include <doctest/doctest.h>

#include <vector>

#include "gateway/initiator/discovery.hpp"
#include "tests/unit/initiator/peer.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw::test;
using namespace nbdgw::proto::iscsi;
using namespace nbdgw::initiator;
using nbdgw::proto::kSecond;

namespace {

/// Answers what the initiator asks, with anything between the right answer and noise.
class Babbler {
 public:
  Babbler(Peer& peer, std::mt19937_64& random) : peer_(peer), random_(random) {
    peer.on_pdu = [this](std::uint16_t cid, const Pdu& pdu) { on_pdu(cid, pdu); };
    peer.on_connect = [this](std::uint16_t cid) {
      if (cid == 0) tags_.clear();
    };
    peer.mangle = [this](std::uint16_t, Bytes& bytes) { mangle(bytes); };
  }

  bool quiet = false;  // only right answers

  std::uint64_t below(std::uint64_t bound) { return random_() % bound; }

  /// Says something nobody asked for.
  void babble() {
    const auto cid = static_cast<std::uint16_t>(below(2));
    if (!peer_.wire(cid).open) return;
    if (below(6) == 0) {
      Bytes noise(below(300));
      for (auto& byte : noise) byte = static_cast<std::uint8_t>(random_());
      peer_.send_bytes(cid, noise);
      return;
    }
    const std::uint32_t itt =
        tags_.empty() || below(8) == 0 ? static_cast<std::uint32_t>(random_()) : tags_[below(tags_.size())].second;
    switch (below(9)) {
      case 0:
        peer_.send(cid, peer_.response(cid, itt, static_cast<std::uint8_t>(below(3)), Bytes(below(40))));
        return;
      case 1:
        peer_.send(cid, peer_.data_in(cid, itt, small(), small(), Bytes(below(3000)), below(2) == 0));
        return;
      case 2:
        peer_.send(cid, peer_.r2t(cid, itt, small(), small(), static_cast<std::uint32_t>(below(20'000)), small()));
        return;
      case 3:
        peer_.send(cid, make_pdu(NopIn{.ttt = small(), .sequence = peer_.plain_sequence(cid)}));
        return;
      case 4:
        peer_.send(cid, make_pdu(AsyncMessage{.sequence = peer_.status_sequence(cid),
                                              .event = static_cast<AsyncEvent>(below(7)),
                                              .parameter2 = static_cast<std::uint16_t>(below(3))},
                                 Bytes(below(50))));
        return;
      case 5: {
        Bhs rejected = make_pdu(ScsiCommandPdu{.itt = itt}).bhs;
        rejected[0] = static_cast<std::uint8_t>(below(8));
        peer_.send(cid, make_pdu(Reject{.reason = static_cast<RejectReason>(below(14)),
                                        .sequence = peer_.status_sequence(cid)},
                                 Bytes(rejected.begin(), rejected.end())));
        return;
      }
      case 6:
        peer_.send(cid, make_pdu(LogoutResponse{.itt = itt, .sequence = peer_.status_sequence(cid)}));
        return;
      case 7:
        peer_.send(cid, make_pdu(LoginResponse{.transit = below(2) == 0,
                                               .current_stage = static_cast<LoginStage>(below(4)),
                                               .next_stage = static_cast<LoginStage>(below(4)),
                                               .itt = itt},
                                 Bytes(below(100), 'x')));
        return;
      default:
        peer_.send(cid, make_pdu(TextResponse{.itt = itt}, Bytes(below(60), 'y')));
        return;
    }
  }

 private:
  std::uint32_t small() {
    return below(10) == 0 ? static_cast<std::uint32_t>(random_()) : static_cast<std::uint32_t>(below(3));
  }

  void mangle(Bytes& bytes) {
    if (quiet || below(5) != 0) return;
    for (std::uint64_t i = 1 + below(3); i > 0; --i) {
      bytes[below(below(3) == 0 ? bytes.size() : 48)] =
          static_cast<std::uint8_t>(below(2) == 0 ? random_() : below(3));
    }
    if (below(20) == 0) bytes.resize(below(bytes.size()));
  }

  void on_pdu(std::uint16_t cid, const Pdu& pdu) {
    const std::uint32_t itt = pdu.as<NopOut>().itt;
    switch (pdu.opcode()) {
      case Opcode::login_request:
        if (quiet || below(10) != 0) peer_.answer_login(cid, pdu);
        return;
      case Opcode::scsi_command:
        command(cid, pdu.as<ScsiCommandPdu>());
        return;
      case Opcode::nop_out:
        if (itt != kReservedTag) peer_.send(cid, peer_.pong(cid, itt));
        return;
      case Opcode::logout_request:
        peer_.send(cid, make_pdu(LogoutResponse{.itt = itt, .sequence = peer_.status_sequence(cid)}));
        return;
      case Opcode::task_management_request:
        if (quiet || below(3) != 0) {
          peer_.send(cid, make_pdu(TaskManagementResponse{.itt = itt, .sequence = peer_.status_sequence(cid)}));
        }
        return;
      case Opcode::data_out:
        if (pdu.as<DataOut>().final && pdu.as<DataOut>().ttt == 0x77) {
          peer_.send(cid, peer_.response(cid, itt));
        }
        return;
      default:
        return;
    }
  }

  void command(std::uint16_t cid, const ScsiCommandPdu& command) {
    peer_.exp_cmd_sn = command.cmd_sn + 1;
    tags_.emplace_back(cid, command.itt);
    if (command.read && (quiet || below(3) != 0)) {
      peer_.send(cid, peer_.data_in(cid, command.itt, 0, 0, Bytes(command.expected_length), true));
      peer_.send(cid, peer_.response(cid, command.itt));
    } else if (command.write && command.expected_length > 0 && (quiet || below(3) != 0)) {
      peer_.send(cid, peer_.r2t(cid, command.itt, 0, 0, command.expected_length, 0x77));
    } else if (quiet) {
      peer_.send(cid, peer_.response(cid, command.itt));
    }
  }

  Peer& peer_;
  std::mt19937_64& random_;
  std::vector<std::pair<std::uint16_t, std::uint32_t>> tags_;
};

}  // namespace

TEST_CASE("fuzz: answers that are mangled, and babble between them") {
  auto random = seeded_random();
  std::uint64_t losses = 0;
  for (int round = 0; round < 150; ++round) {
    auto settings = default_settings(2);
    settings.queue_depth = 8;
    settings.nop_interval = 5 * kSecond;
    settings.other_group = OtherGroup::trust;  // mangled logins lead to groups that are never seen again
    const bool digests = random() % 4 == 0;
    if (digests) settings.header_digest = settings.data_digest = DigestOffer::prefer_crc32c;
    Peer peer(settings, random());
    peer.keys.solicited_only();
    if (digests) peer.keys.with_digests();
    Babbler babbler(peer, random);
    peer.jobs.retry = true;
    peer.rx_chunk = 1 + random() % 4000;
    peer.session.setup(peer.now);
    for (int step = 0; step < 60; ++step) {
      if (peer.jobs.outstanding < 12) {
        const auto length = static_cast<std::uint32_t>(random() % 12'000);
        random() % 2 == 0 ? peer.jobs.read(length, 3) : peer.jobs.write(length, 3);
      }
      peer.pump();
      if (random() % 4 == 0) babbler.babble();
      peer.pump();
      if (random() % 8 == 0) peer.advance(static_cast<nbdgw::proto::Micros>(random() % (2 * kSecond)));
    }
    losses += peer.session.counters().losses;
    // Peace: the next session works. (This one may wait for the rest of a PDU that never comes.)
    babbler.quiet = true;
    for (const std::uint16_t cid : kBothConnections) {
      if (peer.wire(cid).open) peer.disconnect(cid);
    }
    peer.pump();
    if (peer.session.state() == SessionState::failed) peer.advance(Session::kMaxTime2Wait);  // a mangled Time2Wait
    peer.advance(120 * kSecond);
    REQUIRE(peer.session.state() == SessionState::logged_in);
    Job& read = peer.jobs.read(10'000, 3);
    Job& write = peer.jobs.write(50'000, 3);
    peer.pump();
    CHECK(read.outcome == Outcome::completed);
    CHECK(write.outcome == Outcome::completed);
    peer.check_nothing_leaked();
  }
  CHECK(losses > 100);
}

TEST_CASE("fuzz: noise instead of a login") {
  auto random = seeded_random();
  for (int round = 0; round < 300; ++round) {
    Peer peer(default_settings(2), random());
    peer.session.setup(peer.now);
    if (random() % 2 == 0) peer.login(0);
    const auto cid = static_cast<std::uint16_t>(peer.session.state() == SessionState::logged_in ? random() % 2 : 0);
    peer.pump();
    Bytes noise(48 + random() % 20'000);
    for (auto& byte : noise) byte = static_cast<std::uint8_t>(random());
    if (random() % 2 == 0) noise[0] = random() % 2 == 0 ? 0x23 : 0x25;
    if (random() % 2 == 0) noise[4] = noise[5] = 0;
    peer.send_bytes(cid, noise);
    peer.pump();
    if (peer.wire(cid).open) peer.disconnect(cid);  // or it may wait for the rest of a PDU
    peer.advance(60 * kSecond);
    // Only the leading connection's answers matter for coming back; the inbox holds its latest request.
    for (int tries = 0; peer.session.state() != SessionState::logged_in; ++tries) {
      REQUIRE(tries < 20);
      peer.advance(5 * kSecond);
      if (!peer.idle(0)) peer.login(0);
    }
    check_works(peer);
  }
}

TEST_CASE("fuzz: noise for a discovery") {
  auto random = seeded_random();
  for (int round = 0; round < 500; ++round) {
    SeededSource source(random());
    Discovery discovery(default_settings(), source);
    discovery.on_connected(0);
    for (int i = 0; i < 20 && !discovery.finished(); ++i) {
      std::vector<iovec> pieces(4);
      discovery.on_sent(random() % 2 == 0 ? 0 : [&] {
        const std::size_t count = discovery.tx_buffers(pieces);
        return count > 0 ? pieces[0].iov_len : 0;
      }(), 0);
      const std::size_t count = discovery.rx_buffers(pieces);
      REQUIRE(count > 0);
      std::size_t filled = 0;
      for (std::size_t k = 0; k < count; ++k) {
        auto* base = static_cast<std::uint8_t*>(pieces[k].iov_base);
        const std::size_t n = std::min<std::size_t>(pieces[k].iov_len, random() % 500);
        for (std::size_t at = 0; at < n; ++at) base[at] = static_cast<std::uint8_t>(random() % 3 == 0 ? random() : 0);
        if (k == 0 && n > 8 && random() % 2 == 0) base[0] = random() % 2 == 0 ? 0x23 : 0x24;
        filled += n;
        if (n < pieces[k].iov_len) break;
      }
      discovery.on_received(filled, 0);
    }
    discovery.on_disconnected("reset", 0);
    CHECK(discovery.finished());
  }
}
