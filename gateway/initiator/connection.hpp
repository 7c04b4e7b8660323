#pragma once

#include <cstdint>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "gateway/initiator/counters.hpp"
#include "gateway/initiator/error.hpp"
#include "gateway/initiator/pdu_reader.hpp"
#include "gateway/initiator/pdu_stream.hpp"
#include "gateway/initiator/portal_group.hpp"
#include "gateway/initiator/settings.hpp"
#include "gateway/initiator/task.hpp"
#include "proto/engine.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/time.hpp"

namespace nbdgw::initiator {

class Escalation;
class Session;
struct TaskManagement;

enum class ConnectionState : std::uint8_t {
  free,        // no socket and none asked for
  connecting,  // a socket was asked for
  login,       // TCP is there, the login exchange runs
  started,     // full feature phase
  stopped,     // given up; the socket has been asked to close
};

const char* to_string(ConnectionState state) noexcept;

/// One TCP connection of a session (RFC 7143 section 4.2.2). The shell moves its bytes:
///  - rx_buffers() tells where the next received bytes go; a Data-In's payload goes straight to the command's memory;
///  - tx_buffers() tells what to send next; the bytes stay valid until on_sent() has taken them.
class Connection final : private PduHandler {
 public:
  Connection(Session& session, std::uint16_t cid);
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // The shell's side.
  /// `address`: of the portal, in the shell's words; the session knows it again by that (SocketRequest::address).
  /// `portal`: which one it is; nothing: SocketRequest::portal.
  void on_connected(proto::Micros now, std::string address = {}, const std::optional<Portal>& portal = {});
  /// The connect failed or the socket is gone; `why` is the system's text. Also the answer to SocketRequest close
  /// and leave.
  void on_disconnected(const std::string& why, proto::Micros now);
  std::size_t rx_buffers(std::span<iovec> out) noexcept;
  void on_received(std::size_t bytes, proto::Micros now);
  std::size_t tx_buffers(std::span<iovec> out) noexcept;
  void on_sent(std::size_t bytes, proto::Micros now);
  /// Whether tx_buffers() has something to give.
  bool wants_tx() const noexcept { return !stream_.send_queue().empty(); }
  /// Whether the shell should keep reading: false when there is no socket to read from any more.
  bool wants_rx() const noexcept { return state_ == ConnectionState::login || state_ == ConnectionState::started; }

  ConnectionState state() const noexcept { return state_; }
  std::uint16_t cid() const noexcept { return cid_; }
  const ConnectionCounters& counters() const noexcept { return stream_.counters(); }
  /// The load by which the session chooses a connection for a command: bytes of the commands not yet answered.
  std::uint64_t outstanding_bytes() const noexcept { return outstanding_bytes_; }
  const proto::iscsi::ConnectionParameters& parameters() const noexcept { return parameters_; }
  // For views.
  const Portal& portal() const noexcept { return portal_; }  // where it is, or was last, connected to
  const std::string& address() const noexcept { return address_; }
  proto::Micros state_since() const noexcept { return state_since_; }
  proto::Micros last_received() const noexcept { return last_received_; }
  bool pinging() const noexcept { return ping_ != nullptr; }

 private:
  friend class Escalation;
  friend class Session;

  static constexpr proto::Micros kNeverReceived = std::numeric_limits<proto::Micros>::min();

  void enter(ConnectionState state, proto::Micros now);

  // Life (iscsi_conn_setup, _start, _stop, _failure).
  void setup(const Portal& portal, const std::string& address, std::vector<Portal> alternates, proto::Micros now);
  void start(proto::Micros now);
  void stop(proto::Micros now);
  void failure(ConnectionError error, proto::Micros now);

  // Login exchange.
  PortalGroup group() const;
  bool leads_where_it_must();
  ConnectionError login_response(const ReceivedPdu& pdu, proto::Micros now);

