#pragma once

#include <cstdint>
#include <deque>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/settings.hpp"
#include "gateway/net/poller.hpp"
#include "gateway/net/resolver.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::shard {

/// How long a peer's goodbye is waited for that seems to be out of reach, or whose TCP does not even acknowledge
/// ours: time enough for one lost segment to be sent again.
inline constexpr proto::Micros kGoodbyeReached = 500 * proto::kMillisecond;
/// And that of one that is there: a target whose backing store hangs closes only once that goes on.
inline constexpr proto::Micros kGoodbyeAnswered = 60 * proto::kSecond;

/// An attempt to connect that says nothing for so long gets company (RFC 8305 section 5, "Connection Attempt Delay").
/// Longer than the 250 ms there, as another address may be another controller, where a session has more to prove: one
/// lost SYN is sent again by then.
inline constexpr proto::Micros kAttemptDelay = proto::kSecond;

/// Attempts beside each other. One more takes the place of the oldest, which has had its time several times over.
inline constexpr std::size_t kMaxAttempts = 8;

/// An outgoing TCP connection on a shard, from the names of portals to the connected socket. A name's addresses are
/// tried in turn, beginning after the one that was tried last, unless one is asked for. One that swallows packets
/// holds nobody up: after kAttemptDelay the next address is tried beside it, and then the next portal. The first that
/// connects wins, and the others are closed; of several at once, the one that was begun first.
///
/// While the first portal has not had that time, only it counts: if all of its addresses refuse, that is the end.
class PortalSocket final : public net::Watcher {
 public:
  enum class State : std::uint8_t {
    closed,
    connecting,  // names are looked up, or connects are under way
    connected,
    leaving,  // our side is closed; what still comes is thrown away, until the peer closes its own
  };

  /// Told that the socket has something new to say, in the middle of a turn.
  class Owner {
   public:
    virtual void on_portal_socket(PortalSocket& socket, proto::Micros now) = 0;

   protected:
    ~Owner() = default;
  };

  /// `index` is the owner's, to know its sockets apart.
  PortalSocket(net::Poller& poller, Owner& owner, std::uint16_t index)
      : poller_(poller), owner_(owner), index_(index) {}

  std::uint16_t index() const noexcept { return index_; }

  /// A name that the owner is to look up.
  struct Lookup {
    std::string host;
    std::uint16_t port = 0;
    std::uint64_t attempt = 0;  // tells a late result from the right one
  };

  /// Begins with the first of `portals`; there is at least one. Names must be looked up by the owner (take_lookup()),
  /// who brings the result by on_resolved().
  /// `first`: the address of the first portal to begin with (as address() told of it), if it still has it; empty: the
  /// next one.
  void connect(std::vector<initiator::Portal> portals, proto::Micros now, const std::string& first = {});
  bool wants_lookup() const noexcept { return !lookups_.empty(); }
  /// Each is told once. Asked for after connect(), on_resolved(), on_ready() and on_deadline().
  std::optional<Lookup> take_lookup();
  void on_resolved(const Lookup& lookup, const std::vector<net::Address>& addresses, const std::string& error,
                   proto::Micros now);
  /// What it is, or was last, connected to; empty: nothing yet.
  const std::string& address() const noexcept { return address_; }
  /// Which of the portals that is.
  const initiator::Portal& portal() const noexcept { return portal_; }

  /// A reset if the peer has not closed its side: nothing that the kernel still has to send arrives later.
  void close() noexcept;
  /// The same where the session has ended by a logout and no other one follows: no reset if all had arrived when the
  /// goodbye was said.
  void close_at_the_end() noexcept;

  /// Says goodbye: closes our side, and waits for the peer to do the same; for long only if `patient`. False if there
  /// is nobody to wait for: then it is closed at once. While it waits, left() says whether it is over, and
  /// next_deadline() when to ask again at the latest. The end is for the owner to make, by close().
  bool leave(bool patient, proto::Micros now) noexcept;
  bool left(proto::Micros now) noexcept;

  proto::Micros next_deadline() const noexcept {
    if (state_ == State::connected || state_ == State::closed || failed()) return proto::kNever;
    return state_ == State::leaving ? leave_check_ : next_attempt_at_;
  }
  /// While it connects: it may be time for another attempt.
  void on_deadline(proto::Micros now);

  State state() const noexcept { return state_; }
  net::StreamSocket& socket() noexcept { return socket_; }
  const net::StreamSocket& socket() const noexcept { return socket_; }
  /// Why it is not there: set when a connect has failed, or by fail().
  bool failed() const noexcept { return !failure_.empty(); }
  const std::string& failure() const noexcept { return failure_; }
  void fail(std::string why) { failure_ = std::move(why); }

  void on_ready(std::uint32_t events, proto::Micros now) override;

 private:
  struct Attempt {
    initiator::Portal portal;
    net::Address address;
    net::StreamSocket socket{};  // once it has begun
  };

  void look_at(const initiator::Portal& portal);
  void add_addresses(const initiator::Portal& portal, const std::vector<net::Address>& addresses);
  void begin_next(proto::Micros now);
  bool begin(Attempt attempt);
  void make_room();
  void settle(proto::Micros now);
  void win(Attempt& attempt);
  void drop_attempts() noexcept;
  void note(const std::string& trouble);

  net::Poller& poller_;
  Owner& owner_;
  const std::uint16_t index_;
  State state_ = State::closed;
  net::StreamSocket socket_;  // once connected
  initiator::Portal portal_;  // connected to
  std::string address_;
  std::string failure_;

  // While it connects.
  std::vector<initiator::Portal> portals_;
  std::size_t begun_ = 0;  // of portals_
  std::string first_;      // the address to begin with
  std::uint64_t attempt_ = 0;
  std::vector<Lookup> lookups_;     // not taken yet
  std::size_t awaited_ = 0;         // lookups without a result
  std::deque<Attempt> waiting_;     // for their turn
  std::vector<Attempt> under_way_;  // as they were begun
  bool racing_ = false;             // the first portal has had its time
  proto::Micros next_attempt_at_ = proto::kNever;
  std::size_t rotation_ = 0;  // where the next name's addresses begin
  std::string troubles_;      // address by address

  proto::Micros leave_check_ = proto::kNever;  // while leaving
  bool all_has_arrived_ = false;               // before that
  proto::Micros leave_end_ = proto::kNever;
  bool peer_left_ = false;
};

}  // namespace nbdgw::shard
