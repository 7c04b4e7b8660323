#include "gateway/attach/policy.hpp"

#include <fmt/format.h>

namespace nbdgw::attach {

std::string obstacle(const Held& held, const Offer& offer) {
  if (held.identity != offer.identity) {
    const auto word = [](const std::string& identity) { return identity.empty() ? "unknown" : identity; };
    return fmt::format("another disk is there, {}, where {} was", word(offer.identity), word(held.identity));
  }
  if (offer.size < held.size) return fmt::format("the disk has shrunk from {} to {} bytes", held.size, offer.size);
  if (offer.block > held.block)
    return fmt::format("the disk has blocks of {} bytes now, and had {}", offer.block, held.block);
  // What the kernel makes use of; what else a server may say changes nothing for it.
  constexpr std::uint16_t kAbilities = proto::nbd::kFlagSendFlush | proto::nbd::kFlagSendFua |
                                       proto::nbd::kFlagSendTrim | proto::nbd::kFlagSendWriteZeroes;
  if (const auto missing = static_cast<std::uint16_t>(held.flags & ~offer.flags & kAbilities); missing != 0)
    return fmt::format("the export can do less than before (transmission flags 0x{:x} are missing)", missing);
  constexpr std::uint16_t kReadOnly = proto::nbd::kFlagReadOnly;
  if ((offer.flags & ~held.flags & kReadOnly) != 0) return "the export has become read-only";
  return "";
}

}  // namespace nbdgw::attach
