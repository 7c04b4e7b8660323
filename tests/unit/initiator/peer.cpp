#include "tests/unit/initiator/peer.hpp"

#include <algorithm>
#include <cstring>

#include "tests/unit/allocations.hpp"

namespace nbdgw::test {

using namespace proto::iscsi;
using initiator::SessionEvent;
using initiator::SessionState;
using initiator::SocketRequest;

initiator::SessionSettings default_settings(std::uint16_t connections) {
  initiator::SessionSettings settings;
  settings.label = "array";
  settings.initiator_name = "iqn.2026-11.io.nbdgw:test";
  settings.target_name = "iqn.2026-11.io.example:disk";
  settings.portals = {{"192.0.2.1", 3260}, {"192.0.2.2", 3261}};
  settings.connections = connections;
  settings.queue_depth = 32;
  settings.nop_interval = 0;  // pings only where they are the matter
  return settings;
}

initiator::SessionSettings pinging_settings(std::uint16_t connections) {
  auto settings = default_settings(connections);
  settings.nop_interval = 5 * proto::kSecond;
  settings.nop_timeout = 3 * proto::kSecond;
  return settings;
}

void require_digests(initiator::SessionSettings& settings) {
  settings.header_digest = settings.data_digest = initiator::DigestOffer::require_crc32c;
}

TargetKeys& TargetKeys::solicited_only() {
  answers["ImmediateData"] = "No";
  answers["InitialR2T"] = "Yes";
  return *this;
}

TargetKeys& TargetKeys::with_digests() {
  answers["HeaderDigest"] = answers["DataDigest"] = "CRC32C";
  return *this;
}

Peer::Peer(initiator::SessionSettings settings, std::uint64_t seed)
    : random(seed), session(settings, kTestIsid, random), jobs(session) {
  for (std::uint16_t cid = 0; cid < session.connection_count(); ++cid) wires_[cid];
  session.set_bell(&bell);
}

bool Peer::serve_requests() {
  bool any = false;
  for (SocketRequest request; session.next_socket_request(request);) {
    any = true;
    requests.push_back(request);
    Wire& end = wires_[request.connection];
    if (request.kind == SocketRequest::Kind::connect) {
      CHECK_FALSE(end.open);
      end.portal = request.portal;
      if (auto_connect) connect(request.connection);
    } else {
      ++end.closes;
      if (auto_close) disconnect(request.connection, "closed");
    }
  }
  for (SessionEvent event; session.next_event(event);) events.push_back(event);
  for (initiator::RecoveryEvent event; session.next_recovery_event(event);) recovery_events.push_back(event);
  return any;
}

void Peer::connect(std::uint16_t cid) {
  Wire& end = wires_[cid];
  end.open = true;
  ++end.connects;
  end.cutter = {};
  end.inbox.clear();
  end.out.clear();
  end.queued = end.bytes_received;
  end.stat_sn = 0xfffffffcU + cid;  // so that it wraps soon
  end.header_digest = end.data_digest = end.full_feature = end.login_mangled = false;
  if (on_connect) on_connect(cid);
  if (portal) end.portal = *portal;
  connection(cid).on_connected(now, address, portal);
}

void Peer::disconnect(std::uint16_t cid, const std::string& why) {
  wires_[cid].open = false;
  wires_[cid].out.clear();
  connection(cid).on_disconnected(why, now);
}

bool Peer::transmit(std::uint16_t cid) {
  Wire& end = wires_[cid];
  if (!end.open || !end.takes) return false;
  std::vector<iovec> pieces(tx_iovecs);
  const std::size_t count = in_engine([&] { return connection(cid).tx_buffers(pieces); });
  REQUIRE(count <= pieces.size());
  CHECK((count > 0) == connection(cid).wants_tx());
  Bytes bytes;
  const std::size_t most = static_cast<std::size_t>(std::min<std::uint64_t>(tx_chunk, end.cut_sent - end.bytes_sent));
  for (std::size_t i = 0; i < count && bytes.size() < most; ++i) {
    const auto* base = static_cast<const std::uint8_t*>(pieces[i].iov_base);
    bytes.insert(bytes.end(), base, base + std::min(pieces[i].iov_len, most - bytes.size()));
  }
  if (bytes.empty()) return false;
  end.bytes_sent += bytes.size();
  in_engine([&] { connection(cid).on_sent(bytes.size(), now); });
  bell.ring();  // the shell looks after it has sent something
  end.cutter.feed(bytes);
  for (Pdu pdu; end.open && end.cutter.next(pdu);) {
    end.sent_marks.push_back(end.bytes_sent - end.cutter.rest());
    if (!end.cutter.clean()) {
      CHECK(end.login_mangled);
      disconnect(cid, "a digest is wrong");
    } else if (on_pdu) {
      on_pdu(cid, pdu);
    } else {
      end.inbox.push_back(pdu);
    }
  }
  if (end.bytes_sent == end.cut_sent) {
    end.cut_sent = ~0ULL;
    disconnect(cid);
  }
  return true;
}

bool Peer::receive(std::uint16_t cid) {
  Wire& end = wires_[cid];
  if (!end.open || end.out.empty()) return false;
  std::vector<iovec> pieces(rx_iovecs);
  const std::size_t count = in_engine([&] { return connection(cid).rx_buffers(pieces); });
  if (count == 0) return false;
  const std::size_t most = static_cast<std::size_t>(
      std::min<std::uint64_t>({rx_chunk, end.out.size(), end.cut_received - end.bytes_received}));
  std::size_t moved = 0;
  for (std::size_t i = 0; i < count && moved < most; ++i) {
    REQUIRE(pieces[i].iov_len > 0);
    const std::size_t n = std::min(pieces[i].iov_len, most - moved);
    std::memcpy(pieces[i].iov_base, &end.out[moved], n);
    moved += n;
  }
  end.out.erase(end.out.begin(), end.out.begin() + static_cast<std::ptrdiff_t>(moved));
  end.bytes_received += moved;
  in_engine([&] { connection(cid).on_received(moved, now); });
  if (end.bytes_received == end.cut_received) {
    end.cut_received = ~0ULL;
    disconnect(cid);
  }
  return true;
}

void Peer::check_bell() {
  if (bell.rung()) return;
  REQUIRE_FALSE(session.wants_turn());
  REQUIRE(session.next_deadline() >= next_deadline_);
}

bool Peer::turn() {
  check_bell();
  bell.hush();
  bool any = serve_requests();
  in_engine([&] { session.deliver(now); });
  in_engine([&] { session.data_xmit(now); });
  for (auto& [cid, end] : wires_) any = transmit(cid) || any;
  for (auto& [cid, end] : wires_) any = receive(cid) || any;
  in_engine([&] { session.deliver(now); });
  if (const auto group = session.take_errand(now)) errands.push_back(*group);
  any = serve_requests() || any;
  bell.listen();
  if (session.wants_turn()) bell.ring();  // in its next turn
  next_deadline_ = session.next_deadline();
  return any;
}

void Peer::pump() {
  for (int turns = 0; turn() || session.wants_turn(); ++turns) REQUIRE(turns < 5'000'000);
}

void Peer::advance(proto::Micros length) {
  const proto::Micros end = now + length;
  pump();
  for (int steps = 0; session.next_deadline() <= end; ++steps) {
    REQUIRE(steps < 100'000);  // a deadline that stays due would spin
    now = std::max(now, session.next_deadline());
    session.on_deadline(now);
    pump();
  }
  now = end;
}

void Peer::send_bytes(std::uint16_t cid, std::span<const std::uint8_t> bytes) {
  wires_[cid].out.insert(wires_[cid].out.end(), bytes.begin(), bytes.end());
  wires_[cid].queued += bytes.size();
  wires_[cid].received_marks.push_back(wires_[cid].queued);
}

void Peer::send(std::uint16_t cid, const Pdu& pdu) {
  Bytes bytes = to_bytes(pdu, wires_[cid].header_digest, wires_[cid].data_digest);
  if (mangle) {
    const Bytes right = bytes;
    mangle(cid, bytes);
    if (!wires_[cid].full_feature && bytes != right) wires_[cid].login_mangled = true;
  }
  send_bytes(cid, bytes);
}

Pdu Peer::take(std::uint16_t cid, Opcode opcode) {
  pump();
  REQUIRE_FALSE(wires_[cid].inbox.empty());
  Pdu pdu = wires_[cid].inbox.front();
  wires_[cid].inbox.pop_front();
  REQUIRE(pdu.opcode() == opcode);
  return pdu;
}

TargetSequence Peer::status_sequence(std::uint16_t cid) {
  return {wires_[cid].stat_sn++, exp_cmd_sn, exp_cmd_sn + window - 1};
}

TargetSequence Peer::plain_sequence(std::uint16_t cid) {
  return {wires_[cid].stat_sn, exp_cmd_sn, exp_cmd_sn + window - 1};
}

ScsiCommandPdu Peer::take_command(std::uint16_t cid) {
  const auto command = take(cid, Opcode::scsi_command).as<ScsiCommandPdu>();
  exp_cmd_sn = command.cmd_sn + 1;
  return command;
}

void Peer::block(std::uint16_t cid) {
  wire(cid).takes = false;
  for (std::uint32_t i = 0; i < initiator::SendQueue::kMaxPdus + initiator::SendQueue::kManagementPdus; ++i) {
    deliver(cid, ping(cid, i));
  }
  REQUIRE(session.state() == SessionState::logged_in);
}

void Peer::unblock(std::uint16_t cid) {
  wire(cid).takes = true;
  pump();
  std::erase_if(wire(cid).inbox, [](const Pdu& pdu) { return pdu.opcode() == Opcode::nop_out; });
}

bool Peer::answer_login(std::uint16_t cid, const Pdu& request) {
  const auto header = request.as<LoginRequest>();
  const bool security = header.current_stage == LoginStage::security;
  if (header.tsih == 0) exp_cmd_sn = header.cmd_sn;
  Keys out;
  if (security) {
    if (!keys.portal_group.empty()) out.emplace_back("TargetPortalGroupTag", keys.portal_group);
    if (value_of(request, "AuthMethod") != "(none)") out.emplace_back("AuthMethod", "None");
  } else {
    for (const auto& [key, value] : to_keys(request.text())) {
      if (const auto answer = keys.answers.find(key); answer != keys.answers.end()) out.push_back(*answer);
    }
    out.emplace_back("MaxRecvDataSegmentLength", std::to_string(keys.max_recv));
  }
  LoginResponse answer{.transit = header.transit,
                       .current_stage = header.current_stage,
                       .next_stage = header.next_stage,
                       .isid = header.isid,
                       .tsih = header.tsih,
                       .itt = header.itt,
                       .sequence = status_sequence(cid)};
  const bool done = !security && header.transit;
  if (done) answer.tsih = kTsih;
  send(cid, make_pdu(answer, to_text(out)));
  if (done) {
    Wire& end = wires_[cid];
    end.full_feature = true;
    end.header_digest = keys.header_digest();
    end.data_digest = keys.data_digest();
    end.cutter.set_digests(end.header_digest, end.data_digest);
  }
  return done;
}

void Peer::refuse_login(std::uint16_t cid, LoginStatus status, const Keys& with) {
  const auto request = take(cid, Opcode::login_request).as<LoginRequest>();
  deliver(cid, make_pdu(
                   LoginResponse{
                       .isid = request.isid, .itt = request.itt, .sequence = plain_sequence(cid), .status = status},
                   to_text(with)));
}

void Peer::login(std::uint16_t cid) {
  while (!answer_login(cid, take(cid, Opcode::login_request))) {
  }
  pump();
}

bool is_question(const Pdu& pdu) {
  if (pdu.opcode() != Opcode::scsi_command) return false;
  const auto cdb = pdu.as<ScsiCommandPdu>().cdb;
  return std::ranges::all_of(cdb, [](std::uint8_t byte) { return byte == 0; });
}

void Peer::start() {
  session.setup(now);
  relogin();
}

void Peer::relogin() {
  for (std::uint16_t cid = 0; cid < session.connection_count(); ++cid) login(cid);
  REQUIRE(session.state() == SessionState::logged_in);
}

bool Peer::saw(SessionEvent::Kind kind, std::string_view text) const {
  return std::any_of(events.begin(), events.end(), [&](const SessionEvent& event) {
    return event.kind == kind && event.text.find(text) != std::string::npos;
  });
}

std::size_t Peer::count(SessionEvent::Kind kind) const {
  return static_cast<std::size_t>(
      std::count_if(events.begin(), events.end(), [&](const SessionEvent& event) { return event.kind == kind; }));
}

const SessionEvent& Peer::last(SessionEvent::Kind kind) const {
  const auto found =
      std::find_if(events.rbegin(), events.rend(), [&](const SessionEvent& event) { return event.kind == kind; });
  REQUIRE(found != events.rend());
  return *found;
}

std::size_t Peer::told_of(std::uint32_t request_id) {
  pump();
  return static_cast<std::size_t>(
      std::count_if(recovery_events.begin(), recovery_events.end(),
                    [&](const initiator::RecoveryEvent& event) { return event.request_id == request_id; }));
}

void Peer::check_nothing_leaked() {
  CHECK(jobs.outstanding == 0);
  CHECK(session.tasks_in_use() == 0);
  for (const auto& job : jobs.all) CHECK(job->finished == job->queued);
  for (std::uint16_t cid = 0; cid < session.connection_count(); ++cid) {
    CHECK(connection(cid).outstanding_bytes() == 0);
    CHECK_FALSE(connection(cid).wants_tx());
  }
}

void check_works(Peer& peer) {
  Job& job = peer.jobs.read(5);
  peer.pump();
  for (std::uint16_t cid = 0; cid < peer.session.connection_count(); ++cid) {
    if (peer.idle(cid)) continue;
    const std::uint32_t itt = peer.take_command(cid).itt;
    peer.send(cid, peer.data_in(cid, itt, 0, 0, {1, 2, 3, 4, 5}, true));
    peer.respond(cid, itt);
    break;
  }
  REQUIRE(job.finished == 1);
  CHECK(job.outcome == initiator::Outcome::completed);
  CHECK(job.content == Bytes{1, 2, 3, 4, 5});
}

}  // namespace nbdgw::test
