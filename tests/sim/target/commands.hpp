#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "tests/sim/target/faults.hpp"
#include "tests/sim/target/medium.hpp"
#include "tests/sim/target/pdu.hpp"
#include "tests/sim/target/scsi.hpp"
#include "tests/sim/target/wire_bytes.hpp"

namespace nbdgw::sim {

class Executor;
class LogicalUnit;
class TargetConnection;
class TargetSession;
struct RunningFunction;

/// An R2T that has not had all of its data.
struct OpenR2t {
  std::uint32_t ttt = 0;
  std::uint32_t offset = 0;
  std::uint32_t length = 0;
  std::uint32_t received = 0;
  std::uint32_t data_sn = 0;
};

/// How a command ends: status and, with CHECK CONDITION, sense (SAM-5 5.3).
struct Completion {
  std::uint8_t status = scsi::kGood;
  scsi::Sense sense{};
};

/// A SCSI command that is at the target.
struct TargetCommand {
  enum class State : std::uint8_t {
    free,
    parked,      // behind a hole in the CmdSN
    collecting,  // waits for data
    running,     // until its timer
    hung,        // until it is released or ended
  };

  Executor* executor = nullptr;
  Origin origin;
  State state = State::free;
  bool immediate = false;  // takes no place in the window
  bool reads = false;
  bool writes = false;
  bool mute = false;      // whatever it comes to, nobody is answered
  bool detached = false;  // no function finds it any more
  bool executed = false;  // only its answer hangs
  bool of_hung_unit = false;
  bool partial = false;                    // a write that takes less than it is for
  bool ghost = false;                      // it has outlived its session
  bool told = false;                       // to whoever watches
  TargetSession* session = nullptr;        // null: it has outlived it
  TargetConnection* connection = nullptr;  // where it came from; null: gone
  LogicalUnit* unit = nullptr;             // null: there is none of that number
  std::uint32_t change = 0;                // of the disk behind it, the last one when the command came
  Medium* medium = nullptr;                // what was behind the unit when it came
  std::uint64_t lun = 0;                   // as it came
  std::array<std::uint8_t, 16> cdb{};
  std::uint32_t expected = 0;  // Expected Data Transfer Length
  scsi::BlockCommand block;

  Row data;                  // of a write, from its beginning
  bool unsolicited = false;  // more of it comes unasked
  std::uint32_t unsolicited_sn = 0;
  std::uint32_t wanted = 0;     // how much of the data the command takes
  std::uint32_t excess = 0;     // and so much that the initiator would not send
  std::uint32_t requested = 0;  // up to here it was sent unasked or asked for
  std::uint32_t data_sn = 0;    // the next of Data-In and R2T
  std::array<OpenR2t, 8> r2ts;
  std::uint32_t r2t_count = 0;

  std::optional<Completion> early;  // decided before it could run
  const Medium* lost = nullptr;     // its answer tells that this disk's cache has lost something,
  Micros lost_at = 0;               // then
  Fault twist = Fault::none;        // what goes wrong when it is executed
  RunningFunction* ended_by = nullptr;
  std::uint32_t timer = 0;  // only a timer of this number counts

  TargetCommand* same_bucket = nullptr;  // in the session's table of tags
  TargetCommand* before = nullptr;       // in the order in which they came
  TargetCommand* behind = nullptr;
};

/// What is kept of a command for ever.
struct CommandRecord {
  std::uint32_t session = 0;
  std::uint32_t itt = 0;
  std::uint32_t cmd_sn = 0;
  std::uint16_t controller = 0;
  std::uint16_t cid = 0;
  Fate fate = Fate::waiting;
  std::uint8_t operation = 0;
  bool may_write = false;  // it may take effect yet
  const Medium* medium = nullptr;
  std::uint64_t lba = 0;
  std::uint64_t blocks = 0;
  Micros at = 0;
  Micros over_at = proto::kNever;  // answered, or ended
  std::uint64_t lun = 0;           // as it came
};

/// All commands that have reached the target: the truth for whoever judges.
class CommandTable {
 public:
  /// A new one, at the end of the order, and its record.
  TargetCommand& add(const Origin& origin, const std::uint8_t* cdb, Micros now);
  /// It is over, and its memory used again.
  void remove(TargetCommand& command, Micros now) noexcept;
  /// In the order in which they came; follow `behind`, but look at it before the command is touched.
  TargetCommand* first() const noexcept { return first_; }

  void set_fate(TargetCommand& command, Fate fate) noexcept {
    command.origin.fate = fate;
    records_[command.origin.record].fate = fate;
  }
  /// It is executed, or never will be.
  void writes_no_more(TargetCommand& command) noexcept { records_[command.origin.record].may_write = false; }
  CommandRecord& record(std::uint32_t number) noexcept { return records_[number]; }
  const std::vector<CommandRecord>& records() const noexcept { return records_; }

  /// Whether that command of a session may take effect yet.
  bool may_still_write(std::uint32_t session, std::uint32_t itt, std::uint32_t cmd_sn) const noexcept;
  /// Whether any command may yet write to that part of the disk.
  bool may_still_write(const Medium& medium, std::uint64_t lba, std::uint64_t blocks) const noexcept;
  std::size_t live() const noexcept { return live_; }

 private:
  std::vector<std::unique_ptr<TargetCommand>> pool_;
  std::vector<TargetCommand*> free_;
  std::vector<CommandRecord> records_;
  TargetCommand* first_ = nullptr;
  TargetCommand* last_ = nullptr;
  std::size_t live_ = 0;
};

}  // namespace nbdgw::sim
