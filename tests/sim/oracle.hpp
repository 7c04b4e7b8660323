#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "tests/sim/piece.hpp"
#include "tests/sim/timeline.hpp"

namespace nbdgw::sim {

/// Where somebody says that a rule was broken. The first complaint ends the run.
class Complaints {
 public:
  virtual void complain(const char* checker, const std::string& what) = 0;

 protected:
  ~Complaints() = default;
};

/// Knows what a disk may contain, cell by cell, from what clients have been told: an acknowledged write is there
/// until another one over it was begun after that and is acknowledged, too; of writes that overlap in time either may
/// be there; one that has failed, or has no answer yet, may be there or not; what was there before a write is gone
/// for good when it is acknowledged, however late an old copy of another write arrives.
///
/// A power loss takes what was not flushed: then what was there before such a write is possible again. Not what was
/// there before a write that was flushed, by a FLUSH begun after its answer, or that was made with FUA. A write that
/// is acknowledged after a power loss may have been done before it.
///
/// The content of a cell tells which write it is of, and that all of it is of that write and belongs there: the disk
/// and the cell are in it, too.
class Oracle {
 public:
  static constexpr std::uint32_t kCell = kCellBytes;
  using WriteId = std::uint32_t;
  /// What the disk was filled with: zeroes.
  static constexpr WriteId kInitial = 0;

  /// `disk`: its number, below 64.
  Oracle(const Timeline& timeline, std::uint32_t disk, std::uint64_t cells);
  std::uint32_t disk() const noexcept { return disk_; }

  /// A request that writes these cells was sent. `zeroes`: instead of content of its own. `maybe`: even when it
  /// succeeds it may have done nothing (TRIM). `fua`: it is durable when it is acknowledged.
  struct Kind {
    bool zeroes = false;
    bool maybe = false;
    bool fua = false;
  };
  WriteId begin_write(std::uint64_t cell, std::uint32_t cells, Kind kind);
  /// Its outcome, as the client was told; or that nobody will tell any more.
  void end_write(WriteId write, bool good);
  /// A copy of it is still on its way and may be done at any time, whatever its answer says: nothing that comes after
  /// it is certain to stay.
  void may_come_late(WriteId write) {
    ++writes_[write].late;
    writes_[write].settle();
  }
  /// One of those copies has been taken in by then, or never is.
  void comes_until(WriteId write, Micros last) {
    --writes_[write].late;
    writes_[write].comes_until = std::max(writes_[write].comes_until, last);
    writes_[write].settle();
  }

  /// A FLUSH that was sent at that time has succeeded.
  void flushed(Micros sent_at) noexcept {
    if (sent_at > astray_) flushed_ = std::max(flushed_, sent_at);
  }
  /// `lasting`: whoever comes is told of it until he has heard. Else one answer tells it, which may never arrive: a
  /// write with FUA that was begun before and is acknowledged meanwhile may be gone, and no gateway could know. So it
  /// is with one that is told as a reset is (TargetHabits::plain_power_on).
  void lose_power(bool lasting = true);
  /// The gateway has heard of what was lost then.
  void loss_known(Micros lost_at) noexcept {
    if (unheard_ <= lost_at) unheard_ = -1;
  }
  /// What a power loss has left in a cell.
  struct Loss {
    std::string wrong{};  // what was durable is gone; empty: nothing of that
    /// When the last write was begun that was acknowledged and is gone now; kNothing: none is.
    Micros begun = kNothing;
    static constexpr Micros kNothing = -1;
  };
  /// To be asked before lose_power().
  Loss look_at_loss(std::uint64_t cell, const std::uint8_t* data) const;

  // What no gateway could have known: another disk was there for a moment, and commands of before have met it.
  /// These cells may hold anything from now on.
  void forget(std::uint64_t cell, std::uint64_t cells);
  /// What a FLUSH that is under way now says is not to be believed.
  void flush_went_astray() noexcept { astray_ = timeline_.now(); }

  /// A read was sent: what is overwritten from now on may be in its answer.
  void begin_read() { ++reads_[timeline_.now()]; }
  /// Its answer, or that there is none: `data` is empty then. Empty text: it is right.
  std::string end_read(Micros begun, std::uint64_t cell, std::span<const std::uint8_t> data);
  /// Whether the disk may hold that now, from that cell on. Empty text: it may.
  std::string look(std::uint64_t cell, std::span<const std::uint8_t> data) const {
    return wrong_cells(cell, timeline_.now(), data);
  }

  /// The same, of so many cells of zeroes.
  std::string look_at_zeroes(std::uint64_t cell, std::uint64_t cells) const;

  /// The bytes of a write, or of its part from that cell on, as far as they are kept (piece.hpp).
  void fill(WriteId write, std::uint64_t cell, std::span<std::uint8_t> out) const;

  std::uint64_t cells() const noexcept { return cells_.size(); }

 private:
  struct Write {
    std::uint64_t cell;
    std::uint32_t cells;
    Kind kind;
    Micros begin;
    Micros answered = proto::kNever;
    std::uint32_t late = 0;      // copies that may come at any time
    Micros comes_until = 0;      // others
    Micros end = proto::kNever;  // what is begun later comes behind it
    void settle() noexcept { end = late > 0 ? proto::kNever : std::max(answered, comes_until); }
  };
  struct Entry {
    WriteId write;
    Micros gone_at = proto::kNever;  // overwritten, as long as there is power
    WriteId by = kInitial;           // that
    bool operator==(const Entry&) const = default;
  };
  /// What a cell may contain. Most cells share theirs with their neighbours.
  struct History {
    std::vector<Entry> entries;
    std::uint64_t cells = 0;  // that have it
    std::uint64_t step = 0;   // of the last change in which others got a changed copy of it,
    std::uint32_t copy = 0;   // that one
  };
  using Entries = std::vector<Entry>;

  /// Changes the histories of a range of cells.
  template <typename Action>
  void change(std::uint64_t cell, std::uint64_t cells, Action action);
  std::uint32_t copy_of(std::uint32_t history);
  void give(std::uint64_t from, std::uint64_t to, std::uint32_t history);
  WriteId content_of(WriteId write) const noexcept { return writes_[write].kind.zeroes ? kInitial : write; }
  bool is_durable(WriteId write) const noexcept { return writes_[write].kind.fua || writes_[write].end < flushed_; }
  void prune(Entries& entries) noexcept;
  std::uint64_t base_of(WriteId write, std::uint64_t cell) const noexcept;
  std::string wrong_cells(std::uint64_t cell, Micros begun, std::span<const std::uint8_t> data) const;
  std::string wrong_cell(std::uint64_t number, Micros begun, const std::uint8_t* data) const;
  std::string describe(std::uint64_t number, WriteId found, Micros begun) const;

  const Timeline& timeline_;
  const std::uint32_t disk_;
  std::vector<std::uint32_t> cells_;  // the history of each
  std::vector<History> histories_;
  std::vector<std::uint32_t> free_;  // histories that no cell has
  std::uint64_t step_ = 0;           // counts changes
  std::vector<bool> forgotten_;      // by cell; empty: none is
  std::deque<Write> writes_;
  Micros flushed_ = 0;                     // what was acknowledged before is durable
  Micros astray_ = -1;                     // when a flush went to another disk, last
  Micros lost_power_ = 0;                  // last
  Micros unheard_ = -1;                    // the last loss that one answer was to tell, and has not (yet); -1: none
  std::map<Micros, std::uint32_t> reads_;  // without an answer, by when they were begun
};

}  // namespace nbdgw::sim
