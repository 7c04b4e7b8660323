#pragma once

#include <optional>

#include "gateway/iscsi_target/faults.hpp"
#include "gateway/iscsi_target/volatile_medium.hpp"
#include "tests/unit/iscsi_target/peer.hpp"

/// A target with faults, and what its tests say often.
namespace nbdgw::test {

using iscsi_target::CommandGroup;
using iscsi_target::Fault;
using iscsi_target::FaultKind;
using iscsi_target::Faults;

inline constexpr std::uint64_t kLun1 = 1ULL << 48;
inline constexpr std::uint64_t kLun2 = 2ULL << 48;

/// World with faults; LUN 1 has a write cache that can be lost.
struct Faulty {
  Faulty() : Faulty([](iscsi_target::ServerOptions&) {}) {}
  template <typename Change>
  explicit Faulty(Change change)
      : world(
            [&](iscsi_target::ServerOptions& options) {
              auto& medium = options.targets[0].luns[0].medium;
              medium = &cache.emplace(*medium);
              change(options);
            },
            &faults) {
    faults.bind(*world.server);
  }

  /// Posts a fault; returns its number.
  template <typename Change>
  std::uint32_t post(FaultKind kind, Change change) {
    Fault fault = default_fault(traits(kind));
    change(fault);
    const auto* posted = faults.add(fault, world.now);
    REQUIRE(posted != nullptr);
    return posted->id;
  }
  std::uint32_t post(FaultKind kind) {
    return post(kind, [](Fault&) {});
  }
  const Faults::Posted& posted(std::uint32_t id) const {
    for (const auto& each : faults.posted())
      if (each.id == id) return each;
    FAIL("there is no such fault");
    return faults.posted().front();
  }
  bool remove(std::uint32_t id) { return faults.remove(id, world.now); }
  void pass_time(proto::Micros time) {
    world.now += time;
    if (world.now >= faults.next_deadline()) faults.on_deadline(world.now);
  }

  Faults faults;
  std::optional<iscsi_target::VolatileMedium> cache;
  World world;
};

/// The end of a command: its status and, with CHECK CONDITION, key << 16 | asc << 8 | ascq.
struct End {
  std::uint32_t itt = 0;
  std::uint8_t status = 0;
  std::uint32_t sense = 0;
  std::uint32_t max_cmd_sn = 0;
};

inline End end_of_next(Peer& peer) {
  const auto response = peer.receive_as<iscsi::ScsiResponse>(iscsi::Opcode::scsi_response);
  End end{.itt = response.itt, .status = response.status.status, .max_cmd_sn = response.sequence.max_cmd_sn};
  if (end.status == 2) {
    REQUIRE(peer.data.size() == 20);
    end.sense = (peer.data[4] & 15U) << 16 | std::uint32_t{peer.data[14]} << 8 | peer.data[15];
  }
  return end;
}

/// TEST UNIT READY, and how it ends.
inline End test_unit(Peer& peer, std::uint64_t lun = kLun1) {
  peer.command(scsi::test_unit_ready(), {}, lun);
  return end_of_next(peer);
}

/// WRITE of one block of 512 bytes that comes along.
inline std::uint32_t write_block(Peer& peer, std::uint64_t lba, std::uint8_t value, bool fua = false) {
  return peer.command(Peer::write_cdb(lba, 1, fua), {.write = true, .length = 512}, kLun1, Bytes(512, value));
}

/// What a block of LUN 1 has, as the medium stores it.
inline std::uint8_t stored(Faulty& faulty, std::uint64_t lba) {
  Bytes block(512);
  const iovec to{block.data(), block.size()};
  REQUIRE(faulty.cache->read(lba * 512, {&to, 1}) == iscsi_target::MediumResult::ok);
  CHECK(std::all_of(block.begin(), block.end(), [&](auto byte) { return byte == block[0]; }));
  return block[0];
}

inline void request_management(Peer& peer, iscsi::TaskManagementFunction function, std::uint64_t lun,
                               std::uint32_t tag = iscsi::kReservedTag, std::uint32_t ref_cmd_sn = 0) {
  peer.send(iscsi::TaskManagementRequest{.function = function,
                                         .lun = lun,
                                         .itt = 7000,
                                         .referenced_task_tag = tag,
                                         .cmd_sn = peer.cmd_sn,
                                         .ref_cmd_sn = ref_cmd_sn});
}

/// Task management, and its answer.
inline iscsi::TaskManagementResponse manage(Peer& peer, iscsi::TaskManagementFunction function, std::uint64_t lun,
                                            std::uint32_t tag = iscsi::kReservedTag, std::uint32_t ref_cmd_sn = 0) {
  request_management(peer, function, lun, tag, ref_cmd_sn);
  const auto response = peer.receive_as<iscsi::TaskManagementResponse>(iscsi::Opcode::task_management_response);
  CHECK(response.itt == 7000);
  return response;
}

}  // namespace nbdgw::test
