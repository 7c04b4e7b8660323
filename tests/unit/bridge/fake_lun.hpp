#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "gateway/initiator/scsi_command.hpp"
#include "proto/scsi/sense.hpp"

/// What the LUN of a test is like.
struct LunOptions {
  std::uint32_t block = 512;
  std::uint64_t blocks = 4096;
  std::uint32_t max_transfer = 0;  // blocks; what is above is refused
  bool write_cache = true;
  bool dpofua = true;
  bool fua_refused = false;  // the bit, whatever dpofua says
  bool write_protected = false;
  bool lbpu = true;
  bool lbpws = true;
  bool lbprz = true;
  bool capacity_16 = true;  // else the command is unknown
  bool transfer_16 = true;  // else READ(16) and WRITE(16) are refused, with this code
  std::uint8_t transfer_16_asc = 0x20;
  bool write_same_16 = true;         // else (10) is known only
  bool write_same = true;            // else the command is unknown
  bool write_same_16_bits = false;   // it keeps so much of the number of blocks, and takes 0 for "to the end"
  bool write_same_unmap_bit = true;  // else the bit is refused, whatever lbpws says
  bool unmap = true;                 // else the command is unknown, whatever lbpu says
  bool synchronize_16 = true;
  bool synchronize_10 = true;
  std::uint32_t max_unmap = 256;  // blocks
  std::uint32_t granularity = 8;  // blocks
  std::uint32_t alignment = 0;
  std::uint64_t max_write_same = 128;  // blocks
  std::string serial = "disk-1";
  bool tells_serial = true;  // else VPD 80h is refused
  bool absent = false;       // no such LUN
};

inline nbdgw::proto::scsi::Sense make_sense(nbdgw::proto::scsi::SenseKey key, std::uint8_t asc,
                                            std::uint8_t ascq = 0) {
  nbdgw::proto::scsi::Sense sense;
  sense.key = key;
  sense.asc = asc;
  sense.ascq = ascq;
  return sense;
}

/// A session and a LUN behind it, in place of the real ones: takes commands, and ends them when and how the test
/// says. Executes them on a disk in memory with a volatile cache, and checks each command against what the LUN
/// announced.
class FakeLun final : public nbdgw::initiator::CommandTransport {
 public:
  using Command = nbdgw::initiator::ScsiCommand;
  using Sense = nbdgw::proto::scsi::Sense;

  explicit FakeLun(LunOptions lun_options);

  void queuecommand(Command& command, nbdgw::proto::Micros now) override;
  /// What was queued while `window_closed` comes back with give_back(); in a real session that is a later step, too.
  void recall(std::uint64_t lun) override;
  void give_back(nbdgw::proto::Micros now);
  void suspect(std::uint64_t lun, std::span<const nbdgw::initiator::LeftWrites> where) override {
    suspected.push_back(lun);
    left.assign(where.begin(), where.end());
  }
  bool suspects(std::uint64_t) const noexcept override { return still_suspects; }
  std::vector<nbdgw::initiator::LeftWrites> left_writes(std::uint64_t) const override { return left; }
  bool still_suspects = false;
  std::vector<std::uint64_t> suspected;
  std::vector<nbdgw::initiator::LeftWrites> left;
  bool window_closed = false;
  std::vector<Command*> unsent;  // without a CmdSN

