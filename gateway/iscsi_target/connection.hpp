#pragma once

#include <sys/uio.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/iscsi_target/login.hpp"
#include "gateway/iscsi_target/server.hpp"
#include "gateway/iscsi_target/task.hpp"
#include "gateway/iscsi_target/text_exchange.hpp"
#include "proto/engine.hpp"
#include "proto/iscsi/negotiation.hpp"
#include "proto/iscsi/pdu.hpp"
#include "proto/time.hpp"

namespace nbdgw::iscsi_target {

enum class ConnectionState : std::uint8_t {
  login,
  full_feature,
  closing,  // sends what is queued, reads nothing, then is closed
  closed,   // to be closed by the shell at once
};

/// One TCP connection from an initiator: bytes to PDUs and back, and what belongs to one connection alone (StatSN,
/// digests, text requests). Commands are the session's.
///
/// The shell moves bytes as between any engine and its socket (rx_buffers, on_received, tx_buffers, on_sent). After
/// every call it asks Server::take_ready() for connections that have something to send or want to be closed.
class Connection {
 public:
  /// `local_address`: where the initiator connected to, "host:port", for the answers to SendTargets. `portal`: to
  /// which of the portal groups; the first has the number 0 and the tag that the options say.
  Connection(Server& server, std::string local_address, proto::Micros now, std::uint16_t portal = 0);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  // ---- for the shell
  // ------------------------------------------------------------------------------------------------

  /// Where the next bytes go: fills entries of `out` and returns how many. 0: nothing is to be read now (the
  /// initiator does not take its answers, or the connection is being closed); ask again after something was sent. The
  /// memory is good until the next call into any part of the engine.
  std::size_t rx_buffers(std::span<iovec> out);
  /// `n` bytes have come into those buffers.
  void on_received(std::size_t n, proto::Micros now);
  /// What to send next; as rx_buffers(). 0: nothing now.
  std::size_t tx_buffers(std::span<iovec> out);
  void on_sent(std::size_t n, proto::Micros now);
  /// The socket is gone. The only call left after it is the destructor.
  void on_disconnected(proto::Micros now);

  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);

  /// Whether rx_buffers() would take bytes now.
  bool wants_to_read() const noexcept;
  /// Nothing more is to be sent or read: the shell closes the socket.
  bool wants_close() const noexcept { return state_ == ConnectionState::closed; }
  /// And that in the rudest way: the initiator gets a TCP reset, and nothing that was on its way.
  bool wants_reset() const noexcept { return wants_reset_; }
  /// Nothing more will be sent, and the shell tells the initiator so (FIN); what it sends is still read.
  bool wants_send_end() const noexcept { return stopped_sending_; }
  /// Why the connection is closing or closed; empty: the initiator asked for it (logout).
  const std::string& close_reason() const noexcept { return close_reason_; }
  /// Its portal group stands still: what comes in stays in the socket, and its end is not noticed.
  bool is_frozen() const noexcept;
  ConnectionState state() const noexcept { return state_; }
  /// "iqn..., session 3, connection 1" once logged in; for logs.
  std::string describe() const;

  // ---- for session and server
  // ---------------------------------------------------------------------------------------

  Session* session() const noexcept { return session_; }
  std::uint16_t cid() const noexcept { return cid_; }
  std::uint16_t portal_group_tag() const noexcept { return portal_group_tag_; }
  const proto::iscsi::ConnectionParameters& parameters() const noexcept { return parameters_; }

  /// Joins a session: the login is over.
  void attach(Session& session, const Login& login);
  /// The session has let go of it. What is queued without a task is still sent.
  void detach(const std::string& reason);
  /// Closes after what is queued has been sent.
  void close_after_sending(const std::string& reason);
  /// Closes at once: the initiator broke the protocol.
  void violation(const std::string& reason);
  /// Closes at once, with a TCP reset.
  void reset(const std::string& reason);
  /// Sends nothing more, reads on.
  void stop_sending() noexcept;

  /// Puts a PDU, or a task that has its answer, into the queue.
  ControlPdu& new_control();
  void send(ControlPdu& pdu);
  void send(Task& task);
  /// The task is aborted: nothing more is made of it, and what comes in for it is dropped.
  void forget(Task& task);

  void reject(proto::iscsi::RejectReason reason, const proto::iscsi::Bhs& header);
  /// A request other than a SCSI command or task management, when its turn has come.
  void handle(Task& request, proto::Micros now);
  void send_async(const proto::iscsi::AsyncMessage& message);
  /// A NOP-In that wants no answer: it tells how far the command window goes.
  void send_window();

 private:
  friend class Server;  // its list of ready connections

  static constexpr std::size_t kStagingBytes = 16 * 1024;
  static constexpr std::size_t kWirePdus = 64;
  /// For what is queued when the connection is to be closed.
  static constexpr proto::Micros kFlushTimeout = 5 * proto::kSecond;

  enum class RxStage : std::uint8_t { header, data, trailer };
  enum class Sink : std::uint8_t { discard, task, text };

