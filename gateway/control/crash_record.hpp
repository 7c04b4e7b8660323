#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "gateway/bridge/lun_record.hpp"
#include "gateway/net/unique_fd.hpp"
#include "gateway/shard/retirement.hpp"

namespace nbdgw::control {

/// What the next process has to know if this one dies without a word: a file of shared memory, in which exports count
/// in place. Meant for a file system in memory (/run): it costs no I/O then, and ends with the machine. One process at
/// a time has it.
class CrashRecord {
 public:
  /// LUNs; of more nothing outlives a crash.
  static constexpr std::size_t kLuns = 1024;

  /// Opens `folder`/record, or makes it, and takes what a process has left that died. Throws std::runtime_error, for
  /// people.
  explicit CrashRecord(const std::filesystem::path& folder);
  ~CrashRecord();
  CrashRecord(const CrashRecord&) = delete;
  CrashRecord& operator=(const CrashRecord&) = delete;

  /// The process before has not ended in good order.
  bool before_died() const noexcept { return before_died_; }
  /// What it knew; empty, where it has told all.
  std::vector<shard::ExportLegacy> take_left() noexcept { return std::move(left_); }

  /// A place for an export of that LUN; null: there is none left, or its name is too long.
  bridge::LunRecord* take(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept;
  /// The export has gone.
  void give_back(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept;
  /// The process ends in good order. `told`: who comes next has been told all; else it finds here what exports knew in
  /// the end.
  void end(const std::vector<shard::ExportLegacy>& legacies, bool told) noexcept;

 private:
  struct Header;
  struct Slot;
  struct File;

  void begin();
  shard::ExportLegacy read(const Slot& slot) const;
  Slot* find(const std::string& iqn, std::uint64_t lun, const std::string& name) noexcept;

  net::UniqueFd fd_;
  File* file_ = nullptr;
  bool before_died_ = false;
  std::vector<shard::ExportLegacy> left_;
};

}  // namespace nbdgw::control
