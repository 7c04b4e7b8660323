#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "gateway/initiator/counters.hpp"
#include "gateway/initiator/error.hpp"
#include "gateway/initiator/login.hpp"
#include "gateway/initiator/pdu_reader.hpp"
#include "gateway/initiator/send_queue.hpp"
#include "gateway/initiator/settings.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/random.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

/// What is known beside ConnectionError::login_timed_out, if it had not even begun.
inline constexpr const char* kNoTcpConnection = "no TCP connection came about";

/// One TCP connection as PDUs, both ways, from its login on: what a connection of a session and a discovery have in
/// common. It knows StatSN, the digests and the login; CmdSN, tags and commands are its owner's.
class PduStream {
 public:
  // Receiving.
  std::size_t rx_buffers(std::span<iovec> out) noexcept { return reader_.rx_buffers(out); }
  /// Not none: the connection must go.
  ConnectionError on_received(std::size_t bytes, PduHandler& handler, proto::Micros now) {
    counters_.bytes_received += bytes;
    return reader_.on_received(bytes, handler, now);
  }
  /// Counts a PDU that has come; its opcode.
  proto::iscsi::Opcode count_received(const ReceivedPdu& pdu) noexcept {
    const auto opcode = static_cast<proto::iscsi::Opcode>(proto::iscsi::Prefix::decode(pdu.bhs).opcode);
    counters_.received(opcode);
    return opcode;
  }
  /// A status has come: is it the next one?
  ConnectionError take_stat_sn(std::uint32_t stat_sn) noexcept {
    // At ErrorRecoveryLevel 0 a status cannot be asked for again, so a gap ends the connection.
    if (stat_sn != exp_stat_sn_) return ConnectionError::stat_sn;
    ++exp_stat_sn_;
    return ConnectionError::none;
  }
  std::uint32_t exp_stat_sn() const noexcept { return exp_stat_sn_; }

  // Sending. What is pushed to the queue is finished with seal().
  SendQueue& send_queue() noexcept { return send_queue_; }
  const SendQueue& send_queue() const noexcept { return send_queue_; }
  void seal(proto::iscsi::Opcode opcode) noexcept {
    send_queue_.seal(header_digest_, data_digest_);
    counters_.sent(opcode);
  }
  void send_nop_out(std::uint32_t itt, std::uint32_t ttt, std::uint64_t lun, std::uint32_t cmd_sn) noexcept;
  /// The target's own ping, or only news of the window: then there is nothing to answer. Not none: the connection
  /// must go, and `detail` tells more.
  ConnectionError answer_nop_in(const proto::iscsi::NopIn& nop, std::uint32_t cmd_sn, std::string& detail);
  void send_logout(proto::iscsi::LogoutReason reason, std::uint32_t itt, std::uint16_t cid,
                   std::uint32_t cmd_sn) noexcept;
  template <typename OnPduSent>
  void on_sent(std::size_t bytes, OnPduSent on_pdu_sent) {
    counters_.bytes_sent += bytes;
    send_queue_.on_sent(bytes, on_pdu_sent);
  }

  // Login, from begin_login() to end_login(): login() tells how it went. All of its requests have the tag `itt`.
  void begin_login(const SessionSettings& settings, const LoginIdentity& identity, proto::RandomSource& random,
                   std::uint32_t itt);
  void send_login_request(std::uint32_t cmd_sn);
  /// Whatever came during the login. Step::send: the owner calls send_login_request().
  Login::Step on_login_response(const ReceivedPdu& received);
  const Login& login() const noexcept { return *login_; }
  /// Full feature phase begins, with what was agreed upon.
  void end_login() noexcept;

  /// The TCP connection is gone, and all of this with it; a new one may begin.
  template <typename OnPduDropped>
  void close(OnPduDropped on_pdu_dropped) {
    reader_.reset();
    send_queue_.clear(on_pdu_dropped);
    login_.reset();
    exp_stat_sn_ = 0;
    header_digest_ = data_digest_ = false;
  }

  const ConnectionCounters& counters() const noexcept { return counters_; }

 private:
  std::uint32_t exp_stat_sn_ = 0;
  std::uint32_t login_itt_ = 0;
  bool header_digest_ = false;  // of what we send, in force since full feature phase
  bool data_digest_ = false;
  PduReader reader_;
  SendQueue send_queue_;
  std::unique_ptr<Login> login_;  // while it runs
  ConnectionCounters counters_;
};

}  // namespace nbdgw::initiator
