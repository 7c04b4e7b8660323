#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <thread>
#include <unordered_map>
#include <utility>
#include <vector>

#include "gateway/bridge/shares.hpp"
#include "gateway/initiator/host.hpp"
#include "gateway/nbd/connection.hpp"
#include "gateway/net/arena.hpp"
#include "gateway/net/clock.hpp"
#include "gateway/net/mailbox.hpp"
#include "gateway/net/peer_watch.hpp"
#include "gateway/net/poller.hpp"
#include "gateway/net/system_random.hpp"
#include "gateway/shard/chore.hpp"
#include "gateway/shard/export_slot.hpp"
#include "gateway/shard/station.hpp"
#include "proto/bytes/buffer_pool.hpp"

namespace nbdgw::shard {

class EventLog;
class NbdClient;
class Shard;

/// Where an export lives.
struct ExportPlace {
  Shard* shard = nullptr;  // null: nowhere for the moment, as its configuration is being changed; clients wait
};

/// Where each export lives. Immutable: the shards share it, and get another one when it changes. As each gets it in a
/// turn of its own, a client may be sent to a shard that does not have its export any more, and is sent on from
/// there.
using ExportPlaces = std::unordered_map<std::string, ExportPlace>;
using ExportPlacesPtr = std::shared_ptr<const ExportPlaces>;

struct ShardOptions {
  std::uint64_t memory = 64ULL << 20;  // bytes of payload memory of this shard
  std::uint32_t clients = 0;           // that there may be, on all shards
  std::string initiator_name;          // of the sessions on this shard
  net::SleepWatch::Reader slept = net::slept_so_far;
  proto::Micros peer_silence = net::kPeerSilence;  // of clients
  EventLog* events = nullptr;                      // where clients that are turned away are told; null: nowhere
};

/// One thread and all that lives on it: sessions with their exports (stations), the NBD clients attached to these,
/// and the memory that their payloads share. Shards share nothing: other threads reach one by post() only.
///
/// A turn: sleep until something is ready; every ready socket receives into its engine; then, once, the end of the
/// turn (settle): what came in is handed on until nothing moves, and what there is to send leaves, gathered, in one
/// system call per socket. Sockets are closed, clients moved and destroyed only there.
///
/// Whose turn it is nobody has to remember: engines ring the bell of their station or client where they get work, and
/// both look last whether something was left. Builds for tests (NBDGW_CHECKED) look before each sleep whether
/// somebody was forgotten all the same, and end there if so.
class Shard {
 public:
  /// How long the sessions may take to log out, whatever their own timeouts say.
  static constexpr proto::Micros kTeardownLimit = 20 * proto::kSecond;
  /// How long a client that is still in the handshake may take to hear that we are going: it has nothing to lose.
  static constexpr proto::Micros kHandshakeGrace = proto::kSecond;
  /// How long a client that an operator sends away may take to finish what is in flight.
  static constexpr proto::Micros kSendAwayLimit = 10 * proto::kSecond;
  /// Commands with the targets from which on more of them at a time are worth a little patience.
  static constexpr std::uint32_t kDeepQueue = 2;
  /// The processor's time that this thread has used and not given away yet counts up to here, and what was given too
  /// much (the process was stopped for a while, say) down to there.
  static constexpr proto::Micros kMaxToGive = 10 * proto::kMillisecond;
  static constexpr proto::Micros kMaxGivenTooMuch = proto::kSecond;
  /// Times that one end of a turn goes around before it lets the sockets have a look in.
  static constexpr int kRoundsPerTurn = 8;

  /// Throws std::system_error when the system gives no memory or descriptors.
  Shard(std::uint32_t index, const ShardOptions& options);
  ~Shard();
  Shard(const Shard&) = delete;
  Shard& operator=(const Shard&) = delete;

  /// Before start(), or on the shard's thread. Station and export must outlive the thread, or be removed.
  void add_station(Station& station);
  void add_export(ExportSlot& slot);
  void set_places(ExportPlacesPtr places);

