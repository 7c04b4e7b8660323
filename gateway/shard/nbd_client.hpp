#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "gateway/nbd/connection.hpp"
#include "gateway/net/connection_limit.hpp"
#include "gateway/net/peer_watch.hpp"
#include "gateway/net/poller.hpp"
#include "gateway/net/stream_socket.hpp"
#include "gateway/shard/kept_state.hpp"
#include "gateway/shard/refusals.hpp"
#include "proto/bell.hpp"

namespace nbdgw::shard {

class ExportSlot;
class Shard;

/// How long a connection that we end stays open after our last byte, for the client to read it: closing at once with
/// input unread would send a reset, which may destroy replies that are on their way.
inline constexpr proto::Micros kLinger = 2 * proto::kSecond;
/// Input that is thrown away meanwhile, in bytes, before we lose patience.
inline constexpr std::size_t kLingerBytes = 64 * 1024 * 1024;

/// How long what a client has left behind when it went may take to be done: as long as a lost path is waited for by
/// default.
inline constexpr proto::Micros kLeftBehind = 120 * proto::kSecond;

/// One NBD client: its socket and its protocol engine. It is born on the shard that accepted it, moves to the shard
/// of the export that its handshake names, and stays there.
class NbdClient final : public net::Watcher {
 public:
  /// `id`: for operators, unique over the gateway.
  NbdClient(std::uint64_t id, net::UniqueFd fd, net::ConnectionLimit::Ticket ticket,
            nbd::ExportDirectoryPtr directory, const nbd::ConnectionOptions& options, proto::Micros now);
  /// One that another process has left.
  NbdClient(std::uint64_t id, KeptClient kept, net::ConnectionLimit::Ticket ticket,
            const nbd::ConnectionOptions& options, proto::Micros now);
  ~NbdClient();
  NbdClient(const NbdClient&) = delete;
  NbdClient& operator=(const NbdClient&) = delete;

  /// Receives; everything else waits for the end of the turn.
  void on_ready(std::uint32_t events, proto::Micros now) override;

  // ---- for the shard ----

  /// Lives on this shard from now on.
  void enter(Shard& shard, proto::Micros now);
  /// End of a turn in which something happened: looks up exports, sends, closes.
  void serve(proto::Micros now);
  /// There is something left to do for serve() that no socket, deadline or message will bring; see
  /// Station::wants_turn().
  bool wants_turn() const noexcept;
  /// Payload memory may have been freed. True: the client still waits for some.
  bool retry_room(proto::Micros now);
  void set_stall_timeout(proto::Micros timeout, proto::Micros now) noexcept {
    engine_.set_stall_timeout(timeout, now);
  }
  void begin_drain(proto::Micros now);
  /// The process ends and another one goes on with this client: when nothing of it is in flight it is parked(), and
  /// stays so until it is taken (kept()), or destroyed with its shard.
  void begin_handover(proto::Micros now);
  /// Its requests that are not answered are left to the next process, too, if that is possible:
  /// Connection::pass_on().
  bool pass_on(std::size_t& most, proto::Micros now);
  bool parked() const noexcept { return state_ == State::parked; }
  /// Of a parked client; where its export is the caller knows. Nothing is left here but to destroy it.
  KeptClient kept();
  /// The same for this client alone, and with an end: what is not finished by then is cut off.
  void send_away(proto::Micros limit, proto::Micros now);
  /// Ends it now, whatever is in flight.
  void cut_off(proto::Micros now, const std::string& why);
  /// Not on its way out, nor to another shard.
  bool open() const noexcept { return state_ == State::open; }
  std::uint64_t id() const noexcept { return id_; }
  const nbd::Connection& engine() const noexcept { return engine_; }
  /// What it is attached to, or null: also when it is on its way out.
  const ExportSlot* slot() const noexcept { return slot_; }
  const std::string& peer() const noexcept { return peer_; }
  proto::Micros born_at() const noexcept { return born_at_; }
  bool waits_for_export() const noexcept { return waits_for_export_; }
  /// The export that it goes on with after a restart is taken away, if it is this one.
  void forgo(const ExportSlot& slot) noexcept;
  bool in_handshake() const noexcept { return engine_.phase() == nbd::Connection::Phase::handshake; }
  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);

 private:
  friend class Shard;

  enum class State : std::uint8_t {
    open,
    lingering,  // our side is shut, the client reads what we have sent
    moving,     // to another shard
    parked,     // for another process
    closed,
  };

  static void on_bell(void* client) noexcept;
  void look(proto::Micros now);
  net::Transfer receive(proto::Micros now);
  void do_the_rest(proto::Micros now);
  void look_for_the_end();
  void discard_input();
  bool settle_export(proto::Micros now);
  bool export_has_come() const noexcept;
  bool takes_new(const ExportSlot& slot) const noexcept;
  bool refuse_new(const ExportSlot& slot, proto::Micros now);
  void tell_refusal(Refusal reason, std::string_view exported, proto::Micros now);
  void move_to(Shard& target);
  void detach(proto::Micros now, const std::string& why);
  void send(proto::Micros now);
  void update_reading();
  void look_at_peer(proto::Micros now);
  void park();
  void finish(proto::Micros now);
  void close(proto::Micros now, const std::string& why);
  /// One that does sends nothing more, so there is no input that a close could trip over.
  bool said_goodbye() const noexcept {
    return engine_.close_reason() == nbd::CloseReason::disc ||
           engine_.close_reason() == nbd::CloseReason::client_abort;
  }

  // The log (nbd_client_log.cpp).
  std::string farewell() const;
  void tell_attached() const;
  void tell_debt() const;
  void tell_end(const std::string& why) const;

  const std::uint64_t id_;
  const proto::Micros born_at_;
  Shard* shard_ = nullptr;
  net::ConnectionLimit::Ticket ticket_;
  net::StreamSocket socket_;
  const std::string peer_;
  proto::Bell bell_{&on_bell, this};
  nbd::Connection engine_;
  State state_ = State::open;
  bool touched_ = false;  // is in the shard's list for the end of this turn
  bool stalled_ = false;  // is in the shard's list of those that wait for memory
  bool waits_for_export_ = false;
  const bool resumes_ = false;  // another process has left it
  bool told_of_end_ = false;    // the peer sends nothing more, and what it has sent last was looked at
  bool gone_ = false;           // the peer takes no replies any more; what it has sent may be unread yet
  bool ended_ = false;          // there is nothing more to receive, as it has closed or the socket has failed
  int lost_ = 0;                // errno of the failure, if it is one
  ExportSlot* slot_ = nullptr;  // attached to, while the engine is connected
  std::size_t place_ = 0;       // index in the shard's list of clients
  std::size_t discarded_ = 0;
  net::PeerWatch watch_;
  proto::Micros linger_until_ = proto::kNever;
  proto::Micros leave_by_ = proto::kNever;
};

}  // namespace nbdgw::shard
