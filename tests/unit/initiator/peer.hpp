#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/initiator/session.hpp"
#include "proto/scsi/sense.hpp"
#include "tests/unit/initiator/jobs.hpp"
#include "tests/unit/initiator/wire.hpp"

namespace nbdgw::test {

/// Bytes that look random and are the same in every run.
class SeededSource final : public proto::RandomSource {
 public:
  explicit SeededSource(std::uint64_t seed) : generator_(seed) {}
  void fill(std::span<std::uint8_t> out) override {
    for (auto& byte : out) byte = static_cast<std::uint8_t>(generator_());
  }

 private:
  std::mt19937_64 generator_;
};

initiator::SessionSettings default_settings(std::uint16_t connections = 1);
/// The same, with a ping after 5 s of silence, which has 3 s to be answered.
initiator::SessionSettings pinging_settings(std::uint16_t connections = 1);
void require_digests(initiator::SessionSettings& settings);
inline constexpr proto::iscsi::Isid kTestIsid{0x80, 1, 2, 3, 4, 5};
inline constexpr std::array<std::uint16_t, 2> kBothConnections{0, 1};

/// What a target says in its logins, written by hand.
struct TargetKeys {
  std::map<std::string, std::string> answers = {
      {"HeaderDigest", "None"},      {"DataDigest", "None"},    {"MaxConnections", "4"},
      {"InitialR2T", "No"},          {"ImmediateData", "Yes"},  {"MaxBurstLength", "65536"},
      {"FirstBurstLength", "16384"}, {"DefaultTime2Wait", "0"}, {"DefaultTime2Retain", "0"},
      {"MaxOutstandingR2T", "3"},    {"DataPDUInOrder", "Yes"}, {"DataSequenceInOrder", "Yes"},
      {"ErrorRecoveryLevel", "0"},
  };
  std::string portal_group = "1";  // TargetPortalGroupTag; empty: it tells none
  std::uint32_t max_recv = 8192;   // MaxRecvDataSegmentLength that it declares

  /// A write's data comes only when it is asked for.
  TargetKeys& solicited_only();
  TargetKeys& with_digests();

  bool header_digest() const { return answers.at("HeaderDigest") == "CRC32C"; }
  bool data_digest() const { return answers.at("DataDigest") == "CRC32C"; }
};

/// The target's end of one connection.
struct Wire {
  bool open = false;
  initiator::Portal portal;
  int connects = 0;
  int closes = 0;  // asked for by the initiator
  PduCutter cutter;
  std::deque<Pdu> inbox;  // from the initiator
  Bytes out;              // to the initiator, not yet delivered
  std::uint32_t stat_sn = 0;
  bool header_digest = false;
  bool data_digest = false;
  bool full_feature = false;
  bool login_mangled = false;  // what the two ends agreed on may differ
  bool takes = true;           // false: the socket's buffer is full

  std::uint64_t bytes_sent = 0;               // by the initiator, over all incarnations
  std::uint64_t bytes_received = 0;           // by the initiator
  std::vector<std::uint64_t> sent_marks;      // bytes_sent at the end of each PDU
  std::vector<std::uint64_t> received_marks;  // bytes_received at the end of each PDU
  std::uint64_t queued = 0;                   // bytes ever put into out
  std::uint64_t cut_sent = ~0ULL;             // the connection breaks at this many bytes
  std::uint64_t cut_received = ~0ULL;
};

/// Drives a Session as a shell would, and is the other end of its connections, by hand: bytes go through it in chunks
/// of any size, time is virtual, and what the initiator sends is cut into PDUs. Whatever a test does with the
/// session: if it wants its turn after that it must have rung, and it must want none when nothing moves any more.
class Peer {
 public:
  static constexpr std::uint16_t kTsih = 0x0100;

  explicit Peer(initiator::SessionSettings settings = default_settings(), std::uint64_t seed = 1);

  SeededSource random;
  proto::Bell bell;
  initiator::Session session;
  Jobs jobs;
  proto::Micros now = 1000 * proto::kSecond;
  TargetKeys keys;
  std::vector<initiator::SessionEvent> events;
  std::vector<initiator::RecoveryEvent> recovery_events;
  std::vector<initiator::SocketRequest> requests;  // all that were ever made
  std::vector<initiator::PortalGroup> errands;     // as well

  std::size_t rx_chunk = 1 << 16;
  std::size_t tx_chunk = 1 << 16;
  std::size_t rx_iovecs = 8;
  std::size_t tx_iovecs = 8;
  /// What the shell says that it connected to; empty: nothing.
  std::string address;
  /// And which of the portals that were asked for; nothing: the first.
  std::optional<initiator::Portal> portal;
  bool auto_connect = true;
  bool auto_close = true;
  std::uint32_t exp_cmd_sn = 1;  // what the target's PDUs tell
  std::uint32_t window = 64;
  /// Takes the initiator's PDUs; without it they gather in the inboxes.
  std::function<void(std::uint16_t cid, const Pdu& pdu)> on_pdu;
  std::function<void(std::uint16_t cid)> on_connect;
  /// Spoils what is sent to the initiator.
  std::function<void(std::uint16_t cid, Bytes& bytes)> mangle;

  Wire& wire(std::uint16_t cid) { return wires_[cid]; }
  initiator::Connection& connection(std::uint16_t cid) { return session.connection(cid); }

