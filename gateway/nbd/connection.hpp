#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "gateway/nbd/backend.hpp"
#include "gateway/nbd/backlog.hpp"
#include "gateway/nbd/close_reason.hpp"
#include "gateway/nbd/counters.hpp"
#include "gateway/nbd/debt.hpp"
#include "gateway/nbd/directory.hpp"
#include "gateway/nbd/handshake.hpp"
#include "gateway/nbd/in_flight.hpp"
#include "gateway/nbd/kept_connection.hpp"
#include "gateway/nbd/reply_queue.hpp"
#include "gateway/nbd/staging.hpp"
#include "proto/assert.hpp"
#include "proto/bell.hpp"
#include "proto/engine.hpp"
#include "proto/time.hpp"

namespace nbdgw::nbd {

struct ConnectionOptions {
  /// Requests taken and not yet answered. At the limit the connection stops reading.
  std::uint32_t max_in_flight = 256;
  /// From the first byte to the end of the handshake; also the longest wait for an export to come up.
  proto::Micros handshake_timeout = 10 * proto::kSecond;
  /// A connection that is to be closed, and whose client takes no bytes for this long (up to twice), is cut off.
  proto::Micros send_timeout = 10 * proto::kSecond;
  /// A client that owes the next move (the rest of a WRITE's payload, or to take its replies) and moves less than
  /// kLeastMove in this time (up to twice) is cut off, if it holds what others wait for. Of a connection that is
  /// there already: set_stall_timeout().
  proto::Micros stall_timeout = 60 * proto::kSecond;
  /// The longest wait for its export of a connection that goes on after a restart. Its client has been served before:
  /// it is held for as long as requests are by default.
  proto::Micros resume_timeout = 120 * proto::kSecond;
};

/// The server side of one NBD connection, from the greeting to the end: protocol only, no I/O.
///
/// The shell moves the bytes. After each call that it makes, and whenever the engine has rung its bell (set_bell()),
/// which it does in every such call and when the backend has told an outcome, the shell looks at
///   wants_tx()       something to send?             then tx_buffers() and on_sent()
///   wants_rx()       room to receive?               then rx_buffers() and on_received(); none: do not read, TCP
///                                                   pushes back
///   wants_export()   an export to look up?          then export_found(), export_unknown(), export_shut() or
///                                                   export_waiting()
///   stalled()        waits for payload memory?      then on_room() once there is some
///   next_deadline()  when to call on_deadline()
///   wants_close()    close the socket, and call on_disconnected()
/// At the end of the stream, or at an error of the socket, it calls on_peer_gone(), or on_disconnected(), after which
/// it may destroy the object.
///
/// One receive and one send may be under way at a time; each call of rx_buffers() or tx_buffers() replaces the one
/// before. Memory that rx_buffers() or tx_buffers() has shown stays valid until on_received(), on_sent() or
/// on_disconnected(), whatever else is called meanwhile.
///
/// Requests may be handed to the backend in on_received(), on_room(), export_found(), and on_sent() too: a reply that
/// has left makes way under the in-flight limit. After these the backend wants its turn.
///
/// The backend tells outcomes by segment_done() and finish(), never from inside a call that the engine makes to it.
class Connection {
 public:
  enum class Phase : std::uint8_t {
    handshake,
    resuming,  // goes on after a restart: waits for its export, reads nothing
    transmission,
    parting,        // restart: requests in flight go on, later ones stay unread for the next process
    draining,       // shutdown: requests in flight go on, later ones stay unread, so that a client may ask elsewhere
    disconnecting,  // NBD_CMD_DISC: requests in flight go on, nothing is read any more
    closing,        // what is ready to be sent still goes out, nothing else
    closed,         // after on_disconnected(): no request is held any more
  };

  /// The greeting is ready to be sent at once.
  Connection(ExportDirectoryPtr directory, const ConnectionOptions& options, proto::Micros now);
  /// Goes on with a connection that another process has kept (connection_handover.cpp): as in a handshake, its export
  /// is asked for first.
  Connection(KeptConnection kept, const ConnectionOptions& options, proto::Micros now);
  ~Connection();
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;