  /// Starts the thread.
  void start();
  /// Shutdown in good order, from any thread: what is in flight may finish for `limit`, then the clients are cut off;
  /// the stations are torn down (sessions log out), and the thread ends. With `keep_clients` those that are attached
  /// are not sent away but parked, for another process: they are still there when the thread has ended.
  void drain(proto::Micros limit, bool keep_clients = false);
  /// Cuts off everything and ends the thread. Waits for it; safe to call more than once.
  void stop();
  /// Waits for the end of the thread.
  void join();

  /// One turn, for who drives the shard without a thread of its own (tests/sim). False: it was the last one.
  bool turn();
  /// When the next turn is due if no socket has something before: kNever: then only. Between turns.
  proto::Micros next_turn() const noexcept { return has_work() ? now_ : wake_at_; }

  std::uint32_t index() const noexcept { return index_; }
  /// From any thread: what is posted is not done any more.
  bool has_ended() const noexcept { return ended_.load(std::memory_order_acquire); }

  /// From any thread: see Mailbox::post().
  template <typename Work>
  void post(Work work) {
    mailbox_.post(std::move(work));
  }

  /// From any thread: the client lives here from the next turn on.
  void send_here(std::unique_ptr<NbdClient> client);

  // ---- on the shard's thread only ----

  /// Makes the sessions of this shard (before it starts), and logs them all out when it closes.
  initiator::Host& host() noexcept { return host_; }
  net::Poller& poller() noexcept { return poller_; }
  /// How the machine's sleep is read.
  net::SleepWatch::Reader slept() const noexcept { return slept_; }
  /// After which a client that owes an answer is taken for dead.
  proto::Micros peer_silence() const noexcept { return peer_silence_; }
  /// Null: nobody wants to know.
  EventLog* events() const noexcept { return events_; }
  proto::BufferPool& pool() noexcept { return pool_; }
  const proto::BufferPool& pool() const noexcept { return pool_; }
  /// How the exports of this shard share the pool.
  bridge::Shares& shares() noexcept { return shares_; }

  /// Asks for on_deadline() of whoever has this deadline. Earlier ones that were asked for stay.
  void note_deadline(proto::Micros at) noexcept {
    if (at < wake_at_) wake_at_ = at;
  }

  /// A client that was accepted, or that comes from another shard.
  void adopt(std::unique_ptr<NbdClient> client, proto::Micros now);
  /// An export came online or went, or its waiting_reason() or admin state changed.
  void exports_changed();
  /// The station is not called any more. Not in the middle of its own calls, nor while its sockets may be ready: see
  /// Chore.
  void remove_station(Station& station);
  /// No client finds the export any more; those attached may finish what is in flight for `limit`, then they are cut
  /// off. It must stay until client_count(slot) is 0.
  void remove_export(ExportSlot& slot, proto::Micros limit, proto::Micros now);
  std::size_t client_count(const ExportSlot& slot) const noexcept;
  /// Goes on at the end of every turn, from this one on, until it is over. What is left of it when the thread ends is
  /// destroyed with the shard.
  void add_chore(std::unique_ptr<Chore> chore);
  std::size_t client_count() const noexcept { return clients_.size(); }
  std::span<const std::unique_ptr<NbdClient>> clients() const noexcept { return clients_; }

  // What operators want (gateway_verbs.cpp).
  /// Clients in the handshake, new ones too, are turned away from every export; those attached go on.
  void take_clients(bool yes);
  /// See nbd::ConnectionOptions: of all clients that are here and that will come.
  void set_stall_timeout(proto::Micros timeout, proto::Micros now);
  bool takes_clients() const noexcept { return takes_clients_; }
  void set_admin_state(ExportSlot& slot, AdminState state, proto::Micros now);
  /// Null: there is no such client here, or it is on its way out.
  NbdClient* find_client(std::uint64_t id) noexcept;

  void count_close(nbd::CloseReason reason) noexcept { ++closed_[static_cast<std::size_t>(reason)]; }
  const std::array<std::uint64_t, nbd::kCloseReasons>& closed() const noexcept { return closed_; }
  std::uint64_t turns() const noexcept { return turns_; }

