#include "gateway/nbd/validate.hpp"

#include <algorithm>

namespace nbdgw::nbd {
namespace {

using proto::nbd::Command;
using proto::nbd::Error;
using namespace proto::nbd;  // the flags

constexpr Validation kFine{};

/// Is the command one that this server has, and that this export offered?
Validation check_command(Command command, const ExportInfo& info) noexcept {
  switch (command) {
    case Command::read:
    case Command::write:
      return kFine;
    case Command::flush:
      return info.flush ? kFine : Validation{Error::einval, "This export does not offer FLUSH."};
    case Command::trim:
      // A read-only export offers neither, but the answer to a write-like command is EPERM there.
      return info.trim || info.read_only ? kFine : Validation{Error::einval, "This export does not offer TRIM."};
    case Command::write_zeroes:
      return info.write_zeroes || info.read_only
                 ? kFine
                 : Validation{Error::einval, "This export does not offer WRITE_ZEROES."};
    case Command::cache:
      return {Error::einval, "This server does not offer CACHE."};
    case Command::block_status:
      return {Error::einval, "BLOCK_STATUS needs a metadata context, and none was negotiated."};
    case Command::resize:
      return {Error::einval, "This server does not offer RESIZE."};
    case Command::disc:
      break;
  }
  return {Error::einval, "Unknown command."};
}

Validation check_flags(const RequestHeader& request, const ExportInfo& info, bool structured) noexcept {
  std::uint16_t known = kCmdFlagFua;  // to be accepted on every command, once offered
  if (request.command == Command::read) known |= kCmdFlagDf;
  if (request.command == Command::write_zeroes) known |= kCmdFlagNoHole;
  if ((request.flags & static_cast<std::uint16_t>(~known)) != 0)
    return {Error::einval, "A command flag is unknown, was not offered, or does not go with this command."};
  if ((request.flags & kCmdFlagFua) != 0 && !info.fua) return {Error::einval, "This export does not offer FUA."};
  if ((request.flags & kCmdFlagDf) != 0 && !structured)
    return {Error::einval, "The DF flag needs structured replies, which were not negotiated."};
  return kFine;
}

/// Offset and length against the export. Sums that would pass 2^64 are beyond the end, too.
Validation check_range(const RequestHeader& request, const ExportInfo& info) noexcept {
  const std::uint64_t mask = info.min_block - 1;  // a power of two
  if (((request.offset | request.length) & mask) != 0)
    return {Error::einval, "Offset or length is not a multiple of the minimum block size."};
  if (request.offset <= info.size && request.length <= info.size - request.offset) return kFine;
  const bool writes = request.command == Command::write || request.command == Command::write_zeroes;
  return {writes ? Error::enospc : Error::einval, "The request goes beyond the end of the export."};
}

/// What can go through memory piece by piece may be as long as any client expects of any server. A client that never
/// asked for block sizes sends as much, whatever we would have told it (NBD protocol, "Block sizes").
std::uint32_t longest(const RequestHeader& request, const ExportInfo& info, bool structured) noexcept {
  const std::uint32_t most = std::max(max_payload(info), kUsualPayload);
  if (request.command == Command::write) return most;
  if (request.command != Command::read) return ~std::uint32_t{0};
  const bool in_pieces = structured && (request.flags & kCmdFlagDf) == 0;
  return in_pieces ? most : max_payload(info);
}

}  // namespace

Validation validate_request(const RequestHeader& request, const ExportInfo& info, bool structured) noexcept {
  if (const Validation validation = check_command(request.command, info); validation.error != Error::none)
    return validation;
  if (const Validation validation = check_flags(request, info, structured); validation.error != Error::none)
    return validation;

  if (request.command == Command::flush) {
    if (request.offset == 0 && request.length == 0) return kFine;
    return {Error::einval, "FLUSH takes no offset and no length."};
  }
  if (info.read_only && request.command != Command::read) return {Error::eperm, "The export is read-only."};

  if (request.length > max_payload(info) && request.length > longest(request, info, structured))
    return {Error::einval, "The request is longer than the maximum payload of this export."};
  return check_range(request, info);
}

}  // namespace nbdgw::nbd