  /// Rung when the shell has to look at the connection.
  void set_bell(proto::Bell* bell) noexcept { bell_.hang(bell); }

  // ---- the shell: bytes ----

  /// Whether rx_buffers() has room to give.
  bool wants_rx() const noexcept;
  /// Where the next bytes from the client go: fills entries of `out`, returns how many. 0: do not read now.
  std::size_t rx_buffers(std::span<iovec> out);
  /// `length` bytes have come in, into the entries of the last rx_buffers(), in order.
  void on_received(std::size_t length, proto::Micros now);
  /// Whether tx_buffers() has something to give.
  bool wants_tx() const noexcept;
  /// What is to be sent next, as many replies as fit. 0: nothing.
  std::size_t tx_buffers(std::span<iovec> out);
  /// The first `length` bytes of the last tx_buffers() are sent.
  void on_sent(std::size_t length, proto::Micros now);
  /// Whether NBD_CMD_DISC comes at the end of what was received and is not taken in yet, and of `unread` bytes that
  /// lie in the socket, of which these are the last: up to kRequestLength. True where it has come already.
  bool ends_in_goodbye(std::size_t unread, std::span<const std::uint8_t> last) const noexcept;
  /// The peer takes no replies any more; with `input_ended` nothing is to be received from it any more, either. What
  /// it has sent before is taken in and done all the same, as far as it came whole and has an effect: it may count on
  /// a WRITE before its goodbye. To be called in the place of tx_buffers() from then on, until wants_close() is true.
  void on_peer_gone(bool input_ended, proto::Micros now);
  /// The peer has gone without a goodbye: from now on nothing is begun that is not taken in yet. It may have asked
  /// for it again over another connection, have heard that it is done, and have written something newer there since,
  /// on which the old one would land. on_peer_gone() comes next.
  void on_peer_lost() noexcept { peer_lost_ = true; }
  /// The reason for the end is to be that its host is dead. on_peer_gone() comes next.
  void on_peer_dead() noexcept;
  /// Both have been told by on_peer_gone().
  bool peer_gone() const noexcept { return peer_gone_; }
  bool input_ended() const noexcept { return input_ended_; }
  /// The socket is closed, by whomever. Everything in flight is abandoned to the backend.
  void on_disconnected(proto::Micros now);

  /// When to call on_deadline(), or proto::kNever.
  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);

  /// True once nothing is left to be done on the socket but to close it.
  bool wants_close() const noexcept;
  CloseReason close_reason() const noexcept { return close_reason_; }
  /// CloseReason::stalled: what it owed.
  const Debt& debt() const noexcept { return debt_; }
  /// The configuration has changed.
  void set_stall_timeout(proto::Micros timeout, proto::Micros now) noexcept;

  // ---- the shell: exports ----

  /// The name of the export that the handshake, or the resumption, has stopped at (never empty: the default export is
  /// named).
  std::optional<std::string_view> wants_export() const noexcept;
  /// It is this one. The backend must outlive the connection, or on_disconnected() must come first.
  void export_found(Backend& backend, proto::Micros now);
  /// Of a connection that goes on after a restart: its export, which need not be online yet. From now on it hears of
  /// losses there. export_found() comes later, unless forgo_export() does: the export is taken away.
  void expect_export(Backend& backend);
  void forgo_export() noexcept;
  /// There is none, or it must not be used; `text` tells the client why.
  void export_unknown(std::string_view text, proto::Micros now);
  /// It takes no new clients now; `text` tells the client why (NBD_REP_ERR_SHUTDOWN).
  void export_shut(std::string_view text, proto::Micros now);
  /// It is not there yet; `text` is what the client will be told should it not come before the handshake's deadline.
  void export_waiting(std::string_view text);

  // ---- the shell: memory and the end ----

  /// Reading has stopped for lack of payload memory (Backend::admit or Backend::next_write_segment).
  bool stalled() const noexcept { return stalled_; }
  /// Bytes of payload that the client has announced and that have not come yet: at least so many follow.
  std::uint32_t payload_left() const noexcept { return rx_ == Rx::header ? 0 : rx_left_; }
  /// There may be memory again: asks once more.
  void on_room(proto::Micros now);

