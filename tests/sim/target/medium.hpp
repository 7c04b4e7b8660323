#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "tests/sim/piece.hpp"
#include "tests/sim/random.hpp"
#include "tests/sim/target/wire_bytes.hpp"
#include "tests/sim/timeline.hpp"
#include "tests/sim/zero_memory.hpp"

namespace nbdgw::sim {

/// What has become of a command that has reached the target.
enum class Fate : std::uint8_t {
  waiting,   // for commands before it, or for its data
  running,   // it is being executed, or hangs
  done,      // executed; its answer has not left
  answered,  // with its status, or by a Reject
  aborted,   // ended by a function or a reset. If it writes yet, its initiator was told so and it should not
  lost,      // its connection or session has ended, or somebody else's reset or a power loss ended it
};
const char* to_string(Fate fate) noexcept;

class Medium;

/// Whose command it is.
struct Origin {
  std::uint32_t record = 0;   // its place in the table of commands
  std::uint32_t session = 0;  // a number that is used once
  std::uint64_t isid = 0;     // of the session: those of one ISID follow each other
  std::uint16_t controller = 0;
  std::uint16_t cid = 0;
  std::uint32_t itt = 0;
  std::uint32_t cmd_sn = 0;
  const Medium* home = nullptr;  // the disk that its LUN has when nobody meddles; null: not known (yet)
  Fate fate = Fate::waiting;
  /// Its initiator knew, when it sent this, of the last change of the disk behind the LUN: it had received, and
  /// acknowledged, a unit attention, an error or INQUIRY data that tells of it.
  bool warned = true;
};

/// A write that has taken effect: medium.block(lba) is what is there now.
struct WriteEvent {
  enum class Kind : std::uint8_t { data, same, unmap };
  const Medium& medium;
  std::uint64_t lba;
  std::uint64_t blocks;
  Kind kind;
  bool durable;  // past the volatile cache
  Micros at;
  const Origin& origin;
};

/// Is told what happens to disks. Oracles hang here.
class MediumObserver {
 public:
  virtual void on_write(const WriteEvent&) {}
  /// Is about to be sent to an initiator.
  virtual void on_read(const Medium&, std::uint64_t /*lba*/, std::uint64_t /*blocks*/, const Origin&) {}
  /// What the range had in the volatile cache is durable now.
  virtual void on_sync(const Medium&, std::uint64_t /*lba*/, std::uint64_t /*blocks*/, Micros, const Origin&) {}
  /// The block is what it was when it was last durable; on_power_loss() follows when all are.
  virtual void on_block_lost(const Medium&, std::uint64_t /*lba*/) {}
  /// So many blocks are what they were when they were last durable.
  /// `lasting`: initiators are told until they have heard of it; else the answer to one command tells it, once.
  virtual void on_power_loss(const Medium&, std::uint64_t /*blocks*/, Micros, bool /*lasting*/) {}

 protected:
  ~MediumObserver() = default;
};

/// What a disk is, and what its LUN says of it and can do.
struct MediumOptions {
  std::uint32_t block_size = 512;
  std::uint64_t blocks = 65536;
  std::string serial = "0001";
  std::uint64_t naa = 0x6001405000000001;  // 0: no such designator
  std::string t10{};                       // empty: no such designator
  bool write_cache = true;                 // volatile
  bool fua = true;
  bool refuses_fua = false;  // what it says of FUA is not so
  bool sixteen = true;       // knows the 16-byte commands
  bool unmap = true;
  bool write_same = true;
  bool unmapped_reads_zeroes = true;
  std::uint8_t physical_exponent = 0;
  std::uint32_t most_blocks = 0;  // in a transfer; 0: no limit
  std::uint32_t most_unmapped = 1 << 16;
  std::uint64_t most_same = 1 << 16;
  std::uint64_t deadly_block = ~std::uint64_t{0};  // a READ of it is one that no session survives
  bool short_counts = false;  // of the blocks of a WRITE SAME it keeps 16 bits, and says nothing of a limit

  /// What arrays have, for a disk of that number and size in bytes.
  static MediumOptions draw(Random& random, std::uint32_t number, std::uint64_t bytes);
};

/// A disk: blocks, and what of them would survive a power loss.
class Medium {
 public:
  explicit Medium(MediumOptions options, MediumObserver* observer = nullptr);

  /// Full of zeroes, of which as much is kept as of payload in this world (piece.hpp).
  void clear();

  const MediumOptions& options() const noexcept { return options_; }
  std::uint32_t block_size() const noexcept { return options_.block_size; }
  std::uint64_t blocks() const noexcept { return options_.blocks; }
  bool contains(std::uint64_t lba, std::uint64_t blocks) const noexcept {
    return lba <= options_.blocks && blocks <= options_.blocks - lba;
  }
  /// Of each of its cells as much as is kept of payload.
  const std::uint8_t* block(std::uint64_t lba) const noexcept { return current_.data() + lba * kept_; }
  Piece view(std::uint64_t lba, std::uint64_t blocks) const noexcept {
    return {block(lba), 0, blocks * options_.block_size, kept_ / cells_of_block()};
  }
  /// How many cells from there on, up to `most`, have never been written to.
  std::uint64_t untouched(std::uint64_t cell, std::uint64_t most) const noexcept {
    const std::size_t kept = kept_ / cells_of_block();
    return current_.untouched(cell * kept, most * kept) / kept;
  }
  /// What a power loss would leave.
  const std::uint8_t* durable_block(std::uint64_t lba) const noexcept { return durable_.data() + lba * kept_; }
  std::uint64_t dirty_blocks() const noexcept { return dirty_count_; }

  // The range is within contains().
  Piece read(std::uint64_t lba, std::uint64_t blocks, const Origin& origin) const;
  void write(std::uint64_t lba, const Piece& data, bool fua, Micros at, const Origin& origin);
  /// The same block again and again.
  void write_same(std::uint64_t lba, std::uint64_t blocks, const Piece& block, Micros at, const Origin& origin);
  void unmap(std::uint64_t lba, std::uint64_t blocks, Micros at, const Origin& origin);
  /// `blocks` 0: to the end.
  void synchronize(std::uint64_t lba, std::uint64_t blocks, Micros at, const Origin& origin);
  /// Each dirty block, or each of a random part of them, is what it was when it was last durable.
  void lose_power(Random& random, Micros at, bool lasting);
  void grow(std::uint64_t blocks);

 private:
  struct Run {
    std::uint64_t lba;
    std::uint64_t blocks;
  };
  std::size_t cells_of_block() const noexcept { return options_.block_size / kCellBytes; }
  Place place(std::uint64_t lba, std::uint64_t blocks) noexcept {
    return {current_.write(lba * kept_, blocks * kept_), 0, blocks * options_.block_size, kept_ / cells_of_block()};
  }
  void settle(std::uint64_t lba, std::uint64_t blocks, bool fua);
  void make_durable(std::uint64_t lba, std::uint64_t blocks) noexcept;
  void tell(std::uint64_t lba, std::uint64_t blocks, WriteEvent::Kind kind, bool fua, Micros at,
            const Origin& origin);

  MediumOptions options_;
  MediumObserver* observer_;
  std::size_t kept_ = 0;  // bytes of a block
  ZeroMemory current_;
  ZeroMemory durable_;
  std::vector<std::uint8_t> dirty_;  // for each block
  std::vector<Run> runs_;            // where dirty blocks are; may overlap, and hold clean ones
  std::uint64_t dirty_count_ = 0;
};

}  // namespace nbdgw::sim