  /// A PDU that is made and being sent.
  struct WirePdu {
    std::array<std::uint8_t, proto::iscsi::kBhsLength + proto::iscsi::kDigestLength> header{};
    std::uint8_t header_length = 0;
    std::array<std::uint8_t, 8> trailer{};  // padding and data digest
    std::uint8_t trailer_length = 0;
    Task* task = nullptr;
    ControlPdu* control = nullptr;
    std::uint32_t data_offset = 0;  // Data-In: in the task's data
    std::uint32_t data_length = 0;
    const std::uint8_t* flat = nullptr;  // else: the data segment in one piece
    std::size_t size() const noexcept { return std::size_t{header_length} + data_length + trailer_length; }
  };

  // connection_rx.cpp
  bool takes_directly() const noexcept;
  std::span<const std::uint8_t> staged() const noexcept;
  void consume(std::size_t n) noexcept;
  void parse(proto::Micros now);
  bool parse_header(proto::Micros now);
  bool parse_data();
  bool parse_trailer(proto::Micros now);
  void take_direct(std::size_t n);
  void on_header();
  void begin_login(const proto::iscsi::Prefix& prefix);
  void begin_request(const proto::iscsi::Prefix& prefix);
  void begin_scsi(Task& task, const proto::iscsi::Prefix& prefix);
  void begin_data_out();
  bool check_data_out(const Task& task, const proto::iscsi::DataOut& pdu);
  void on_pdu(proto::Micros now);
  void on_data_out(Task& task, proto::Micros now);

  // connection_tx.cpp
  void fill_wire();
  void pop_queue() noexcept;
  void make_control(ControlPdu& pdu, WirePdu& wire);
  bool make_task(Task& task, WirePdu& wire);
  void make_data_in(Task& task, WirePdu& wire);
  void make_response(Task& task, WirePdu& wire);
  void seal(WirePdu& wire, const proto::iscsi::Bhs& header);
  void seal_data(WirePdu& wire, std::uint32_t pad);
  void damage(WirePdu& wire, std::uint32_t pad);
  proto::iscsi::TargetSequence sequence(bool consume) noexcept;
  void release(WirePdu& wire) noexcept;
  void append(Outgoing& item) noexcept;
  void clear_tx() noexcept;

  // connection.cpp
  void on_login(proto::Micros now);
  void send_login_response(const proto::iscsi::LoginRequest& request, const Login::Reply& reply);
  void on_nop_out(Task& request, proto::Micros now);
  void on_text(Task& request);
  void on_logout(Task& request);
  void send_ping(proto::Micros now);
  void enter(ConnectionState state) noexcept;

  Server& server_;
  const std::string local_address_;
  const std::uint16_t portal_group_tag_;
  ConnectionState state_ = ConnectionState::login;
  std::string close_reason_;
  bool wants_reset_ = false;
  bool stopped_sending_ = false;
  Session* session_ = nullptr;
  std::uint16_t cid_ = 0;
  std::unique_ptr<Login> login_;
  proto::iscsi::ConnectionParameters parameters_;
  TextExchange text_;
  proto::Micros login_deadline_;
  proto::Micros flush_deadline_ = proto::kNever;
  proto::Micros last_received_;
  proto::Micros ping_sent_ = proto::kNever;
  std::uint32_t ping_ttt_ = 0;

  // Receiving
  std::vector<std::uint8_t> staging_;
  std::size_t staging_begin_ = 0;
  std::size_t staging_end_ = 0;
  RxStage rx_stage_ = RxStage::header;
  bool rx_header_digest_ = false;
  bool rx_data_digest_ = false;
  proto::iscsi::Bhs header_{};
  Sink sink_ = Sink::discard;
  Task* rx_task_ = nullptr;        // whose PDU, or whose Data-Out, is on its way
  std::uint32_t sink_offset_ = 0;  // in the task's data
  std::uint32_t segment_left_ = 0;
  std::uint32_t segment_length_ = 0;
  std::uint32_t rx_crc_ = 0;
  std::string login_text_;

  // Sending
  Outgoing* queue_first_ = nullptr;
  Outgoing* queue_last_ = nullptr;
  std::uint32_t queued_control_ = 0;
  std::vector<std::unique_ptr<ControlPdu>> controls_;
  std::vector<ControlPdu*> free_controls_;
  std::array<WirePdu, kWirePdus> wire_;
  std::size_t wire_first_ = 0;
  std::size_t wire_count_ = 0;
  std::size_t sent_of_first_ = 0;
  bool tx_header_digest_ = false;
  bool tx_data_digest_ = false;
  std::uint32_t stat_sn_ = 0;
  proto::iscsi::TargetSequence window_;  // the session's numbers when it let go of the connection

  Connection* next_ready_ = nullptr;
  bool is_ready_ = false;
};

static_assert(proto::StreamEngine<Connection>);

}  // namespace nbdgw::iscsi_target