  /// Moves everything that can be moved.
  void pump();
  /// One turn; false when nothing moved.
  bool turn();
  /// One write to the socket; false when nothing moved.
  bool transmit(std::uint16_t cid);
  /// Lets time pass, deadline by deadline.
  void advance(proto::Micros length);
  void send(std::uint16_t cid, const Pdu& pdu);
  void send_bytes(std::uint16_t cid, std::span<const std::uint8_t> bytes);
  /// The next PDU from the initiator; there must be one.
  Pdu take(std::uint16_t cid, proto::iscsi::Opcode opcode);
  bool idle(std::uint16_t cid) { return wires_[cid].inbox.empty(); }
  void connect(std::uint16_t cid);
  void disconnect(std::uint16_t cid, const std::string& why = "connection reset");

  /// Numbers for a PDU that carries a status (and so uses up a StatSN), and for one that does not.
  proto::iscsi::TargetSequence status_sequence(std::uint16_t cid);
  proto::iscsi::TargetSequence plain_sequence(std::uint16_t cid);

  /// The next PDU of the connection, which must be a command: the target has it, and acknowledges it with the next
  /// PDU that it sends.
  proto::iscsi::ScsiCommandPdu take_command(std::uint16_t cid = 0);
  /// The socket takes nothing more, and the send queue is full to the last PDU of management; until unblock().
  void block(std::uint16_t cid);
  void unblock(std::uint16_t cid);

  /// Answers one login request; true when that ended the login.
  bool answer_login(std::uint16_t cid, const Pdu& request);
  /// Takes a login request, and refuses it.
  void refuse_login(std::uint16_t cid, proto::iscsi::LoginStatus status, const Keys& with = {});
  /// Takes and answers requests until the connection is in full feature phase.
  void login(std::uint16_t cid);
  /// setup(), and the logins of all connections.
  void start();
  /// The connections again after a loss, once the session asks.
  void relogin();

  // What the target says, made by hand (peer_words.cpp).
  Pdu response(std::uint16_t cid, std::uint32_t itt, std::uint8_t status = 0, Bytes data = {});
  Pdu data_in(std::uint16_t cid, std::uint32_t itt, std::uint32_t data_sn, std::uint32_t offset, Bytes data,
              bool final);
  Pdu r2t(std::uint16_t cid, std::uint32_t itt, std::uint32_t r2t_sn, std::uint32_t offset, std::uint32_t length,
          std::uint32_t ttt);
  Pdu async_message(std::uint16_t cid, proto::iscsi::AsyncEvent event, std::uint16_t parameter2 = 0);
  /// Its own ping; kReservedTag: only the news of the window, and of what has arrived.
  Pdu ping(std::uint16_t cid, std::uint32_t ttt);
  /// The answer to ours.
  Pdu pong(std::uint16_t cid, std::uint32_t itt);
  Pdu reject_of(const Pdu& pdu, proto::iscsi::RejectReason reason, std::uint16_t cid = 0);

  /// Sends it, and everything that follows from it.
  void deliver(std::uint16_t cid, const Pdu& pdu) {
    send(cid, pdu);
    pump();
  }
  void respond(std::uint16_t cid, std::uint32_t itt, std::uint8_t status = 0, Bytes data = {}) {
    deliver(cid, response(cid, itt, status, std::move(data)));
  }
  void acknowledge(std::uint16_t cid = 0) { deliver(cid, ping(cid, proto::iscsi::kReservedTag)); }
  void reject(const Pdu& pdu, proto::iscsi::RejectReason reason, std::uint16_t cid = 0) {
    deliver(cid, reject_of(pdu, reason, cid));
  }
  /// Takes our ping, and answers it.
  void answer_ping(std::uint16_t cid = 0);
  /// Takes a Logout request, and answers it.
  void answer_logout(std::uint16_t cid = 0, proto::iscsi::LogoutResult result = proto::iscsi::LogoutResult::closed,
                     std::uint16_t time2wait = 0);
  /// The answer to this one.
  void answer_logout(const proto::iscsi::LogoutRequest& request) {
    deliver(0, make_pdu(proto::iscsi::LogoutResponse{.itt = request.itt, .sequence = status_sequence(0)}));
  }

  bool saw(initiator::SessionEvent::Kind kind, std::string_view text = {}) const;
  std::size_t count(initiator::SessionEvent::Kind kind) const;
  /// There must be one.
  const initiator::SessionEvent& last(initiator::SessionEvent::Kind kind) const;
  /// How many RecoveryEvents there were for this request.
  std::size_t told_of(std::uint32_t request_id);
  /// Nothing is left of any command: the pool is full, every job came back as often as it was queued.
  void check_nothing_leaked();

 private:
  void check_bell();
  bool serve_requests();
  bool receive(std::uint16_t cid);

  std::map<std::uint16_t, Wire> wires_;
  proto::Micros next_deadline_ = proto::kNever;  // as of the end of the last turn
};

/// Fixed sense data as the data segment of a SCSI Response, or of an event.
Bytes sense_segment(proto::scsi::SenseKey key, std::uint8_t asc, std::uint8_t ascq);

/// The ladder's TEST UNIT READY; no job's command is all zeroes.
bool is_question(const Pdu& pdu);

/// Whether a command that is queued now is sent, answered and handed back: the session works.
void check_works(Peer& peer);

}  // namespace nbdgw::test
