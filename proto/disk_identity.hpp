#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace nbdgw::proto {

/// What tells a disk from others; empty where it is not known.
struct DiskIdentity {
  std::string designator;  // VPD 83h, the best one
  std::string serial;      // VPD 80h

  bool known() const noexcept { return !designator.empty() || !serial.empty(); }
  /// One word for it, the strongest that is known; empty: none is.
  const std::string& word() const noexcept { return designator.empty() ? serial : designator; }
  friend bool operator==(const DiskIdentity&, const DiskIdentity&) = default;
};

enum class SameDisk : std::uint8_t {
  yes,
  no,
  cannot_tell,  // what was known is not told now: to be asked again, not to be believed
};

/// The one rule, inside a session, after a login and after a restart of the gateway. What both know must agree. The
/// strongest that was known before must be told again: a serial number does not stand in for a designator, as there
/// are targets that make it up from the LUN. What nobody has ever known cannot be compared.
inline SameDisk same_disk(const DiskIdentity& before, const DiskIdentity& now) noexcept {
  const auto differ = [](const std::string& a, const std::string& b) { return !a.empty() && !b.empty() && a != b; };
  if (differ(before.designator, now.designator) || differ(before.serial, now.serial)) return SameDisk::no;
  if (!before.known()) return SameDisk::yes;
  const std::string& told = before.designator.empty() ? now.serial : now.designator;
  return told.empty() ? SameDisk::cannot_tell : SameDisk::yes;
}

/// Whether two LUNs may be one disk, as far as they say.
inline bool looks_the_same(const DiskIdentity& a, const DiskIdentity& b) noexcept {
  if (!a.designator.empty() || !b.designator.empty()) return a.designator == b.designator;
  return !a.serial.empty() && a.serial == b.serial;
}

/// Whether no other disk has the same, as far as can be known. Serial numbers repeat from one vendor to the next; and
/// tgtd makes what it is not told up from the numbers of target and LUN, and always its locally assigned NAA name
/// (SPC-5 7.7.6.6.4: 3h, here 28 bits of the target and 32 of the LUN).
inline bool is_unique(const DiskIdentity& disk) noexcept {
  constexpr std::string_view kTgtdNaa = "naa.3000", kTgtd = "t10.IET ";
  return !disk.designator.empty() && !disk.designator.starts_with(kTgtdNaa) && !disk.designator.starts_with(kTgtd);
}

}  // namespace nbdgw::proto
