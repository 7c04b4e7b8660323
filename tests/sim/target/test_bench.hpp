#pragma once

#include <algorithm>
#include <string>
#include <vector>

#include "tests/sim/target/test_raw_initiator.hpp"

namespace nbdgw::sim {

/// Keeps what the target complains about, and whose writes took effect.
class Ears final : public ProtocolComplaints, public TargetObserver {
 public:
  void on_violation(const std::string& what) override { complaints.push_back(what); }
  void on_write(const WriteEvent& event) override { writes.push_back(event.origin); }
  bool heard(const std::string& part) const {
    return std::ranges::any_of(complaints, [&](const auto& each) { return each.find(part) != std::string::npos; });
  }

  std::vector<std::string> complaints;
  std::vector<Origin> writes;
};

/// Two controllers, LUN 0, and a disk that is not mapped.
inline TargetOptions plain_options(Ears& ears) {
  TargetOptions options;
  options.media = {MediumOptions{}, MediumOptions{.serial = "0002", .naa = 0x6001405000000002}};
  options.luns = {{.number = 0, .medium = 0}};
  options.controllers = {{.addresses = {"10.1.0.1:3260"}, .group_tag = 1},
                         {.addresses = {"10.1.0.2:3260"}, .group_tag = 2}};
  options.complaints = &ears;
  options.observer = &ears;
  return options;
}

inline Buffer pattern(std::size_t size, std::uint8_t first) {
  Buffer data(size);
  for (std::size_t i = 0; i < size; ++i) data[i] = static_cast<std::uint8_t>(first + i * 7 + i / 256);
  return data;
}

inline Buffer block_cdb(std::uint8_t operation, std::uint32_t lba, std::uint32_t blocks) {
  Buffer cdb(16);
  cdb[0] = operation;
  if (operation >= 0x80) {
    put_be64(&cdb[2], lba);
    put_be32(&cdb[10], blocks);
  } else {
    put_be32(&cdb[2], lba);
    put_be16(&cdb[7], blocks);
  }
  return cdb;
}

inline Buffer inquiry(std::uint8_t page) {
  return {scsi::kInquiry, 1, page, 0, 255, 0};
}

/// A target, and an initiator that has not logged in.
struct BenchWorld {
  explicit BenchWorld(const TargetOptions& options, std::uint64_t seed = 1)
      : target(timeline, Random(seed), options), initiator(timeline, target) {}

  Timeline timeline;
  Target target;
  RawInitiator initiator;
};

/// For a fixture: change the options, then make a BenchWorld of them.
struct Bench {
  Bench() : options(plain_options(ears)) {}

  Ears ears;
  TargetOptions options;
};

inline const Buffer kTestUnitReady{0, 0, 0, 0, 0, 0};

}  // namespace nbdgw::sim
