#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "gateway/iscsi_target/options.hpp"

namespace nbdgw::iscsi_target {

/// One logical unit: its medium and what it says of itself.
class LogicalUnit {
 public:
  LogicalUnit(const LunOptions& options, std::string_view target_name);

  std::uint32_t number() const noexcept { return options_.number; }
  std::uint64_t lun() const noexcept { return lun_; }  // as in PDUs and REPORT LUNS data (SAM-5 4.7)
  Medium& medium() const noexcept { return *options_.medium; }
  std::uint32_t block_size() const noexcept { return options_.block_size; }
  std::uint64_t blocks() const noexcept { return blocks_; }
  /// What READ CAPACITY says; what is beyond blocks() is out of range all the same.
  std::uint64_t told_blocks() const noexcept { return told_instead_ != 0 ? told_instead_ : blocks_; }
  /// Tells so many from now on; 0: those that there are.
  void tell_blocks(std::uint64_t blocks) noexcept { told_instead_ = blocks; }
  std::uint64_t told_instead() const noexcept { return told_instead_; }
  bool read_only() const noexcept { return options_.read_only; }
  /// What MODE SENSE says: read-only by its options, or for the time being (Server::protect()).
  bool write_protected() const noexcept { return options_.read_only || protected_; }
  bool is_protected() const noexcept { return protected_; }
  void set_protected(bool on) noexcept { protected_ = on; }
  bool write_cache() const noexcept { return options_.write_cache; }
  const std::string& serial() const noexcept { return other_serial_.empty() ? serial_ : other_serial_; }
  /// NAA designator, locally assigned (SPC-5 7.7.6.6.4): the same for the same target name and number.
  std::uint64_t naa() const noexcept { return other_serial_.empty() ? naa_ : other_naa_; }
  /// Says from now on that it is the disk of this serial number; empty: that it is itself. What it stores stays.
  void pose_as(const std::string& serial);
  const std::string& posing_as() const noexcept { return other_serial_; }
  /// WRITE SAME takes the lower 16 bits of its number of blocks, 0 for all there are, and no limit is told.
  bool counts_in_16_bits() const noexcept { return counts_in_16_bits_; }
  void set_counts_in_16_bits(bool on) noexcept { counts_in_16_bits_ = on; }

  std::uint32_t max_transfer_blocks() const noexcept { return kMaxTransferBytes / options_.block_size; }

 private:
  LunOptions options_;
  bool protected_ = false;
  bool counts_in_16_bits_ = false;
  std::uint64_t lun_;
  std::uint64_t blocks_;
  std::uint64_t told_instead_ = 0;
  std::uint64_t naa_;
  std::string serial_;
  std::string other_serial_;  // empty: none
  std::uint64_t other_naa_ = 0;
};

/// A target: a name and its logical units, in order of their numbers.
struct TargetNode {
  std::string name;
  std::string alias;
  std::vector<LogicalUnit> units;

  const LogicalUnit* find(std::uint64_t lun) const noexcept;
};

/// What is wrong with the options of a target, in words for whoever wrote them; empty: nothing.
std::string check_target(const TargetOptions& options);

}  // namespace nbdgw::iscsi_target
