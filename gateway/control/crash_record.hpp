#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "gateway/net/unique_fd.hpp"
#include "gateway/shard/retirement.hpp"
#include "proto/time.hpp"

namespace nbdgw::control {

/// What the next process has to know if this one dies without a word: a file of shared memory, in which exports count
/// in place. Meant for a file system in memory (/run): it costs no I/O then, and ends with the machine. One process
/// at a time has it. All of its room is taken before it is used, so that no store into it can fail.
class CrashRecord {
 public:
  /// LUNs; of more nothing outlives a crash. What the last process has left has its places beside those of this one.
  static constexpr std::size_t kLuns = 2048;

  /// Opens `folder`/record, or makes it, and takes what a process has left that died. `now`: of the clock since the
  /// machine has booted. Throws std::runtime_error, for people.
  CrashRecord(const std::filesystem::path& folder, proto::Micros now);
  ~CrashRecord();
  CrashRecord(const CrashRecord&) = delete;
  CrashRecord& operator=(const CrashRecord&) = delete;

  /// The process before has not ended in good order.
  bool before_died() const noexcept { return before_died_; }
  /// What it knew; empty, where it has told all.
  std::vector<shard::ExportLegacy> take_left() noexcept { return std::move(left_); }
  /// Whoever comes in the place of what was there before is there, and counts for itself.
  void settle() noexcept;

  /// A place for an export of that LUN; null: there is none left, or its name is too long.
  bridge::LunRecord* take(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept;
  /// The export has gone. What it has left stays until settle().
  void give_back(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept;
  /// The process ends in good order. `told`: who comes next has been told all; else it finds here what exports knew
  /// in the end.
  void end(const std::vector<shard::ExportLegacy>& legacies, bool told) noexcept;

 private:
  struct Header;
  struct Slot;
  struct File;

  void take_room(std::size_t slots);
  void read_what_is_left(proto::Micros now);
  shard::ExportLegacy read(const Slot& slot, bool died, proto::Micros now) const;
  Slot* find(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept;

  std::filesystem::path path_;
  net::UniqueFd fd_;
  File* file_ = nullptr;
  std::size_t slots_ = 0;  // that there is room for
  bool before_died_ = false;
  std::vector<shard::ExportLegacy> left_;
};

}  // namespace nbdgw::control
