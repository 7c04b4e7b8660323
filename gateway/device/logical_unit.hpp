#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>

#include "gateway/device/command_runner.hpp"
#include "gateway/device/disposition.hpp"
#include "gateway/device/facts.hpp"
#include "gateway/initiator/scsi_command.hpp"
#include "proto/scsi/inquiry.hpp"
#include "proto/time.hpp"

namespace nbdgw::device {

class LogicalUnit;

/// Whoever must know how a unit is. Called as the last act of a step of the unit, so that every method of the unit
/// may be called from here.
class LogicalUnitObserver {
 public:
  /// A probe or a re-read of the capacity has ended: see LogicalUnit::state(), facts() and failure().
  virtual void on_probe_done(LogicalUnit& unit, proto::Micros now) = 0;

  /// The unit's own commands met a unit attention or the like. Told at once, before any later command can end: a
  /// probe after a reconnection is often what meets the "power on" that a FLUSH must know about. `capacity_changed`,
  /// `facts_changed` and `identity_in_doubt` are already taken care of by the unit. LogicalUnit::last_answer() says
  /// it in words.
  virtual void on_unit_notes(LogicalUnit& unit, const Notes& notes, proto::Micros now) = 0;

 protected:
  ~LogicalUnitObserver() = default;
};

/// One LUN of a session: finds out what it is (probe) and keeps the answer. A resumable step machine over one SCSI
/// command at a time; reads and writes do not pass through here.
class LogicalUnit final : private CommandRunner::Owner {
 public:
  /// Where the probe is; each state between idle and ready is one command.
  enum class State : std::uint8_t {
    idle,                // not probed yet
    test_unit_ready,     // absorbs unit attentions, waits until the unit is ready
    inquiry,             // what it is
    vpd_supported,       // 00h: which of the next ones there are
    vpd_serial,          // 80h
    vpd_identification,  // 83h
    vpd_limits,          // B0h
    vpd_medium,          // B1h
    vpd_provisioning,    // B2h
    capacity_16,
    capacity_10,  // if the unit does not know the 16-byte one
    mode_6,       // header and caching page
    mode_10,      // if the unit does not know the 6-byte one
    mode_all,     // if it does not know the caching page: the header alone
    ready,        // facts() hold
    failed,       // see failure(); tries again after kReprobeDelay
  };
  static constexpr std::size_t kStates = static_cast<std::size_t>(State::failed) + 1;

  /// Why a probe failed.
  enum class Failure : std::uint8_t {
    none,
    path_lost,         // the session ended for good: probe() when there is one again
    not_there,         // no logical unit under this LUN
    not_ready,         // there, but does not become ready
    not_a_disk,        // another device type
    geometry,          // block length or size beyond what can be served, or block length not what it was
    identity_changed,  // another unit than the one probed before: writing to it would be a disaster
    identity_unread,   // it does not say any more which unit it is, or says without end that it may be another one
    command_failed,    // a command that every disk must know did not work
  };

  /// A failed probe is tried again after this time.
  static constexpr proto::Micros kReprobeDelay = 5 * proto::kSecond;

  /// `lun`: the 8 bytes of SAM-5 4.7 as a number (proto::scsi::encode_lun). The transport must outlive the unit, and
  /// the unit must live until command_lent() is false.
  LogicalUnit(initiator::CommandTransport& transport, std::uint64_t lun, LogicalUnitObserver* observer = nullptr);

  LogicalUnit(const LogicalUnit&) = delete;
  LogicalUnit& operator=(const LogicalUnit&) = delete;

  /// Probes from the start; a probe that runs is begun anew. To be called when the session is up for the first time,
  /// and each time that it was reinstated. Facts known so far stay until the new ones are complete.
  void probe(proto::Micros now);

  /// Before the first probe: the unit that was here when the gateway was another process, or the export another
  /// object. Another one may be here by now; but one that does not say who it is, is not believed.
  void expect(proto::DiskIdentity identity) { known_ = std::move(identity); }

  /// Reads the capacity again; everything else stays. Without facts, or while probing, this is part of the probe.
  void refresh_capacity(proto::Micros now);

  /// Takes care of what a disposition of a read or write told about the unit: re-reads or probes as needed. A probe
  /// that runs is begun anew if another unit may be here since.
  void note(const Notes& notes, proto::Micros now);

