#pragma once

#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "gateway/bridge/patience.hpp"
#include "gateway/nbd/stake.hpp"
#include "proto/assert.hpp"
#include "proto/bytes/buffer_pool.hpp"
#include "proto/mutant.hpp"

namespace nbdgw::bridge {

class Share;

/// Who gets what of the room that clients share: the payload memory of a shard, and the requests and segments of an
/// export. The policy:
///
/// 1. Each connection may always have one small request in flight: a request slot, a segment and up to
///    reserved_bytes() of memory for it are set aside for it. (For the first so many connections, where an eighth of
///    the memory is not enough for all that there may be.)
/// 2. Of the rest of the memory each export of the shard has a floor that nobody else may take: what one request of
///    the largest size needs, or half of an even share if that is less.
/// 3. All above the floors is common, first come, first served. An export whose requests are held, because its target
///    is away, takes none of it.
/// 4. Who does not get what it asks for waits. Within an export nobody passes whoever waits longer, except by (1).
///    Whoever waits for common memory has first call on it before all who come later; what other exports have of
///    their floors is theirs all the same.
/// 5. A WRITE asks for one part of its payload after the other, when that is about to come. A READ that may be
///    answered in pieces and is larger than the floor takes the floor, and uses it again and again. Any other READ
///    asks for all of its memory at once; one for which there can never be enough is refused by largest_read(), which
///    clients are told.
///
/// Why nothing waits for ever. What is taken is held by a request that is with the target or held for it (the ladder
/// and the hold timeout end that), or that owes its client bytes or is owed some (the stall timeout ends that, for as
/// long as somebody waits, and sooner for each that follows: Patience), or that waits in the fence for such a
/// request. None of these needs more room to go on: a part of a WRITE runs by itself as soon as it is there, and a
/// READ in pieces goes on with what it has. So room comes back, and it goes to whoever waits longest: to the first of
/// an export's queue, for whom (2) alone will do when its export's other requests have ended; or, if it needs more
/// than that, to the first of the common queue, whom nobody passes.
///
/// The pool gives out whole blocks, large ones of which may have been cut into small ones: where the numbers say that
/// there is room and the blocks do not, one waits all the same, and (1) asks for no more than small blocks.
class Shares {
 public:
  /// `clients`: connections that there may be; 0: nothing is set aside for them. `largest`: bytes of memory that the
  /// largest request needs.
  Shares(proto::BufferPool& pool, std::uint32_t clients, std::uint64_t largest) noexcept;
  Shares(const Shares&) = delete;
  Shares& operator=(const Shares&) = delete;

  proto::BufferPool& pool() noexcept { return pool_; }
  const proto::BufferPool& pool() const noexcept { return pool_; }
  /// Connections that have a reserved request.
  std::uint32_t reserved_clients() const noexcept { return reserved_clients_; }
  /// Memory that is set aside for each.
  std::uint64_t reserved_bytes() const noexcept { return reserved_bytes_; }
  /// What an export has for itself.
  std::uint64_t floor() const noexcept { return floor_; }
  /// The most that one request could ever have at once.
  std::uint64_t most() const noexcept;
  /// Grows when somebody who asks again does not wait for common memory any more, and has had none: then others that
  /// have asked in vain until now may be the first.
  std::uint64_t made_way() const noexcept { return made_way_; }
  /// With clients that are in the way of others, of whatever export.
  Patience& patience() noexcept { return patience_; }
  const Patience& patience() const noexcept { return patience_; }

 private:
  friend class Share;
  using Queue =
      boost::intrusive::list<nbd::Stake,
                             boost::intrusive::member_hook<nbd::Stake, nbd::Stake::Hook, &nbd::Stake::memory_place>,
                             boost::intrusive::constant_time_size<false>>;

  std::uint64_t shared() const noexcept { return pool_.capacity() - reserved_clients_ * reserved_bytes_; }
  std::uint64_t common() const noexcept { return shared() - exports_ * floor_; }
  void enter(Share& share) noexcept;
  void leave(Share& share) noexcept;
  void divide() noexcept;

  proto::BufferPool& pool_;
  const std::uint64_t largest_;
  std::uint32_t reserved_clients_ = 0;
  std::uint64_t reserved_bytes_ = 0;
  std::uint32_t reserved_out_ = 0;  // connections that have memory of what is set aside
  std::uint64_t exports_ = 0;
  std::uint64_t floor_ = 0;
  std::uint64_t common_out_ = 0;  // what all exports have above their floors
  Queue waiting_;                 // for common memory
  std::uint64_t made_way_ = 0;
  Patience patience_;
  std::vector<Share*> members_;
};

/// What is asked for at once, by one request.
struct Need {
  std::uint64_t memory = 0;  // bytes of whole blocks (BufferPool::cost())
  std::uint32_t requests = 0;
  std::uint32_t segments = 0;
};

/// Where something was taken from, and goes back to.
enum class Source : std::uint8_t {
  nowhere,
  shared,
  reserved,  // what is set aside for each connection
};

/// Told that the share has changed, with the number of exports.
class ShareListener {
 public:
  virtual void on_divided() noexcept = 0;

