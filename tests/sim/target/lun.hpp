#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "tests/sim/target/commands.hpp"

namespace nbdgw::sim {

/// Asymmetric access (SPC-5 5.18): what a controller lets be done with units.
enum class AccessState : std::uint8_t { active, standby, unavailable, transitioning };

/// What an answer has told of a unit, once it is acknowledged.
struct News {
  LogicalUnit* unit = nullptr;
  std::uint32_t change = 0;      // of the disk behind the number
  std::uint32_t power_loss = 0;  // 0: not told
  const Medium* lost = nullptr;  // whose cache has lost something,
  Micros lost_at = 0;            // then,
  Micros lost_from = 0;          // or since then again and again
};

/// What a command comes to.
struct Reply {
  std::uint8_t status = scsi::kGood;
  scsi::Sense sense{};
  Piece data{};  // of what reads; valid until the next command
};

/// A LUN: a number with a disk behind it, or another one, or none.
class LogicalUnit {
 public:
  LogicalUnit(std::uint64_t number, Medium& medium) : number_(number), home_(&medium), medium_(&medium) {}

  std::uint64_t number() const noexcept { return number_; }
  /// Null: not mapped now.
  Medium* medium() const noexcept { return medium_; }
  Medium* home() const noexcept { return home_; }
  /// Some initiator has read or written its blocks, and knows which disk they are of.
  bool was_used() const noexcept { return used_; }

  // ---- what happens to it ----

  /// Of an UNMAP's list.
  static constexpr std::uint32_t kMostDescriptors = 16;

  /// Another disk, or none, is behind the number from now on.
  void map(Medium* medium) noexcept;
  /// Counts these changes.
  std::uint32_t change() const noexcept { return change_; }
  void set_write_protected(bool yes) noexcept { write_protected_ = yes; }
  bool write_protected() const noexcept { return write_protected_; }
  void set_identity_readable(bool yes) noexcept { identity_readable_ = yes; }
  /// `plain`: it is told as any reset is.
  void power_lost(Micros now, bool plain);
  /// While it hangs no command ends. A function of this kind or above it (abort, unit reset, target reset, end of the
  /// session) lets it go on; kOnlyTime: none does.
  void hang(std::uint8_t cure) noexcept { cure_ = cure; }
  bool hangs() const noexcept { return cure_ != kHangsNot; }
  /// Whether it goes on now.
  bool cure(std::uint8_t by) noexcept;
  static constexpr std::uint8_t kHangsNot = 0;
  static constexpr std::uint8_t kCuredByAbort = 1;
  static constexpr std::uint8_t kCuredByUnitReset = 2;
  static constexpr std::uint8_t kCuredByTargetReset = 3;
  static constexpr std::uint8_t kCuredByLogin = 4;
  static constexpr std::uint8_t kOnlyTime = 5;

  // ---- sessions ----

  void on_login(std::uint32_t session, const std::string& initiator, std::uint32_t first_cmd_sn, bool attention);
  void on_session_end(std::uint32_t session);
  /// That follows.
  void on_logout(std::uint32_t session);
  /// It has reset this unit, or another one, or ended what is under way.
  void on_own_reset(std::uint32_t session, bool this_one);
  /// What its initiator serves it by is made anew: that may not be there while a reset is done, and learns nothing of
  /// it. Before the first session that begins when it was there it is not certain.
  void on_remade() noexcept { remade_ = Remade::just_now; }
  /// To be reported to all sessions but one.
  void raise(const scsi::Sense& attention, std::uint32_t except = 0);
  /// What was told is known from this CmdSN on.
  void acknowledged(const News& news, std::uint32_t session, std::uint32_t cmd_sn);
  /// Whether the sender of that command knew of the last change of the disk.
  bool warned(std::uint32_t session, std::uint32_t cmd_sn) const noexcept;

  /// Whether its sender knows of that change by now.
  bool knows(std::uint32_t session, std::uint32_t change) const noexcept;

  // ---- commands ----

  /// What it says before it even looks at the command; nothing: it may be executed.
  std::optional<Completion> refuse(const TargetCommand& command, AccessState access);
  /// Executes it. Of what sends data, all of that is there.
  Reply perform(TargetCommand& command, std::size_t data_length, Micros now);
  /// What this answer tells of the unit.
  News news_of(const TargetCommand& command, const Completion& completion) noexcept;

 private:
  struct Nexus {
    std::uint32_t session;
    std::string initiator;
    std::vector<scsi::Sense> attentions;
    std::uint32_t known_change;
    std::uint32_t known_from;
    bool after_logout = false;  // the session before it has ended like that
    bool told = false;          // of anything
    bool named = false;         // who asked last which disk it is was answered
    bool used = false;          // blocks were asked for
    bool ambiguous = false;     // attentions of logins or resets of its own are possible
    bool reset_quiet = false;   // it has reset the unit, and was told nothing since
  };
  struct Initiator {
    std::string name;
    std::uint32_t knows_power_loss;
    bool logged_out = false;
    bool knows_silence = false;  // of logins
    bool knows_quiet_resets = false;
  };
  Nexus* find(std::uint32_t session) noexcept;
  void on_use(std::uint32_t session);
  bool tells_for_sure(std::uint32_t session) const noexcept;
  Initiator& initiator(const std::string& name);

  Reply inquiry(const TargetCommand& command);
  Reply vital_product_data(std::uint8_t page);
  void identification_page();
  void block_limits_page();
  Reply read_capacity_10();
  Reply read_capacity_16(std::uint32_t allocated);
  Reply mode_sense(const TargetCommand& command);
  Reply unmap(TargetCommand& command, Micros now);
  Reply transfer(TargetCommand& command, std::size_t data_length, Micros now);
  Reply cut(std::size_t allocated) const noexcept;

  std::uint64_t number_;
  Medium* home_;
  Medium* medium_;
  std::uint32_t change_ = 0;
  std::uint32_t power_losses_ = 0;
  Micros power_lost_at_ = 0;
  Micros untold_from_ = -1;  // the first loss of power that no answer has told; -1: all were told
  scsi::Sense power_on_ = scsi::kPowerOn;
  bool write_protected_ = false;
  bool identity_readable_ = true;
  bool used_ = false;
  enum class Remade : std::uint8_t { no, just_now, used_since };
  Remade remade_ = Remade::no;
  std::uint8_t cure_ = kHangsNot;
  std::vector<Nexus> nexuses_;
  std::vector<Initiator> initiators_;
  ByteBuffer reply_;
};

/// All LUNs of the array.
class UnitMap {
 public:
  std::vector<std::unique_ptr<LogicalUnit>>& all() noexcept { return units_; }
  /// By the LUN field of a PDU (SAM-5 4.7: peripheral device or flat addressing); null: there is none.
  LogicalUnit* find(std::uint64_t field) const noexcept;
  /// REPORT LUNS, and INQUIRY of a number that has no disk.
  Reply answer_without_unit(const TargetCommand& command);

 private:
  std::vector<std::unique_ptr<LogicalUnit>> units_;
  ByteBuffer reply_;
};

}  // namespace nbdgw::sim