  /// Asks once more which unit it is, and nothing else, with one command or two; false where there is nothing to
  /// compare or a probe runs, and nothing is asked then. Ends with on_probe_done(): the facts are as they were if it
  /// is the same unit. Else a probe begins, which is told by on_unit_notes(identity_in_doubt), and ends instead.
  bool confirm_identity(proto::Micros now);

  /// Ends probing: no command is sent any more, until probe().
  void stop(proto::Micros now);

  State state() const noexcept { return state_; }
  /// Since when.
  /// There are facts: the unit is, or has been, ready. They stay valid during a later probe and after it failed.
  bool has_facts() const noexcept { return has_facts_; }
  const Facts& facts() const noexcept { return facts_; }

  Failure failure_reason() const noexcept { return failure_; }
  /// Why the last probe or re-read failed, for people; empty if it did not.
  const std::string& failure() const noexcept { return failure_text_; }

  /// Which unit this is, as far as it was ever told; a later probe adds to it and takes nothing away.
  const proto::DiskIdentity& identity() const noexcept { return known_; }

  /// The unit refused WRITE SAME(16) or UNMAP as unsupported: do not try again until the next probe.
  void write_same_refused() noexcept { facts_.write_same = found_.write_same = false; }
  void unmap_refused() noexcept { facts_.lbpu = found_.lbpu = false; }

  /// The unit's own command that came back last.
  const initiator::ScsiCommand& last_command() const noexcept { return runner_.command(); }
  /// The end of the unit's last command, for people.
  std::string last_answer() const { return explain(runner_.command()); }

  std::uint64_t lun() const noexcept { return lun_; }
  bool command_lent() const noexcept { return runner_.lent(); }

  proto::Micros next_deadline() const noexcept;
  void on_deadline(proto::Micros now);

 private:
  void on_notes(const Notes& notes, proto::Micros now) override;
  void on_command_over(const Disposition& disposition, std::span<const std::uint8_t> data,
                       proto::Micros now) override;

  void enter(State state, proto::Micros now);
  void send_command(proto::Micros now);
  void begin(proto::Micros now);
  void step_done(std::span<const std::uint8_t> data, proto::Micros now);
  void identity_answered(const Disposition& disposition, std::span<const std::uint8_t> data, proto::Micros now);
  void step_failed(const Disposition& disposition, proto::Micros now);
  bool is_absent() const noexcept;
  void gone(unsigned qualifier, proto::Micros now);
  void required_step_failed(Error error, proto::Micros now);
  void fail(Failure failure, std::string why, proto::Micros now);
  void finish(proto::Micros now);

  void inquiry_done(std::span<const std::uint8_t> data, proto::Micros now);
  void vpd_done(std::span<const std::uint8_t> data);
  void limits_done(std::span<const std::uint8_t> data) noexcept;
  void capacity_done(std::span<const std::uint8_t> data, proto::Micros now);
  bool check_identity(proto::Micros now);
  void mode_done(std::span<const std::uint8_t> data, proto::Micros now);
  State next_vpd(State after) const noexcept;
  std::string lun_text() const;

  CommandRunner runner_;
  LogicalUnitObserver* observer_;
  std::uint64_t lun_;

  State state_ = State::idle;
  bool capacity_only_ = false;    // this is a re-read: back to ready after the capacity
  bool identity_only_ = false;    // confirm_identity(): back to ready after those pages
  bool begin_again_ = false;      // probe() was called while a command was out
  bool refresh_pending_ = false;  // the capacity changed after it was read
  bool unsettled_ = false;        // it has said too often, while it was probed, that it may be another unit
  bool stopped_ = false;
  std::uint8_t restarts_ = 0;  // of this probe, because the unit said that it changed meanwhile
  proto::Micros reprobe_at_ = proto::kNever;

  Facts facts_;  // as published
  bool has_facts_ = false;
  Facts found_;  // by the probe that runs
  proto::DiskIdentity known_;
  proto::scsi::SupportedPages pages_;
  Failure failure_ = Failure::none;
  std::string failure_text_;
};

const char* to_string(LogicalUnit::State state) noexcept;
const char* to_string(LogicalUnit::Failure failure) noexcept;

}  // namespace nbdgw::device
