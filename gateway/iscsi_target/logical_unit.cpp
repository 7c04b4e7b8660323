#include "gateway/iscsi_target/logical_unit.hpp"

#include <algorithm>
#include <array>
#include <charconv>

#include "proto/assert.hpp"
#include "proto/iscsi/text.hpp"
#include "proto/scsi/lun.hpp"

namespace nbdgw::iscsi_target {

namespace {

/// FNV-1a, 64 bits: names that stay the same over restarts and differ between logical units.
std::uint64_t hash_name(std::string_view target, std::uint32_t number) noexcept {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const auto add = [&](std::uint8_t byte) { hash = (hash ^ byte) * 0x100000001b3ULL; };
  for (const char c : target) add(static_cast<std::uint8_t>(c));
  for (int shift = 24; shift >= 0; shift -= 8) add(static_cast<std::uint8_t>(number >> shift));
  return hash;
}

std::string hex16(std::uint64_t value) {
  std::array<char, 16> digits;
  auto* end = std::to_chars(digits.data(), digits.data() + digits.size(), value, 16).ptr;
  const auto count = static_cast<std::size_t>(end - digits.data());
  return std::string(16, '0').replace(16 - count, count, digits.data(), count);
}

}  // namespace

LogicalUnit::LogicalUnit(const LunOptions& options, std::string_view target_name)
    : options_(options),
      lun_(proto::scsi::encode_lun(options.number).value_or(0)),
      blocks_(options.medium->size() / options.block_size),
      naa_((hash_name(options.identity.empty() ? target_name : options.identity, options.number) >> 4) |
           0x3000'0000'0000'0000ULL),
      serial_(options.serial.empty() ? hex16(naa_) : options.serial) {}

void LogicalUnit::pose_as(const std::string& serial) {
  other_serial_ = serial;
  other_naa_ = (hash_name(serial, number()) >> 4) | 0x3000'0000'0000'0000ULL;
}

const LogicalUnit* TargetNode::find(std::uint64_t lun) const noexcept {
  const auto number = proto::scsi::decode_lun(lun);
  if (!number) return nullptr;
  const auto found =
      std::find_if(units.begin(), units.end(), [&](const auto& unit) { return unit.number() == *number; });
  return found == units.end() ? nullptr : &*found;
}

std::string check_target(const TargetOptions& options) {
  if (!proto::iscsi::is_iscsi_name(options.name))
    return "'" + options.name +
           "' is no iSCSI name: it has to begin with iqn., eui. or naa., without blanks, as in " +
           "iqn.2026-11.io.nbdgw:disk";
  if (options.luns.empty()) return options.name + ": a target needs a logical unit at least";
  if (options.luns.size() > kMaxLuns)
    return options.name + ": more than " + std::to_string(kMaxLuns) + " logical units";
  for (const LunOptions& lun : options.luns) {
    const std::string what = options.name + ", LUN " + std::to_string(lun.number) + ": ";
    if (lun.number > proto::scsi::kMaxLunNumber) return what + "the number is above 16383";
    if (std::count_if(options.luns.begin(), options.luns.end(),
                      [&](const auto& l) { return l.number == lun.number; }) > 1)
      return what + "the number is given twice";
    if (lun.block_size != 512 && lun.block_size != 4096) return what + "the block size has to be 512 or 4096";
    NBDGW_ASSERT(lun.medium != nullptr, "a logical unit has a medium");
    if (lun.medium->size() < lun.block_size || lun.medium->size() % lun.block_size != 0)
      return what + "the size is not a whole number of blocks of " + std::to_string(lun.block_size) + " bytes";
  }
  return {};
}

}  // namespace nbdgw::iscsi_target