  // ---- for the clients of this shard, during the end of a turn ----

  /// The export of that name on this shard, or null.
  ExportSlot* find_export(std::string_view name) noexcept;
  /// Where that export lives, or null when there is none of that name.
  const ExportPlace* place_of(std::string_view name) const noexcept;
  /// The client goes to another shard, or to its end, when the end of the turn is done with it.
  void leave(NbdClient& client, Shard* target);
  /// The client waits for payload memory: it is asked again, first come first served, when some was freed.
  void stall(NbdClient& client);

 private:
  friend class NbdClient;
  friend class Station;

  enum class Stage : std::uint8_t {
    running,
    draining,  // clients and stations finish what they have
    closing,   // sessions log out
    ended,     // the thread leaves after this turn
  };

  /// Asks for a call at the end of this turn. Nobody else does it by hand: who has work rings a bell.
  void touch(Station& station);
  void touch(NbdClient& client);

  void run();
  bool has_work() const noexcept {
    return !touched_stations_.empty() || !touched_clients_.empty() || (room_made_ && !stalled_.empty());
  }
  void check_turns();
  void let_others_work() noexcept;
  void deadlines(proto::Micros now);
  void settle(proto::Micros now);
  void serve_stations(proto::Micros now);
  void serve_clients(proto::Micros now);
  void serve_stalled(proto::Micros now);
  void send_off();
  std::unique_ptr<NbdClient> take_out(NbdClient& client) noexcept;
  void cut_off_clients(proto::Micros now);
  void begin_drain(proto::Micros limit, bool keep_clients, proto::Micros now);
  void say_goodbye(NbdClient& client, proto::Micros now);
  std::size_t clients_at_work() const noexcept;
  void advance_drain(proto::Micros now);
  void pass_on_clients(bool all, proto::Micros now);
  void advance_chores(proto::Micros now);

  const std::uint32_t index_;
  ExportPlacesPtr places_;
  net::Arena arena_;
  proto::BufferPool pool_;
  bridge::Shares shares_;
  net::Poller poller_;
  net::SystemRandom random_;
  initiator::Host host_;
  const net::SleepWatch::Reader slept_;
  const proto::Micros peer_silence_;
  EventLog* const events_;
  std::vector<Station*> stations_;
  std::vector<ExportSlot*> exports_;
  std::vector<std::unique_ptr<NbdClient>> clients_;
  std::vector<std::unique_ptr<Chore>> chores_;

  std::vector<Station*> touched_stations_;
  std::vector<Station*> serving_stations_;
  std::vector<NbdClient*> touched_clients_;
  std::vector<NbdClient*> serving_clients_;
  std::vector<NbdClient*> stalled_;
  bool room_made_ = false;  // for those, after they were asked last
  std::vector<std::pair<NbdClient*, Shard*>> leaving_;

  bool takes_clients_ = true;
  proto::Micros stall_timeout_ = nbd::ConnectionOptions{}.stall_timeout;
  std::array<std::uint64_t, nbd::kCloseReasons> closed_{};
  std::uint64_t turns_ = 0;

  proto::Micros to_give_ = 0;              // of the processor's time, to others; below 0: too much was given already
  proto::Micros used_ = 0;                 // of it, by this thread in its life, when that was last looked at
  proto::Micros now_ = net::steady_now();  // of this turn
  proto::Micros wake_at_ = proto::kNever;  // no deadline of anyone here is earlier
  Stage stage_ = Stage::running;
  bool keep_clients_ = false;                     // at the end
  std::size_t may_pass_on_ = nbd::kMostPassedOn;  // bytes
  std::size_t passed_on_ = 0;                     // clients with requests that are not answered
  proto::Micros stage_deadline_ = proto::kNever;
  proto::Micros handshake_deadline_ = proto::kNever;  // while draining
  net::Mailbox mailbox_;                              // last: what is still in it at the end goes first
  std::atomic<bool> ended_{false};
  std::thread thread_;
};

}  // namespace nbdgw::shard
