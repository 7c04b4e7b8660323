#include "gateway/iscsi_target/device_server.hpp"
#include "gateway/iscsi_target/medium_limits.hpp"
#include "proto/scsi/cdb.hpp"

namespace nbdgw::iscsi_target {

namespace scsi = proto::scsi;

namespace {

using Cdb = std::span<const std::uint8_t, 16>;

Plan refuse(scsi::AdditionalSense code, scsi::SenseKey key = scsi::SenseKey::illegal_request) {
  Plan plan;
  plan.refusal = make_sense(key, code);
  return plan;
}

Plan parameters(Operation operation, std::uint32_t allocation_length) {
  Plan plan;
  plan.operation = operation;
  plan.direction = DataDirection::in;
  plan.length = allocation_length;
  return plan;
}

/// Whether the range lies inside the medium, and the medium may be changed if it will be.
std::optional<Plan> check_range(const LogicalUnit& unit, std::uint64_t lba, std::uint64_t blocks, bool changes) {
  if (lba > unit.blocks() || blocks > unit.blocks() - lba) return refuse(scsi::asc::kLbaOutOfRange);
  if (changes && unit.read_only()) return refuse(scsi::asc::kWriteProtected, scsi::SenseKey::data_protect);
  return std::nullopt;
}

Plan on_blocks(Operation operation, std::uint64_t lba, std::uint64_t blocks) {
  Plan plan;
  plan.operation = operation;
  plan.lba = lba;
  plan.blocks = blocks;
  return plan;
}

Plan plan_read_write(const scsi::ReadWrite& cdb, const LogicalUnit& unit) {
  if (cdb.protect != 0 || cdb.blocks > unit.max_transfer_blocks()) return refuse(scsi::asc::kInvalidFieldInCdb);
  if (auto refused = check_range(unit, cdb.lba, cdb.blocks, cdb.write)) return *refused;
  Plan plan = on_blocks(cdb.write ? Operation::write : Operation::read, cdb.lba, cdb.blocks);
  plan.direction = cdb.write ? DataDirection::out : DataDirection::in;
  plan.length = cdb.blocks * unit.block_size();
  plan.fua = cdb.fua;
  return plan;
}

Plan plan_write_same(scsi::WriteSame cdb, const LogicalUnit& unit) {
  if (unit.counts_in_16_bits() && cdb.lba < unit.blocks()) {
    cdb.blocks &= 0xffff;
    if (cdb.blocks == 0) cdb.blocks = static_cast<std::uint32_t>(unit.blocks() - cdb.lba);
  }
  if (cdb.protect != 0 || cdb.anchor || cdb.blocks == 0 ||
      (!unit.counts_in_16_bits() && cdb.blocks > kMaxWriteSameBytes / unit.block_size()))
    return refuse(scsi::asc::kInvalidFieldInCdb);
  if (auto refused = check_range(unit, cdb.lba, cdb.blocks, true)) return *refused;
  Plan plan = on_blocks(Operation::write_same, cdb.lba, cdb.blocks);
  plan.unmap = cdb.unmap;
  plan.no_data_out = cdb.no_data_out;
  if (!cdb.no_data_out) {
    plan.direction = DataDirection::out;
    plan.length = unit.block_size();
  }
  return plan;
}

Plan plan_verify(const scsi::Verify& cdb, const LogicalUnit& unit) {
  if (cdb.protect != 0 || cdb.byte_check > 1 || cdb.blocks > unit.max_transfer_blocks())
    return refuse(scsi::asc::kInvalidFieldInCdb);
  if (auto refused = check_range(unit, cdb.lba, cdb.blocks, false)) return *refused;
  Plan plan = on_blocks(Operation::verify, cdb.lba, cdb.blocks);
  if (cdb.byte_check == 1) {
    plan.compare = true;
    plan.direction = DataDirection::out;
    plan.length = cdb.blocks * unit.block_size();
  }
  return plan;
}

Plan plan_unmap(const scsi::Unmap& cdb, const LogicalUnit& unit) {
  if (cdb.anchor) return refuse(scsi::asc::kInvalidFieldInCdb);
  if (unit.read_only()) return refuse(scsi::asc::kWriteProtected, scsi::SenseKey::data_protect);
  Plan plan;
  plan.operation = Operation::unmap;
  plan.direction = DataDirection::out;
  plan.length = cdb.parameter_list_length;
  return plan;
}

Plan plan_simple_range(Operation operation, std::uint64_t lba, std::uint64_t blocks, const LogicalUnit& unit) {
  if (auto refused = check_range(unit, lba, blocks, false)) return *refused;
  return on_blocks(operation, lba, blocks);
}

/// Commands that any LUN answers, there or not (SPC-5 6.7, 6.33, 6.39).
std::optional<Plan> plan_universal(Cdb cdb) {
  if (const auto inquiry = scsi::Inquiry::parse(cdb))
    return parameters(Operation::inquiry, inquiry->allocation_length);
  if (const auto luns = scsi::ReportLuns::parse(cdb)) {
    if (luns->allocation_length < 16 || luns->select_report > 2) return refuse(scsi::asc::kInvalidFieldInCdb);
    return parameters(Operation::report_luns, luns->allocation_length);
  }
  if (const auto sense = scsi::RequestSense::parse(cdb))
    return parameters(Operation::request_sense, sense->allocation_length);
  return std::nullopt;
}

Plan plan_service_action(Cdb cdb, const LogicalUnit& unit) {
  if (const auto capacity = scsi::ReadCapacity16::parse(cdb))
    return parameters(Operation::read_capacity_16, capacity->allocation_length);
  if (const auto status = scsi::GetLbaStatus::parse(cdb)) {
    if (status->lba >= unit.blocks()) return refuse(scsi::asc::kLbaOutOfRange);
    Plan plan = parameters(Operation::get_lba_status, status->allocation_length);
    plan.lba = status->lba;
    return plan;
  }
  return refuse(scsi::asc::kInvalidFieldInCdb);  // another service action
}

}  // namespace

Plan plan_command(Cdb cdb, const LogicalUnit* unit) {
  if (auto plan = plan_universal(cdb)) return *plan;
  if (unit == nullptr) return refuse(scsi::asc::kLogicalUnitNotSupported);
  switch (static_cast<scsi::Opcode>(cdb[0])) {
    case scsi::Opcode::test_unit_ready:
      return on_blocks(Operation::test_unit_ready, 0, 0);
    case scsi::Opcode::mode_sense_6:
    case scsi::Opcode::mode_sense_10:
      return parameters(Operation::mode_sense, scsi::ModeSense::parse(cdb)->allocation_length);
    case scsi::Opcode::read_capacity_10:
      return parameters(Operation::read_capacity_10, 8);
    case scsi::Opcode::service_action_in_16:
      return plan_service_action(cdb, *unit);
    case scsi::Opcode::read_10:
    case scsi::Opcode::write_10:
    case scsi::Opcode::read_16:
    case scsi::Opcode::write_16:
      return plan_read_write(*scsi::ReadWrite::parse(cdb), *unit);
    case scsi::Opcode::synchronize_cache_10:
    case scsi::Opcode::synchronize_cache_16: {
      const auto sync = scsi::SynchronizeCache::parse(cdb);
      return plan_simple_range(Operation::synchronize_cache, sync->lba, sync->blocks, *unit);
    }
    case scsi::Opcode::unmap:
      return plan_unmap(*scsi::Unmap::parse(cdb), *unit);
    case scsi::Opcode::write_same_10:
    case scsi::Opcode::write_same_16:
      return plan_write_same(*scsi::WriteSame::parse(cdb), *unit);
    case scsi::Opcode::pre_fetch_16: {
      const auto fetch = scsi::PreFetch::parse(cdb);
      return plan_simple_range(Operation::pre_fetch, fetch->lba, fetch->blocks, *unit);
    }
    case scsi::Opcode::verify_16:
      return plan_verify(*scsi::Verify::parse(cdb), *unit);
    default:
      return refuse(scsi::asc::kInvalidOpcode);
  }
}

}  // namespace nbdgw::iscsi_target
