#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "gateway/net/poller.hpp"
#include "gateway/net/resolver.hpp"
#include "gateway/net/stream_socket.hpp"

namespace nbdgw::net {

/// How long a peer's goodbye is waited for that seems to be out of reach, or whose TCP does not even acknowledge
/// ours: time enough for one lost segment to be sent again.
inline constexpr proto::Micros kGoodbyeReached = 500 * proto::kMillisecond;
/// And that of one that is there: a target whose backing store hangs closes only once that goes on.
inline constexpr proto::Micros kGoodbyeAnswered = 60 * proto::kSecond;

/// An outgoing TCP connection on a shard, from the name of the portal to the connected socket. A name's addresses are
/// tried in turn, beginning after the one that was tried last, unless one is asked for: one that swallows packets is
/// then not tried first forever.
class PortalSocket final : public Watcher {
 public:
  enum class State : std::uint8_t {
    closed,
    resolving,
    connecting,
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
  PortalSocket(Poller& poller, Owner& owner, std::uint16_t index) : poller_(poller), owner_(owner), index_(index) {}

  std::uint16_t index() const noexcept { return index_; }

  /// Begins. A name must be looked up by the owner (wants_addresses()), who brings the result by on_resolved().
  /// `first`: the address to begin with (as address() told of it), if the name still has it; empty: the next one.
  void connect(const std::string& host, std::uint16_t port, const std::string& first = {});
  /// True while addresses are wanted for host() and port(). `attempt()` tells a late result from the right one.
  bool wants_addresses() const noexcept { return state_ == State::resolving; }
  const std::string& host() const noexcept { return host_; }
  std::uint16_t port() const noexcept { return port_; }
  std::uint64_t attempt() const noexcept { return attempt_; }
  /// What it is, or was last, connected to; empty: nothing yet.
  const std::string& address() const noexcept { return address_; }
  void on_resolved(std::uint64_t attempt, std::vector<Address> addresses, const std::string& error);

  void close() noexcept;

  /// Says goodbye: closes our side, and waits for the peer to do the same; for long only if `patient`. False if there
  /// is nobody to wait for: then it is closed at once. While it waits, left() says whether it is over, and
  /// next_deadline() when to ask again at the latest. The end is for the owner to make, by close();
  /// if the peer has not closed its side by then that is a reset, so that nothing which the kernel still has to send
  /// arrives later.
  bool leave(bool patient, proto::Micros now) noexcept;
  bool left(proto::Micros now) noexcept;
  proto::Micros next_deadline() const noexcept { return state_ == State::leaving ? leave_check_ : proto::kNever; }

  State state() const noexcept { return state_; }
  StreamSocket& socket() noexcept { return socket_; }
  /// Why it is not there: set when a connect has failed, or by fail().
  bool failed() const noexcept { return !failure_.empty(); }
  const std::string& failure() const noexcept { return failure_; }
  void fail(std::string why) { failure_ = std::move(why); }

  void on_ready(std::uint32_t events, proto::Micros now) override;

 private:
  void try_next();
  bool try_address(const Address& address);
  void note(const Address& address, int error);
  void reset_at_close() noexcept;

  Poller& poller_;
  Owner& owner_;
  const std::uint16_t index_;
  State state_ = State::closed;
  StreamSocket socket_;
  std::string host_;
  std::uint16_t port_ = 0;
  std::uint64_t attempt_ = 0;
  std::string first_;    // the address to begin with
  std::string address_;  // connected to
  std::vector<Address> addresses_;
  std::size_t tried_ = 0;     // of addresses_, in this attempt
  std::size_t rotation_ = 0;  // where the next attempt begins
  std::string troubles_;      // of this attempt, address by address
  std::string failure_;
  proto::Micros leave_check_ = proto::kNever;  // while leaving
  proto::Micros leave_end_ = proto::kNever;
  bool peer_left_ = false;
};

}  // namespace nbdgw::net