  /// Shutdown: in the handshake every option but ABORT gets ERR_SHUTDOWN; later, no new request is read, those in
  /// flight are finished, and then wants_close() turns true. ESHUTDOWN would be allowed for what comes meanwhile, but
  /// a kernel makes an I/O error of any error, while it sends again over its other connections what was not answered
  /// when one ends, as qemu does over its next. A client that leaves the handshake, or a WRITE's payload, half done
  /// is not cut off here: the shell has the last word on the time.
  void begin_drain(proto::Micros now);

  /// Restart: the transmission stops between two requests, so that another process can go on with it. Nothing new is
  /// taken, a WRITE whose payload is on its way is received, what is in flight is finished; then parked() turns true.
  /// A handshake goes on, and parked() turns true when it has ended well; the shell has the last word on the time.
  void begin_handover(proto::Micros now);
  bool parked() const noexcept;
  /// The same for what does not come to rest: requests of which no byte of a reply has left are passed on with their
  /// payload, as if they were unread, and abandoned to the backend, which has to see to it that the next process does
  /// not meet what is still at work for them. Then parked() is true. False, and nothing has happened, where a reply
  /// is half sent, payload is being dropped, a part of a payload is gone with a part of its WRITE that is over, or
  /// more than `most` bytes would have to be passed on; `most` becomes what is left of it.
  bool pass_on(std::size_t& most, proto::Micros now);
  /// Of a parked connection.
  KeptConnection kept() const;

  // ---- the backend ----

  /// READ: the data of this segment is there. With structured replies it may be sent at once. Once for each segment.
  void segment_done(Request& request, Segment& segment);

  /// The outcome of a request; exactly once for each. `text` (may be null) says why, for structured replies; it must
  /// stay valid until release(Request&) or abandon(). Success of a READ comes after segment_done() for all segments.
  /// A WRITE may be finished before all of its payload is there: the rest is read and dropped, then the reply goes
  /// out.
  void finish(Request& request, proto::nbd::Error error, const char* text = nullptr);

  // ---- for the logs, the metrics and the admin API ----

  Phase phase() const noexcept { return phase_; }
  bool structured_replies() const noexcept { return structured_; }
  std::size_t in_flight() const noexcept { return in_flight_.size(); }
  /// When the oldest request in flight arrived; proto::kNever: none is.
  proto::Micros oldest_arrival() const noexcept;
  /// What is attached to; null in the handshake.
  Backend* backend() const noexcept { return backend_; }
  /// What Backend::attach() has returned.
  Attachment* attachment() const noexcept { return attachment_.get(); }
  LossStanding standing() const noexcept;
  const Counters& counters() const noexcept { return counters_; }

 private:
  /// What the next byte in the stream of the transmission phase is.
  enum class Rx : std::uint8_t { header, payload, discard };

  /// Longest message that is looked at whole: an option with its data.
  static constexpr std::size_t kStagingLength = kMaxUnread;

  /// A step of the engine, during which the backend must not call back. Whatever it leads to, the shell looks then.
  class Step {
   public:
    Step(Connection& connection, proto::Micros now) noexcept : connection_(connection) {
      NBDGW_ASSERT(!connection.in_step_, "the engine is never entered twice");
      connection.in_step_ = true;
      connection.now_ = now;
    }
    ~Step() {
      connection_.in_step_ = false;
      if (!in_vain_ && connection_.phase_ != Phase::closed) connection_.bell_.ring();
    }
    /// It has led to nothing.
    void in_vain() noexcept { in_vain_ = true; }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    Connection& connection_;
    bool in_vain_ = false;
  };

  void enter(Phase phase, CloseReason reason);
  void drop_replies();
  void drop_unread() noexcept;
  void abandon(Request& request);

  // connection_watch.cpp
  bool leaving() const noexcept;
  bool owes_payload() const noexcept;
  void begin_watch(proto::Micros now) noexcept;
  void look_at_debts(proto::Micros now) noexcept;
  void keep_watch(proto::Micros now);
  proto::Micros patience(proto::Micros now) const noexcept;
  bool stalls_others(proto::Micros may_owe, proto::Micros now) const noexcept;
  void cut_off(CloseReason reason) noexcept;

