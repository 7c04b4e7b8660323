#pragma once

#include <algorithm>
#include <deque>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include <doctest/doctest.h>

#include "gateway/initiator/scsi_command.hpp"
#include "proto/bytes/iovecs.hpp"
#include "proto/scsi/capacity.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/inquiry.hpp"
#include "proto/scsi/mode.hpp"
#include "proto/scsi/report_luns.hpp"
#include "proto/scsi/sense.hpp"

namespace device_test {

namespace initiator = nbdgw::initiator;
namespace scsi = nbdgw::proto::scsi;
using nbdgw::proto::Micros;

/// Keeps what is queued until the test answers it.
class FakeTransport final : public initiator::CommandTransport {
 public:
  void queuecommand(initiator::ScsiCommand& command, Micros) override {
    REQUIRE(command.outcome == initiator::Outcome::pending);
    REQUIRE(nbdgw::proto::total_length(command.data) == command.data_length);
    queued.push_back(&command);
    ++count;
  }

  std::deque<initiator::ScsiCommand*> queued;
  int count = 0;
};

/// Ends a command with CHECK CONDITION.
inline void check_condition(initiator::ScsiCommand& command, scsi::SenseKey key, scsi::AdditionalSense code,
                            bool deferred = false) {
  command.outcome = initiator::Outcome::completed;
  command.status = static_cast<std::uint8_t>(scsi::Status::check_condition);
  scsi::Sense sense{key, code.asc, code.ascq, deferred, {}};
  command.sense_length = static_cast<std::uint8_t>(scsi::build_fixed_sense(sense, command.sense));
  command.residual_underflow = command.data_length;
}

/// Ends a command with a status that has no sense.
inline void status(initiator::ScsiCommand& command, scsi::Status value) {
  command.outcome = initiator::Outcome::completed;
  command.status = static_cast<std::uint8_t>(value);
  command.residual_underflow = command.data_length;
}

/// Ends a command with GOOD and this data, cut to what was asked for.
inline void good(initiator::ScsiCommand& command, std::span<const std::uint8_t> data) {
  const std::size_t length = std::min<std::size_t>(data.size(), command.data_length);
  if (length != 0) nbdgw::proto::copy_in(command.data, 0, data.data(), length);
  command.outcome = initiator::Outcome::completed;
  command.status = static_cast<std::uint8_t>(scsi::Status::good);
  command.residual_underflow = command.data_length - static_cast<std::uint32_t>(length);
  command.transferred = static_cast<std::uint32_t>(length);
}

/// A disk that answers as a good one does; its pages can be changed or taken away.
struct FakeDisk {
  scsi::StandardInquiry inquiry{.vendor = "NBDGW", .product = "a disk", .revision = "1.0"};
  scsi::SupportedPages pages;
  std::string serial = "S123";
  scsi::DeviceIdentification identification;
  scsi::BlockLimits limits{.max_transfer = 4096,
                           .optimal_transfer = 128,
                           .max_unmap_lba_count = 100'000,
                           .max_unmap_descriptor_count = 1,
                           .optimal_unmap_granularity = 8,
                           .unmap_granularity_alignment = 3,
                           .max_write_same = 20'000};
  scsi::BlockDeviceCharacteristics characteristics{scsi::BlockDeviceCharacteristics::kNonRotating};
  scsi::LogicalBlockProvisioning provisioning{.lbpu = true, .lbpws = true, .lbprz = 1};
  scsi::Capacity capacity{.last_lba = 2'000'000 - 1,
                          .block_length = 512,
                          .blocks_per_physical_exponent = 3,
                          .lbpme = true,
                          .lbprz = true};
  scsi::ModeParameters mode{.write_protected = false, .dpofua = true, .write_cache_enabled = false};
  bool knows_capacity_16 = true;
  bool knows_mode_6 = true;
  bool knows_mode_10 = true;
  bool knows_caching_page = true;
  bool sense_with_good = true;  // as tgtd does
  bool tells_residual = true;   // else the end of a command looks as if all had come that was asked for

  FakeDisk() {
    for (const int page : {0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2})
      pages.supported[static_cast<std::size_t>(page)] = true;
    identification.designators.push_back(
        {scsi::DesignatorType::naa, scsi::Association::logical_unit, 1, {0x60, 0x01, 0x40, 0x5a}});
  }

  std::optional<std::vector<std::uint8_t>> vpd(std::uint8_t page) const {
    if (!pages.has(page)) return std::nullopt;
    switch (page) {
      case 0x00:
        return pages.build();
      case 0x80:
        return scsi::UnitSerialNumber{serial}.build();
      case 0x83:
        return identification.build();
      case 0xb0:
        return limits.build();
      case 0xb1:
        return characteristics.build();
      case 0xb2:
        return provisioning.build();
      default:
        return std::nullopt;
    }
  }

  /// The data of the answer, or nothing for "I do not know this".
  std::optional<std::vector<std::uint8_t>> data_for(std::span<const std::uint8_t> cdb) const {
    if (const auto question = scsi::Inquiry::parse(cdb))
      return question->evpd ? vpd(question->page) : std::optional(inquiry.build());
    if (scsi::ReadCapacity16::parse(cdb)) return knows_capacity_16 ? std::optional(capacity.build16()) : std::nullopt;
    if (cdb[0] == static_cast<std::uint8_t>(scsi::Opcode::read_capacity_10)) return capacity.build10();
    if (const auto question = scsi::ModeSense::parse(cdb)) {
      if (!(question->ten ? knows_mode_10 : knows_mode_6)) return std::nullopt;
      if (question->page == scsi::mode_page::kCaching && !knows_caching_page) return std::nullopt;
      scsi::ModeParameters answer = mode;
      if (!knows_caching_page) answer.write_cache_enabled.reset();
      return answer.build(question->ten);
    }
    if (cdb[0] == static_cast<std::uint8_t>(scsi::Opcode::test_unit_ready)) return std::vector<std::uint8_t>();
    return std::nullopt;
  }

  void answer(initiator::ScsiCommand& command) const {
    const auto data = data_for(std::span(command.cdb).first(command.cdb_length));
    if (!data) return check_condition(command, scsi::SenseKey::illegal_request, scsi::asc::kInvalidFieldInCdb);
    check_condition(command, scsi::SenseKey::illegal_request, scsi::asc::kLogicalUnitNotSupported);
    if (!sense_with_good) command.sense_length = 0;
    good(command, *data);
    if (!tells_residual) command.residual_underflow = 0;
  }
};

}  // namespace device_test
