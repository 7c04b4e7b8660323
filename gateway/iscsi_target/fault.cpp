#include "gateway/iscsi_target/fault.hpp"

#include <algorithm>
#include <array>

#include "gateway/iscsi_target/options.hpp"
#include "proto/assert.hpp"
#include "proto/scsi/constants.hpp"

namespace nbdgw::iscsi_target {

namespace {

using Type = FaultParameter::Type;
using Need = FaultParameter::Need;

constexpr FaultParameter flag(std::string_view name, bool Fault::*where, bool standard = false) {
  return {.name = name, .type = Type::flag, .flag = where, .standard = standard};
}
constexpr FaultParameter number(std::string_view name, std::uint32_t Fault::*where, Need need, std::uint32_t least,
                                std::uint32_t most, std::uint32_t standard = 0) {
  return {.name = name,
          .type = Type::number,
          .need = need,
          .number = where,
          .least = least,
          .most = most,
          .standard = standard};
}

constexpr FaultParameter kFunction = number("function", &Fault::function, Need::optional, 1, 255);
constexpr FaultParameter kKey = number("key", &Fault::key, Need::required, 0, 15);
constexpr FaultParameter kAsc = number("asc", &Fault::asc, Need::required, 0, 255);
constexpr FaultParameter kAscq = number("ascq", &Fault::ascq, Need::required, 0, 255);

constexpr FaultParameter kHangTask[] = {flag("executed", &Fault::executed)};
constexpr FaultParameter kHangTmf[] = {kFunction};
constexpr FaultParameter kRefuseTmf[] = {number("response", &Fault::response, Need::defaulted, 0, 255, 5), kFunction};
constexpr FaultParameter kTmfLies[] = {
    number("response", &Fault::response, Need::defaulted, 0, 1, 1),
    number("delay_ms", &Fault::delay_ms, Need::defaulted, 0, kMaxFaultDelayMs, 1000),
    flag("late_answer", &Fault::late_answer), kFunction};
constexpr FaultParameter kDelay[] = {number("delay_ms", &Fault::delay_ms, Need::required, 0, kMaxFaultDelayMs)};
constexpr FaultParameter kDropConnection[] = {flag("half_close", &Fault::half_close)};
constexpr FaultParameter kUnitAttention[] = {kAsc, kAscq};
constexpr FaultParameter kCheckCondition[] = {kKey, kAsc, kAscq,
                                              number("portal", &Fault::portal, Need::optional, 1, 65535)};
constexpr FaultParameter kDigestError[] = {
    {.name = "where", .type = Type::place, .need = Need::required, .flag = &Fault::in_data}};
constexpr FaultParameter kReject[] = {number("reason", &Fault::reason, Need::defaulted, 0, 255, 4),
                                      flag("hole", &Fault::hole)};
constexpr FaultParameter kAsyncEvent[] = {number("event", &Fault::event, Need::required, 0, 255),
                                          number("parameter1", &Fault::parameter1, Need::defaulted, 0, 65535),
                                          number("parameter2", &Fault::parameter2, Need::defaulted, 0, 65535),
                                          number("parameter3", &Fault::parameter3, Need::defaulted, 0, 65535)};
// Class 0 is no refusal (RFC 7143 section 11.13.5).
constexpr FaultParameter kLoginRefuse[] = {number("class", &Fault::status_class, Need::required, 1, 255),
                                           number("detail", &Fault::status_detail, Need::required, 0, 255)};
constexpr FaultParameter kRedirect[] = {{.name = "to", .type = Type::address, .need = Need::required},
                                        flag("permanent", &Fault::permanent)};
constexpr FaultParameter kPowerLoss[] = {number("asc", &Fault::asc, Need::defaulted, 0, 255, 0x29),
                                         number("ascq", &Fault::ascq, Need::defaulted, 0, 255, 0x01),
                                         flag("drop", &Fault::drop, true)};
constexpr FaultParameter kSlowWrite[] = {number("delay_ms", &Fault::delay_ms, Need::optional, 1, kMaxFaultDelayMs),
                                         flag("after_loss", &Fault::after_loss),
                                         flag("reset_waits", &Fault::reset_waits, true)};
constexpr FaultParameter kShortData[] = {number("bytes", &Fault::bytes, Need::required, 0, kMaxTransferBytes),
                                         flag("good", &Fault::good), flag("told", &Fault::told, true)};
constexpr FaultParameter kIdentity[] = {{.name = "serial", .type = Type::serial, .need = Need::required},
                                        number("asc", &Fault::asc, Need::defaulted, 0, 255),
                                        number("ascq", &Fault::ascq, Need::defaulted, 0, 255)};
constexpr FaultParameter kRefuseVpd[] = {number("page", &Fault::page, Need::required, 0, 255)};
constexpr FaultParameter kCapacity[] = {number("blocks", &Fault::blocks, Need::required, 1, 0xffffffff),
                                        number("asc", &Fault::asc, Need::defaulted, 0, 255),
                                        number("ascq", &Fault::ascq, Need::defaulted, 0, 255)};
constexpr FaultParameter kFreezePortal[] = {number("portal", &Fault::portal, Need::required, 1, 65535)};

constexpr FaultTraits on_commands(FaultKind kind, std::string_view name, std::span<const FaultParameter> list = {}) {
  return {.kind = kind, .name = name, .lun = true, .cid = true, .opcode = true, .trigger = true, .parameters = list};
}
constexpr FaultTraits on_management(FaultKind kind, std::string_view name, std::span<const FaultParameter> list) {
  return {.kind = kind, .name = name, .lun = true, .cid = true, .trigger = true, .parameters = list};
}
constexpr FaultTraits on_logins(FaultKind kind, std::string_view name, std::span<const FaultParameter> list) {
  return {.kind = kind, .name = name, .cid = true, .trigger = true, .parameters = list};
}

// In the order of FaultKind.
constexpr FaultTraits kTraits[] = {
    on_commands(FaultKind::hang_task, "hang_task", kHangTask),
    {.kind = FaultKind::hang_lun, .name = "hang_lun", .lun = true, .trigger = true, .needs_lun = true},
    on_management(FaultKind::hang_tmf, "hang_tmf", kHangTmf),
    on_management(FaultKind::refuse_tmf, "refuse_tmf", kRefuseTmf),
    on_management(FaultKind::tmf_lies, "tmf_lies", kTmfLies),
    on_commands(FaultKind::delay, "delay", kDelay),
    on_commands(FaultKind::drop_connection, "drop_connection", kDropConnection),
    on_commands(FaultKind::busy, "busy"),
    on_commands(FaultKind::task_set_full, "task_set_full"),
    on_commands(FaultKind::unit_attention, "unit_attention", kUnitAttention),
    on_commands(FaultKind::check_condition, "check_condition", kCheckCondition),
    on_commands(FaultKind::digest_error, "digest_error", kDigestError),
    on_commands(FaultKind::reject, "reject", kReject),
    {.kind = FaultKind::async_event, .name = "async_event", .cid = true, .parameters = kAsyncEvent},
    {.kind = FaultKind::freeze_window, .name = "freeze_window"},
    on_logins(FaultKind::login_refuse, "login_refuse", kLoginRefuse),
    on_logins(FaultKind::redirect, "redirect", kRedirect),
    {.kind = FaultKind::power_loss, .name = "power_loss", .parameters = kPowerLoss},
    {.kind = FaultKind::write_protect, .name = "write_protect", .lun = true, .trigger = true},
    on_commands(FaultKind::thin_full, "thin_full"),
    on_commands(FaultKind::slow_write, "slow_write", kSlowWrite),
    on_management(FaultKind::late_data, "late_data", kHangTmf),
    on_commands(FaultKind::short_data, "short_data", kShortData),
    {.kind = FaultKind::freeze_portal, .name = "freeze_portal", .parameters = kFreezePortal},
    {.kind = FaultKind::identity, .name = "identity", .lun = true, .parameters = kIdentity},
    {.kind = FaultKind::refuse_vpd,
     .name = "refuse_vpd",
     .lun = true,
     .cid = true,
     .trigger = true,
     .parameters = kRefuseVpd},
    {.kind = FaultKind::write_same_16, .name = "write_same_16", .lun = true},
    {.kind = FaultKind::quiet_login, .name = "quiet_login"},
    {.kind = FaultKind::capacity, .name = "capacity", .lun = true, .parameters = kCapacity},
};

struct GroupOpcodes {
  CommandGroup group{};
  std::string_view name;
  std::array<std::uint8_t, 4> opcodes{};  // 6, 10, 12 and 16 bytes, as far as there are any
  std::size_t count = 0;
};

// Also the forms that the embedded target does not know: it refuses them, unless a fault comes first.
constexpr GroupOpcodes kGroups[] = {
    {CommandGroup::read, "read", {0x08, 0x28, 0xa8, 0x88}, 4},
    {CommandGroup::write, "write", {0x0a, 0x2a, 0xaa, 0x8a}, 4},
    {CommandGroup::flush, "flush", {0x35, 0x91}, 2},
    {CommandGroup::unmap, "unmap", {0x42}, 1},
    {CommandGroup::write_same, "write_same", {0x41, 0x93}, 2},
    {CommandGroup::test_unit_ready, "test_unit_ready", {0x00}, 1},
};

}  // namespace

bool Fault::at_once() const noexcept {
  switch (kind) {
    case FaultKind::async_event:
    case FaultKind::power_loss:
      return true;
    case FaultKind::drop_connection:
      return !has_trigger && !lun && !opcode && !group;
    default:
      return false;
  }
}

bool Fault::is_state() const noexcept {
  switch (kind) {
    case FaultKind::freeze_window:
    case FaultKind::freeze_portal:
    case FaultKind::identity:
    case FaultKind::write_same_16:
    case FaultKind::quiet_login:
    case FaultKind::capacity:
      return true;
    default:
      return false;
  }
}

std::span<const FaultTraits> all_fault_traits() noexcept {
  return kTraits;
}

const FaultTraits& traits(FaultKind kind) noexcept {
  const FaultTraits& found = kTraits[static_cast<std::size_t>(kind)];
  NBDGW_ASSERT(found.kind == kind, "the table is in the order of the kinds");
  return found;
}

const FaultTraits* find_fault(std::string_view name) noexcept {
  const auto* found =
      std::find_if(std::begin(kTraits), std::end(kTraits), [&](const auto& t) { return t.name == name; });
  return found == std::end(kTraits) ? nullptr : found;
}

Fault default_fault(const FaultTraits& kind) {
  Fault fault;
  fault.kind = kind.kind;
  for (const FaultParameter& each : kind.parameters) {
    if (each.flag != nullptr) fault.*each.flag = each.standard != 0;
    if (each.number != nullptr) fault.*each.number = each.standard;
  }
  return fault;
}

std::string_view name_of(CommandGroup group) noexcept {
  return kGroups[static_cast<std::size_t>(group)].name;
}

std::optional<CommandGroup> find_command_group(std::string_view name) noexcept {
  for (const GroupOpcodes& each : kGroups)
    if (each.name == name) return each.group;
  return std::nullopt;
}

bool is_in(CommandGroup group, std::uint8_t opcode) noexcept {
  const GroupOpcodes& found = kGroups[static_cast<std::size_t>(group)];
  const auto end = found.opcodes.begin() + static_cast<std::ptrdiff_t>(found.count);
  return std::find(found.opcodes.begin(), end, opcode) != end;
}

}  // namespace nbdgw::iscsi_target