  // connection_handover.cpp
  void resume_on(Backend& backend, proto::Micros now);
  std::size_t received_of(const Request& request) const noexcept;
  std::optional<std::size_t> length_to_pass_on() const noexcept;
  void append_begun(const Request& request, std::vector<std::uint8_t>& to) const;
  bool refill();

  // connection_receive.cpp
  bool reads() const noexcept;
  /// Payloads on their way are read, but no new request.
  bool leaves_requests() const noexcept { return phase_ == Phase::parting || phase_ == Phase::draining; }
  std::size_t room_for_headers() const noexcept;
  void advance(proto::Micros now);
  void stop_waiting() noexcept;
  bool advance_handshake(proto::Micros now);
  void after_handshake_step();
  bool take_header(proto::Micros now);
  bool take_request(const RequestHeader& header, proto::Micros now);
  bool admit(const RequestHeader& header, proto::Micros now);
  bool answer_at_once(const RequestHeader& header, proto::nbd::Error error, const char* text);
  void header_taken(const RequestHeader& header);
  bool take_payload(proto::Micros now);
  void payload_arrived(std::size_t length, proto::Micros now);
  bool take_discard();
  void drop_unfinished_write() noexcept;

  proto::BellPull bell_;
  const ConnectionOptions options_;
  Phase phase_ = Phase::handshake;
  CloseReason close_reason_ = CloseReason::none;
  bool in_step_ = false;
  proto::Micros now_ = 0;  // of the last step

  // Handshake; the object goes once the transmission begins, its last output a little later.
  std::unique_ptr<Handshake> handshake_;
  std::string handshake_output_;   // not shown to the shell yet: may still grow
  std::string handshake_sending_;  // shown: stays where it is
  std::size_t handshake_sent_ = 0;

  // Resumption.
  std::unique_ptr<KeptConnection> resumed_;  // until the export is there
  proto::Micros resume_by_ = proto::kNever;
  bool handed_over_ = false;  // begin_handover() was called

  // Receiving.
  Staging staging_;
  Backlog
      backlog_;  // received by the process before, or for the next one: comes behind what is in the staging memory
  Rx rx_ = Rx::header;
  bool stalled_ = false;
  bool blocked_ = false;             // the next message waits: for memory, for a reply slot, for the in-flight limit
  bool large_writes_ = false;        // the last request was a WRITE with a large payload
  std::size_t offered_payload_ = 0;  // what the last rx_buffers() showed
  std::size_t offered_staging_ = 0;
  Request* rx_request_ = nullptr;      // Rx::payload, and Rx::discard after an early finish
  Segment* rx_segment_ = nullptr;      // null: the next one is still to be asked for
  std::uint32_t rx_filled_ = 0;        // bytes of rx_segment_ that are there
  std::uint32_t rx_left_ = 0;          // bytes of payload still to come
  proto::Micros header_seen_at_ = -1;  // of the request that waits to be admitted
  std::optional<ImmediateReply> after_discard_;

  // Transmission.
  Backend* backend_ = nullptr;
  std::unique_ptr<Attachment> attachment_;
  std::string token_;  // Attaching::token
  bool structured_ = false;
  Stake stake_;  // in what the backend has; outlives the requests
  InFlight in_flight_;
  ReplyQueue replies_;

  // The watch over a client that owes the next move.
  proto::Micros stall_timeout_;
  proto::Micros check_at_ = proto::kNever;
  StandingDebt payload_debt_;
  StandingDebt reply_debt_;
  std::uint64_t sent_at_check_ = 0;
  Debt debt_;
  bool cut_off_ = false;
  bool peer_gone_ = false;    // it takes no replies any more
  bool peer_lost_ = false;    // it is gone, or going, without a goodbye
  bool input_ended_ = false;  // and what is in the staging memory is the last of it

  Counters counters_;
};

static_assert(proto::StreamEngine<Connection>);

}  // namespace nbdgw::nbd
