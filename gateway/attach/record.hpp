#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "gateway/attach/policy.hpp"
#include "gateway/net/unique_fd.hpp"

namespace nbdgw::attach {

/// What the keeper of a device has to know again after it was killed, and the kernel does not tell.
struct Record {
  std::string exported;
  std::string token;  // that it resumes with
  Held held;
};

/// A file for each device, with its record. Whoever keeps the device has it locked, so that there is one at a time;
/// the kernel lets go of the lock when he dies.
class RecordFile {
 public:
  /// `folder` is made where it is not there. Throws std::runtime_error, for people.
  RecordFile(const std::filesystem::path& folder, const std::string& device);

  /// Takes the lock. False: somebody else has it; keeper() is his process.
  bool lock();
  int keeper() const;

  /// None, or one that was made by nobody like us.
  std::optional<Record> read() const;
  /// Throws std::runtime_error.
  void write(const Record& record);
  /// The device is attached no longer.
  void clear();

 private:
  std::filesystem::path path_;
  net::UniqueFd file_;
};

}  // namespace nbdgw::attach
