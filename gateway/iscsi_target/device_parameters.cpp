#include <array>

#include "gateway/iscsi_target/device_server.hpp"
#include "gateway/iscsi_target/medium_limits.hpp"
#include "proto/bytes/endian.hpp"
#include "proto/scsi/capacity.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/inquiry.hpp"
#include "proto/scsi/lun.hpp"
#include "proto/scsi/mode.hpp"
#include "proto/scsi/report_luns.hpp"

namespace nbdgw::iscsi_target::detail {

namespace scsi = proto::scsi;

namespace {

constexpr std::string_view kVendor = "NBDGW";
constexpr std::string_view kProduct = "EMBEDDED TARGET";
constexpr std::string_view kRevision = "0001";
constexpr scsi::AdditionalSense kSavingParametersNotSupported{0x39, 0x00};

std::vector<std::uint8_t> standard_inquiry(const LogicalUnit* unit, bool lun_zero) {
  scsi::StandardInquiry inquiry;
  if (unit == nullptr) {
    // LUN 0 could be there; others never will (SPC-5 6.7.2). An initiator that scans asks LUN 0 for the others.
    inquiry.qualifier = lun_zero ? scsi::peripheral::kNotConnected : scsi::peripheral::kNotSupported;
    inquiry.device_type = scsi::peripheral::kUnknown;
  }
  inquiry.vendor = kVendor;
  inquiry.product = kProduct;
  inquiry.revision = kRevision;
  return inquiry.build();
}

std::vector<std::uint8_t> device_identification(const LogicalUnit& unit) {
  scsi::DeviceIdentification page;
  scsi::Designator naa{.type = scsi::DesignatorType::naa, .value = std::vector<std::uint8_t>(8)};
  proto::store_be64(naa.value.data(), unit.naa());
  page.designators.push_back(std::move(naa));
  std::string name(kVendor);
  name.resize(8, ' ');
  name += unit.serial();
  page.designators.push_back({.type = scsi::DesignatorType::t10_vendor_id,
                              .code_set = 2,
                              .value = std::vector<std::uint8_t>(name.begin(), name.end())});
  return page.build();
}

std::vector<std::uint8_t> block_limits(const LogicalUnit& unit) {
  const std::uint32_t block = unit.block_size();
  const std::uint32_t granularity = std::max(unit.medium().discard_granularity() / block, 1U);
  scsi::BlockLimits limits;
  limits.write_same_no_zero = !unit.counts_in_16_bits();
  limits.optimal_transfer_granularity = static_cast<std::uint16_t>(4096 / block);
  limits.max_transfer = unit.max_transfer_blocks();
  limits.optimal_transfer = kOptimalTransferBytes / block;
  limits.max_unmap_lba_count = static_cast<std::uint32_t>(kMaxUnmapBytes / block);
  limits.max_unmap_descriptor_count = kMaxUnmapDescriptors;
  limits.optimal_unmap_granularity = granularity;
  limits.unmap_granularity_alignment = 0;
  limits.max_write_same = unit.counts_in_16_bits() ? 0 : kMaxWriteSameBytes / block;
  return limits.build();
}

std::optional<std::vector<std::uint8_t>> vital_product_data(const LogicalUnit& unit, std::uint8_t page) {
  switch (page) {
    case scsi::vpd::kSupportedPages: {
      scsi::SupportedPages pages;
      for (const auto each :
           {scsi::vpd::kSupportedPages, scsi::vpd::kUnitSerialNumber, scsi::vpd::kDeviceIdentification,
            scsi::vpd::kBlockLimits, scsi::vpd::kBlockDeviceCharacteristics, scsi::vpd::kLogicalBlockProvisioning})
        pages.supported[each] = true;
      return pages.build();
    }
    case scsi::vpd::kUnitSerialNumber:
      return scsi::UnitSerialNumber{.serial = unit.serial()}.build();
    case scsi::vpd::kDeviceIdentification:
      return device_identification(unit);
    case scsi::vpd::kBlockLimits:
      return block_limits(unit);
    case scsi::vpd::kBlockDeviceCharacteristics:
      return scsi::BlockDeviceCharacteristics{.rotation_rate = scsi::BlockDeviceCharacteristics::kNonRotating}
          .build();
    case scsi::vpd::kLogicalBlockProvisioning:
      return scsi::LogicalBlockProvisioning{
          .lbpu = true, .lbpws = true, .lbpws10 = true, .lbprz = 1, .provisioning_type = 2}
          .build();
    default:
      return std::nullopt;
  }
}

void mode_sense(Execution& execution) {
  const auto cdb = scsi::ModeSense::parse(execution.cdb);
  if (cdb->page_control == 3) return check_condition(execution, illegal_request(kSavingParametersNotSupported));
  if ((cdb->page != scsi::mode_page::kCaching && cdb->page != scsi::mode_page::kAll) ||
      (cdb->subpage != 0 && cdb->subpage != 0xff))
    return check_condition(execution, illegal_request(scsi::asc::kInvalidFieldInCdb));
  // Of the changeable values (page control 1) there are none: all bits of the page are zero.
  const bool write_cache = cdb->page_control != 1 && execution.unit->write_cache();
  const scsi::ModeParameters parameters{
      .write_protected = execution.unit->write_protected(), .dpofua = true, .write_cache_enabled = write_cache};
  answer(execution, parameters.build(cdb->ten), cdb->allocation_length);
}

void read_capacity(Execution& execution) {
  const LogicalUnit& unit = *execution.unit;
  const scsi::Capacity capacity{
      .last_lba = unit.told_blocks() - 1,
      .block_length = unit.block_size(),
      .blocks_per_physical_exponent = static_cast<std::uint8_t>(unit.block_size() == 512 ? 3 : 0),
      .lbpme = true,
      .lbprz = true};
  answer(execution, execution.plan.operation == Operation::read_capacity_10 ? capacity.build10() : capacity.build16(),
         execution.plan.length);
}

void report_luns(Execution& execution) {
  const auto cdb = scsi::ReportLuns::parse(execution.cdb);
  std::vector<std::uint64_t> luns;
  // select report 1: well-known logical units only, of which there are none.
  if (cdb->select_report != 1)
    for (const LogicalUnit& unit : execution.target.units) luns.push_back(unit.lun());
  answer(execution, scsi::LunList::build(luns), cdb->allocation_length);
}

void request_sense(Execution& execution) {
  const auto cdb = scsi::RequestSense::parse(execution.cdb);
  std::array<std::uint8_t, scsi::kMaxDescriptorSenseLength> data{};
  scsi::Sense sense = execution.pending.value_or(scsi::Sense{});
  if (execution.unit == nullptr) sense = illegal_request(scsi::asc::kLogicalUnitNotSupported);
  const std::size_t length =
      cdb->descriptor_format ? scsi::build_descriptor_sense(sense, data) : scsi::build_fixed_sense(sense, data);
  answer(execution, std::span(data).first(length), cdb->allocation_length);
}

}  // namespace

void execute_inquiry(Execution& execution) {
  const auto cdb = scsi::Inquiry::parse(execution.cdb);
  if (!cdb->evpd) {
    if (cdb->page != 0) return check_condition(execution, illegal_request(scsi::asc::kInvalidFieldInCdb));
    return answer(execution, standard_inquiry(execution.unit, execution.lun == 0), cdb->allocation_length);
  }
  if (execution.unit == nullptr)
    return check_condition(execution, illegal_request(scsi::asc::kLogicalUnitNotSupported));
  const auto page = vital_product_data(*execution.unit, cdb->page);
  if (!page) return check_condition(execution, illegal_request(scsi::asc::kInvalidFieldInCdb));
  answer(execution, *page, cdb->allocation_length);
}

void execute_parameters(Execution& execution) {
  switch (execution.plan.operation) {
    case Operation::request_sense:
      return request_sense(execution);
    case Operation::mode_sense:
      return mode_sense(execution);
    case Operation::report_luns:
      return report_luns(execution);
    default:
      return read_capacity(execution);
  }
}

}  // namespace nbdgw::iscsi_target::detail