  /// Ends the i-th waiting command as it should.
  void complete(std::size_t i, nbdgw::proto::Micros now);
  /// Ends it with this status, not executed.
  void refuse(std::size_t i, std::uint8_t status, nbdgw::proto::Micros now);
  void refuse(std::size_t i, const Sense& sense, nbdgw::proto::Micros now);
  /// GOOD, but the last `missing` bytes were not moved.
  void complete_short(std::size_t i, std::uint32_t missing, nbdgw::proto::Micros now);
  /// How a command ends that moves only its first `moved` bytes: what the target says of it.
  struct Shortfall {
    std::uint32_t moved = 0;
    std::uint32_t residual = 0;  // with the U flag, if not 0
    bool recovered = false;      // CHECK CONDITION with RECOVERED ERROR, else GOOD
  };
  /// Of a READ or WRITE these bytes move; what else there is does nothing.
  void complete_partly(std::size_t i, const Shortfall& shortfall, nbdgw::proto::Micros now);
  /// Executes the i-th waiting command; its answer is on the way until complete() or abort().
  void execute_only(std::size_t i);
  bool executed(std::size_t i) const { return executed_.contains(waiting.at(i)); }
  /// A task management function has ended it.
  void abort(std::size_t i, bool overdue, nbdgw::proto::Micros now);
  /// What was not on stable storage is gone; the next command that can take it meets this unit attention.
  void power_loss(std::uint8_t asc = 0x29, std::uint8_t ascq = 0x01);
  /// A waiting command that has met a unit attention, and whose answer is on the way.
  std::optional<std::size_t> attention_on_the_way() const;
  /// The session breaks: all waiting commands come back, each executed before if `executed(command)` says so.
  void disrupt(const std::function<bool(const Command&)>& executed, nbdgw::proto::Micros now);
  bool losses_are_ours = false;  // the gateway itself ends the sessions
  /// The session breaks, and holds those that write, for want of a proof; the others come back. later() hands the
  /// i-th of the held ones back when there is a proof.
  void disrupt_and_hold(nbdgw::proto::Micros now);
  void later(std::size_t i, nbdgw::proto::Micros now);
  /// The session ends for good: all waiting commands come back.
  void lose_path(nbdgw::proto::Micros now);

  static std::uint8_t opcode(const Command& command) { return command.cdb[0]; }
  static std::uint64_t lba(const Command& command);
  static std::uint32_t count(const Command& command);

  LunOptions options;
  std::vector<Command*> waiting;  // in the order of their arrival
  std::vector<Command*> held;     // by the session, after a loss
  std::vector<std::uint8_t> disk;
  std::vector<std::uint8_t> log;  // operation codes, in the order of execution
  std::size_t sent = 0;           // commands taken
  std::size_t most_waiting = 0;
  /// Volatile cache: blocks that are not on stable storage, with the number of the command that wrote them; how many
  /// such commands and how many SYNCHRONIZE CACHE were executed.
  std::map<std::uint64_t, std::uint64_t> dirty;
  std::uint64_t written = 0;
  std::uint64_t synchronized = 0;
  /// By block: the number of the command that wrote what a READ would see, and what is on stable storage.
  std::map<std::uint64_t, std::uint64_t> number;
  std::map<std::uint64_t, std::uint64_t> stable_number;
  std::vector<std::uint8_t> stable;
  std::deque<Sense> attentions;  // unit attentions to be met
  /// Told of every command that has written, with its blocks; its number is `written`.
  std::function<void(const Command& command, std::uint64_t first, std::uint64_t blocks)> on_written =
      [](const Command&, std::uint64_t, std::uint64_t) {};

 private:
  std::vector<Command*> recalled_;
  Command& take(std::size_t i);
  void end(Command& command, nbdgw::proto::Micros now);
  void check_condition(Command& command, const Sense& sense);
  std::optional<Sense> execute(Command& command);
  std::optional<Sense> carry_out(Command& command);
  void wrote(const Command& command, std::uint64_t first, std::uint64_t blocks, bool stable_at_once);
  void harden(std::uint64_t block);
  std::optional<Sense> read_write(Command& command, bool write);
  std::optional<Sense> write_same(Command& command);
  std::optional<Sense> unmap(Command& command);
  void answer(Command& command, const std::vector<std::uint8_t>& data);
  std::vector<std::uint8_t> inquiry(const Command& command) const;
  std::vector<std::uint8_t> gather(const Command& command) const;

  std::map<Command*, std::optional<Sense>> executed_;  // answers on the way
};
