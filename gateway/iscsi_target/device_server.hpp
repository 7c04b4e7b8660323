#pragma once

#include <sys/uio.h>

#include <cstdint>
#include <optional>
#include <span>

#include "gateway/iscsi_target/logical_unit.hpp"
#include "proto/scsi/constants.hpp"
#include "proto/scsi/sense.hpp"

/// The SCSI device server: what a CDB asks for, and doing it (SPC-5, SBC-4). Knows nothing of iSCSI.
namespace nbdgw::iscsi_target {

enum class Operation : std::uint8_t {
  none,  // refused
  test_unit_ready,
  request_sense,
  inquiry,
  mode_sense,
  read_capacity_10,
  read_capacity_16,
  report_luns,
  read,
  write,
  synchronize_cache,
  unmap,
  write_same,
  get_lba_status,
  pre_fetch,
  verify,
};

enum class DataDirection : std::uint8_t { none, in, out };

/// A CDB taken apart and judged, before any data moves.
struct Plan {
  Operation operation = Operation::none;
  DataDirection direction = DataDirection::none;
  std::uint32_t length = 0;  // bytes to move: of data-out exactly, of data-in at most
  std::uint64_t lba = 0;
  std::uint64_t blocks = 0;
  bool fua = false;
  bool unmap = false;                         // WRITE SAME
  bool no_data_out = false;                   // WRITE SAME
  bool compare = false;                       // VERIFY
  std::optional<proto::scsi::Sense> refusal;  // CHECK CONDITION with this, at once
};

/// Judges a CDB for a logical unit; null: there is none of that number. `cdb` has 16 bytes, zeroes behind a shorter
/// one.
Plan plan_command(std::span<const std::uint8_t, 16> cdb, const LogicalUnit* unit);

/// A command to execute, and then what came of it.
struct Execution {
  const Plan& plan;
  std::span<const std::uint8_t, 16> cdb;
  const TargetNode& target;
  const LogicalUnit* unit;                    // null: see plan_command()
  std::uint64_t lun;                          // as it was addressed
  std::span<const iovec> data;                // data-out: all of it that the initiator had; data-in: room
  std::uint32_t data_length;                  // bytes in `data`
  std::optional<proto::scsi::Sense> pending;  // for REQUEST SENSE: what it should tell

  proto::scsi::Status status = proto::scsi::Status::good;
  proto::scsi::Sense sense{};  // with CHECK CONDITION
  std::uint32_t moved = 0;     // bytes the command wanted to move, with or without room
};

/// Executes a command that was not refused.
void execute(Execution& execution);

/// Commands that are executed although a unit attention is pending (SAM-5 5.14).
constexpr bool ignores_unit_attention(Operation operation) noexcept {
  return operation == Operation::inquiry || operation == Operation::report_luns ||
         operation == Operation::request_sense;
}

proto::scsi::Sense make_sense(proto::scsi::SenseKey key, proto::scsi::AdditionalSense code);
proto::scsi::Sense illegal_request(proto::scsi::AdditionalSense code);

namespace detail {

// The two halves of execute().
void execute_on_medium(Execution& execution);
void execute_inquiry(Execution& execution);
void execute_parameters(Execution& execution);

void check_condition(Execution& execution, const proto::scsi::Sense& sense);
/// Puts parameter data in, cut at the allocation length.
void answer(Execution& execution, std::span<const std::uint8_t> parameters, std::uint64_t allocation_length);

}  // namespace detail

}  // namespace nbdgw::iscsi_target
