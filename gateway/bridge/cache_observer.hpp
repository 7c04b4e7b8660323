#pragma once

#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <string>
#include <utility>

#include "gateway/bridge/lun_record.hpp"
#include "gateway/nbd/backend.hpp"

namespace nbdgw::bridge {

/// Why a FLUSH must fail for what may be lost of writes before it.
enum class LossTold : std::uint8_t {
  no,    // it need not
  own,   // its connection was attached at the loss
  left,  // somebody else was, and has gone without being told
};

/// A connection that is attached to an export of the disk, as the disk's ledger sees it: which writes it still has to
/// be told of. It belongs to the ledger but for where it lives.
class CacheObserver {
 public:
  CacheObserver() = default;
  CacheObserver(const CacheObserver&) = delete;
  CacheObserver& operator=(const CacheObserver&) = delete;

  /// Its next FLUSH is to fail: writes are in doubt, and it was not told.
  bool owed() const noexcept { return from_ != to_; }
  /// How many.
  std::uint64_t doubtful() const noexcept { return to_ - from_; }
  nbd::LossStanding standing() const noexcept {
    if (owed()) return nbd::LossStanding::owed;
    return newcomer_ ? nbd::LossStanding::newcomer : nbd::LossStanding::told;
  }
  /// Of a client that makes another connection if it loses this one.
  const std::string& token() const noexcept { return token_; }
  /// A FLUSH of it fails in this step.
  bool telling() const noexcept { return telling_ != 0; }

 private:
  friend class CacheLedger;

  /// What becomes of it if the process dies now.
  void note() noexcept {
    const bool owes = owed() || unheard_ || passed_ > 0;
    if (mark_ != nullptr) {
      mark_->standing = owes ? LunRecord::Standing::owed : LunRecord::Standing::told;
    } else if (unnamed_ != nullptr && owes != counted_) {
      owes ? ++*unnamed_ : --*unnamed_;
      counted_ = owes;
    }
  }
  void forget_mark() noexcept {
    if (mark_ != nullptr) mark_->standing = LunRecord::Standing::none;
    if (counted_) --*unnamed_;
    leave_mark();
  }
  /// What is written there stays.
  void leave_mark() noexcept { mark_ = nullptr, unnamed_ = nullptr, counted_ = false; }

  /// Stands for whom the other one stood for. What that one was being told goes on there.
  void take(CacheObserver& other) noexcept {
    token_ = std::move(other.token_);
    mark_ = std::exchange(other.mark_, nullptr);
    unnamed_ = std::exchange(other.unnamed_, nullptr);
    counted_ = std::exchange(other.counted_, false);
    stand_like(other);
  }
  void stand_like(const CacheObserver& other) noexcept {
    told_from_ = other.told_from_;
    told_to_ = other.told_to_;
    from_ = other.from_;
    to_ = other.to_;
    newcomer_ = other.newcomer_;
  }

  // Writes, by number.
  std::uint64_t told_from_ = 0;  // told: from here on,
  std::uint64_t told_to_ = 0;    // up to here
  std::uint64_t from_ = 0;       // in doubt, and not told: above this, up to to_
  std::uint64_t to_ = 0;
  std::uint64_t telling_ = 0;  // its FLUSHes that fail in this step stand for the writes up to here; 0: none does
  bool newcomer_ = true;       // nothing was put in doubt for it yet
  // Of FLUSHes that have failed, and whose replies were not sent yet:
  bool unheard_ = false;      // they have told of its own loss
  std::uint32_t passed_ = 0;  // of so many that others have left
  std::string token_;
  bool replaced_ = false;  // another connection stands for its client already
  // In the record: its own place, or else what counts those without one.
  LunRecord::Client* mark_ = nullptr;
  std::uint32_t* unnamed_ = nullptr;
  bool counted_ = false;  // among those

 public:
  boost::intrusive::list_member_hook<> hook;
};

using CacheObservers = boost::intrusive::list<
    CacheObserver,
    boost::intrusive::member_hook<CacheObserver, boost::intrusive::list_member_hook<>, &CacheObserver::hook>>;

}  // namespace nbdgw::bridge