  // Receiving (connection_receive.cpp). Each returns why the connection must go, or none; detail_ may tell more.
  Placement place(const proto::iscsi::Bhs& bhs) override;
  ConnectionError complete_pdu(const ReceivedPdu& pdu, proto::Micros now) override;
  Placement place_data_in(const proto::iscsi::Bhs& bhs);
  bool is_late(std::uint32_t itt) const noexcept;
  void hear_late_sense(std::uint32_t itt, std::span<const std::uint8_t> data);
  ConnectionError late_answer(std::uint32_t itt, const proto::iscsi::TargetSequence& sequence,
                              bool has_status) noexcept;
  ConnectionError check_data_in(const proto::iscsi::DataIn& pdu, Task*& task) noexcept;
  ConnectionError scsi_cmd_rsp(const ReceivedPdu& pdu, proto::Micros now);
  ConnectionError data_in_rsp(const ReceivedPdu& pdu, proto::Micros now);
  void finish_scsi_task(Task& task, Outcome outcome);
  ConnectionError r2t_rsp(const ReceivedPdu& pdu, proto::Micros now);
  ConnectionError nop_in(const ReceivedPdu& pdu, proto::Micros now);
  ConnectionError async_message(const ReceivedPdu& pdu, proto::Micros now);
  ConnectionError handle_reject(const ReceivedPdu& pdu, proto::Micros now);
  ConnectionError tmf_rsp(const ReceivedPdu& pdu);
  ConnectionError logout_rsp(const ReceivedPdu& pdu, proto::Micros now);

  // Sending (connection_transmit.cpp, connection_command.cpp, connection_data_out.cpp).
  void prep_scsi_cmd_pdu(Task& task);
  void prep_data_out_pdu(Task& task, DataOutSequence& sequence);
  void requeue_task(Task& task) noexcept;
  void drop_data_out(Task& task) noexcept;
  void drop_unsent_data(Task& task);
  void fill_send_queue();
  bool could_send_data() const noexcept;
  void send_ping(proto::Micros now);
  void send_round_ping(std::uint32_t round, proto::Micros now);
  Task* send_nop_task(proto::Micros now);
  void pong(Task& task, proto::Micros now);
  void send_tmf(const TaskManagement& tmf);
  void send_logout(proto::iscsi::LogoutReason reason, proto::Micros now);

  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);
  void on_slept(proto::Micros length, proto::Micros now) noexcept;

  /// No further command or data is queued for sending (iscsi_suspend_tx); what is queued goes out, and so do
  /// management PDUs.
  void suspend_tx() noexcept { tx_suspended_ = true; }
  void start_tx() noexcept { tx_suspended_ = false; }
  bool may_take_command() const noexcept {
    return state_ == ConnectionState::started && !tx_suspended_ && stream_.send_queue().room();
  }

  Session& session_;
  const std::uint16_t cid_;
  ConnectionState state_ = ConnectionState::free;
  proto::iscsi::ConnectionParameters parameters_;
  std::optional<std::uint32_t> last_cmd_sn_;  // of the commands that it was given since its login

  PduStream stream_;
  Portal portal_;
  std::string address_;
  bool has_alternates_ = false;  // other portals may be tried beside it

  Task* data_first_ = nullptr;  // tasks with Data-Out to send
  Task* data_last_ = nullptr;
  std::uint64_t outstanding_bytes_ = 0;
  bool tx_suspended_ = false;

  Task* receiving_ = nullptr;  // the task whose memory takes a Data-In at this moment; holds a reference
  Task* ping_ = nullptr;       // the NOP-Out that waits for its answer
  bool pinging_ = false;       // a ping was due: sent, or stuck behind a socket that takes nothing
  proto::Micros pinging_since_ = 0;
  /// The NOP-Out of a round: when it is answered the target has received all that was sent before it. The number is
  /// of the last round that asked this connection; commands with a CmdSN below `round_below_` went before it.
  Task* round_ping_ = nullptr;
  std::uint32_t round_ = 0;
  std::uint32_t round_below_ = 0;
  proto::Micros round_deadline_ = proto::kNever;
  Task* logout_ = nullptr;
  proto::Micros state_since_ = 0;
  proto::Micros last_received_ = kNeverReceived;
  std::string detail_;  // of the error that is being reported, for people
  proto::iscsi::LoginStatus login_status_ = proto::iscsi::LoginStatus::success;
};

static_assert(proto::ReceivingEngine<Connection> && proto::SendingEngine<Connection>);  // its time is the session's

}  // namespace nbdgw::initiator