 protected:
  ~ShareListener() = default;
};

/// An export's part of the room. Its request slots and segments, which no other export can use, are divided among its
/// connections by the same policy.
class Share {
 public:
  /// `requests`, `segments`: of the export, beside those that are set aside for connections. The listener is not
  /// called by the constructor.
  Share(Shares& shares, ShareListener& listener, std::size_t requests, std::size_t segments) noexcept;
  ~Share();
  Share(const Share&) = delete;
  Share& operator=(const Share&) = delete;

  /// Where this may be taken from now. nowhere: the connection waits for it from now on, until it asks again with
  /// success, or leaves (Stake::leave()). `held`: requests of the export are held.
  Source may_take(nbd::Stake& stake, const Need& need, bool held) noexcept {
    const bool easy = (waiting_.empty() || NBDGW_MUTANT(newcomers_pass)) && has_slots(need) &&
                      memory_ + need.memory <= shares_.floor_;
    return easy ? Source::shared : look_closely(stake, need, held);
  }
  /// The pool had not the blocks for what may_take() has allowed.
  void wait(nbd::Stake& stake) noexcept;
  /// It was taken. (Stake::leave() follows when the connection has all that it had waited for.)
  void take(nbd::Stake& stake, Source source, const Need& need) noexcept {
    if (source == Source::reserved) return take_reserve(stake, need);
    requests_ += need.requests;
    segments_ += need.segments;
    set_memory(memory_ + need.memory);
  }
  /// It is free again. `stake`: null if the connection has gone.
  void give_back(nbd::Stake* stake, Source source, const Need& need) noexcept {
    if (source == Source::reserved) return give_back_reserve(stake, need);
    NBDGW_ASSERT(requests_ >= need.requests && segments_ >= need.segments && memory_ >= need.memory,
                 "what is given back was taken");
    requests_ -= need.requests;
    segments_ -= need.segments;
    set_memory(memory_ - need.memory);
  }

  /// Segments that may be had beyond need, as nobody waits for them.
  std::size_t spare_segments() const noexcept;
  /// Bytes of memory that a READ takes which may be answered in pieces, `need` being what it takes at once, and
  /// `part` what one part takes.
  std::uint64_t in_pieces(std::uint64_t need, std::uint64_t part) const noexcept;
  /// Somebody waits for what this connection may have: of this export, or memory.
  bool others_wait(const nbd::Stake& stake) const noexcept;

  Shares& shares() noexcept { return shares_; }
  const Shares& shares() const noexcept { return shares_; }
  std::uint64_t memory() const noexcept { return memory_; }

 private:
  friend class Shares;
  using Queue =
      boost::intrusive::list<nbd::Stake,
                             boost::intrusive::member_hook<nbd::Stake, nbd::Stake::Hook, &nbd::Stake::place>,
                             boost::intrusive::constant_time_size<false>>;

  std::uint64_t above_floor(std::uint64_t memory) const noexcept {
    return memory > shares_.floor_ ? memory - shares_.floor_ : 0;
  }
  bool has_slots(const Need& need) const noexcept {
    return requests_ + need.requests <= request_limit_ && segments_ + need.segments <= segment_limit_;
  }
  Source look_closely(nbd::Stake& stake, const Need& need, bool held) noexcept;
  void take_reserve(nbd::Stake& stake, const Need& need) noexcept;
  void give_back_reserve(nbd::Stake* stake, const Need& need) noexcept;
  bool has_memory(const nbd::Stake& stake, const Need& need, bool held) const noexcept;
  bool has_reserve(const nbd::Stake& stake, const Need& need) const noexcept;
  void set_memory(std::uint64_t memory) noexcept {
    if (memory > shares_.floor_ || memory_ > shares_.floor_) {
      shares_.common_out_ += above_floor(memory) - above_floor(memory_);
    }
    memory_ = memory;
  }

  Shares& shares_;
  ShareListener* listener_ = nullptr;
  const std::size_t request_limit_;
  const std::size_t segment_limit_;
  std::size_t requests_ = 0;
  std::size_t segments_ = 0;
  std::uint32_t reserved_requests_ = 0;
  std::uint64_t memory_ = 0;
  Queue waiting_;
};

}  // namespace nbdgw::bridge
