#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

/// What can be made to go wrong at the embedded target, as plain values. tests/FAULTS.md says it for those who post
/// them; faults.hpp makes them happen.
namespace nbdgw::iscsi_target {

enum class FaultKind : std::uint8_t {
  hang_task,        // a SCSI command is taken and never executed, or never answered
  hang_lun,         // every command for a LUN hangs
  hang_tmf,         // a task management request gets no answer and has no effect
  refuse_tmf,       // and gets an answer without effect
  tmf_lies,         // and gets an answer, but the tasks it named run later
  delay,            // the answer of a SCSI command is late
  drop_connection,  // the socket is closed hard, or stops sending
  busy,             // status BUSY
  task_set_full,    // status TASK SET FULL
  unit_attention,   // CHECK CONDITION with sense key 6
  check_condition,  // CHECK CONDITION
  digest_error,     // a PDU leaves with a wrong digest
  reject,           // a SCSI command is answered with a Reject
  async_event,      // an Async Message
  freeze_window,    // MaxCmdSN does not grow
  login_refuse,     // logins get a status
  redirect,         // logins are sent elsewhere
  power_loss,       // what was not flushed is gone
  write_protect,    // a LUN is write protected
  thin_full,        // what would need new space is refused
  slow_write,       // a write takes its time, whatever becomes of its session
  late_data,        // a reset forgets the writes whose data is to come, and executes them when it comes
  short_data,       // not all of the data of a command that ends well is moved
  freeze_portal,    // a portal group neither reads nor sends
  identity,         // a LUN says that it is another disk
  refuse_vpd,       // a page of vital product data is refused
  write_same_16,    // WRITE SAME counts in 16 bits, and reads 0 as "to the end"
  quiet_login,      // a session that begins has no unit attention
  capacity,         // a LUN tells another size
};

/// All forms of a command that a scope can name at once.
enum class CommandGroup : std::uint8_t { read, write, flush, unmap, write_same, test_unit_ready };

struct Fault {
  FaultKind kind{};

  // Scope: whom it is about; nothing: everybody
  std::optional<std::uint32_t> lun;
  std::optional<std::uint32_t> cid;
  std::optional<std::uint32_t> opcode;  // byte 0 of the CDB
  std::optional<CommandGroup> group;

  // Trigger: which of the matches it hits
  bool has_trigger = false;  // any of these was asked for
  std::uint32_t count = 0;   // used up after so many hits; 0: never
  std::uint32_t skip = 0;    // matches that are left alone first
  double probability = 1;    // of those after them
  std::uint64_t seed = 1;    // of the draws

  // Parameters; which of them count depends on the kind
  bool executed = false;
  bool late_answer = false;
  bool half_close = false;
  bool in_data = false;  // where: data
  bool permanent = false;
  bool drop = true;
  bool after_loss = false;
  bool reset_waits = false;
  bool good = false;
  bool told = false;
  bool hole = false;
  std::uint32_t function = 0;  // TaskManagementFunction; 0: any
  std::uint32_t response = 0;  // TaskManagementResult
  std::uint32_t delay_ms = 0;
  std::uint32_t key = 0;
  std::uint32_t asc = 0;
  std::uint32_t ascq = 0;
  std::uint32_t reason = 0;  // RejectReason
  std::uint32_t event = 0;   // AsyncEvent
  std::uint32_t parameter1 = 0;
  std::uint32_t parameter2 = 0;
  std::uint32_t parameter3 = 0;
  std::uint32_t status_class = 0;  // of LoginStatus
  std::uint32_t status_detail = 0;
  std::uint32_t bytes = 0;
  std::uint32_t portal = 0;  // TargetPortalGroupTag
  std::uint32_t page = 0;    // of vital product data
  std::uint32_t blocks = 0;  // that a unit says it has
  std::string to;            // TargetAddress
  std::string serial;        // of a unit

  /// Happens when it is posted, and is over then.
  bool at_once() const noexcept;
  /// Nothing triggers it: it is a state as long as it is posted.
  bool is_state() const noexcept;
};

/// One parameter of a kind of fault: its name, what it may be, and where it is kept.
struct FaultParameter {
  enum class Type : std::uint8_t {
    flag,
    number,
    place,    // "header" or "data"
    address,  // "host:port" or "host:port,tpgt"
    serial,   // printable ASCII, not empty
  };
  enum class Need : std::uint8_t { required, defaulted, optional };

  std::string_view name;
  Type type{};
  Need need = Need::defaulted;
  bool Fault::*flag = nullptr;             // flag, place
  std::uint32_t Fault::*number = nullptr;  // number; an optional one that is not given is 0
  std::uint32_t least = 0;                 // of a number
  std::uint32_t most = 0;
  std::uint32_t standard = 0;  // the default of a flag or number
};

/// What a kind of fault is called, and what can be said about it.
struct FaultTraits {
  FaultKind kind{};
  std::string_view name;
  bool lun = false;  // which scopes it has
  bool cid = false;
  bool opcode = false;
  bool trigger = false;
  bool needs_lun = false;
  std::span<const FaultParameter> parameters{};
};

std::span<const FaultTraits> all_fault_traits() noexcept;
const FaultTraits& traits(FaultKind kind) noexcept;
/// Null: there is no such kind.
const FaultTraits* find_fault(std::string_view name) noexcept;

/// A fault of this kind with all its defaults.
Fault default_fault(const FaultTraits& kind);

/// "read" and so on.
std::string_view name_of(CommandGroup group) noexcept;
std::optional<CommandGroup> find_command_group(std::string_view name) noexcept;
/// Whether byte 0 of a CDB is one of the group's.
bool is_in(CommandGroup group, std::uint8_t opcode) noexcept;

/// Bounds of what a fault may say.
inline constexpr std::uint32_t kMaxFaultDelayMs = 3'600'000;
inline constexpr std::size_t kMaxSerial = 32;            // bytes
inline constexpr std::size_t kMaxRedirectAddress = 255;  // bytes (RFC 7143 section 13.8: a domain name and a port)

}  // namespace nbdgw::iscsi_target
