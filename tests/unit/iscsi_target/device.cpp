#include "gateway/iscsi_target/device_server.hpp"

#include <cstring>
#include <optional>

#include <doctest/doctest.h>

#include "gateway/iscsi_target/medium_limits.hpp"
#include "gateway/iscsi_target/memory_medium.hpp"
#include "proto/scsi/capacity.hpp"
#include "proto/scsi/cdb.hpp"
#include "proto/scsi/inquiry.hpp"
#include "proto/scsi/lba_status.hpp"
#include "proto/scsi/lun.hpp"
#include "proto/scsi/mode.hpp"
#include "proto/scsi/report_luns.hpp"
#include "proto/scsi/unmap.hpp"
#include "tests/unit/random.hpp"

using namespace nbdgw::iscsi_target;
namespace scsi = nbdgw::proto::scsi;
using Bytes = std::vector<std::uint8_t>;
using scsi::asc::kInvalidFieldInCdb;
using scsi::asc::kLbaOutOfRange;

namespace {

/// A medium that fails when told to.
class MoodyMedium final : public Medium {
 public:
  std::uint64_t size() const noexcept override { return memory.size(); }
  std::uint32_t discard_granularity() const noexcept override { return memory.discard_granularity(); }
  MediumResult read(std::uint64_t o, std::span<const iovec> to) override {
    return mood == MediumResult::ok ? memory.read(o, to) : mood;
  }
  MediumResult write(std::uint64_t o, std::span<const iovec> from) override {
    return mood == MediumResult::ok ? memory.write(o, from) : mood;
  }
  MediumResult flush() override {
    ++flushes;
    return mood;
  }
  MediumResult discard(std::uint64_t o, std::uint64_t n) override {
    return mood == MediumResult::ok ? memory.discard(o, n) : mood;
  }
  MediumResult write_zeroes(std::uint64_t o, std::uint64_t n) override {
    return mood == MediumResult::ok ? memory.write_zeroes(o, n) : mood;
  }
  MediumExtent extent(std::uint64_t o, std::uint64_t n) override { return memory.extent(o, n); }

  MemoryMedium memory{1 << 20};
  MediumResult mood = MediumResult::ok;
  int flushes = 0;
};

struct Device {
  explicit Device(std::uint32_t block = 512, bool read_only = false) {
    node.name = "iqn.2026-11.io.nbdgw:device";
    node.units.emplace_back(
        LunOptions{.number = 1, .medium = &medium, .block_size = block, .read_only = read_only, .serial = "SERIAL7"},
        node.name);
    node.units.emplace_back(LunOptions{.number = 300, .medium = &medium, .block_size = block, .serial = ""},
                            node.name);
  }

  struct Answer {
    scsi::Status status{};
    scsi::Sense sense;
    std::uint32_t moved = 0;
    Bytes data;
    bool is(scsi::SenseKey key, scsi::AdditionalSense code) const {
      return status == scsi::Status::check_condition && sense.is(key, code);
    }
    bool refused(scsi::AdditionalSense code) const { return is(scsi::SenseKey::illegal_request, code); }
  };

  /// `out`: what the initiator sends; `room`: what it has room for.
  Answer run(const scsi::Cdb& cdb, const Bytes& out = {}, std::size_t room = 0, std::uint64_t lun = 1ULL << 48,
             std::optional<scsi::Sense> pending = {}) {
    std::array<std::uint8_t, 16> bytes{};
    std::copy_n(cdb.bytes.begin(), 16, bytes.begin());
    const LogicalUnit* unit = node.find(lun);
    const Plan plan = plan_command(bytes, unit);
    Answer answer;
    if (plan.refusal) {
      answer.status = scsi::Status::check_condition;
      answer.sense = *plan.refusal;
      return answer;
    }
    answer.data = plan.direction == DataDirection::out ? out : Bytes(std::min<std::size_t>(room, plan.length));
    if (plan.direction == DataDirection::out) answer.data.resize(std::min<std::size_t>(out.size(), plan.length));
    const iovec piece{answer.data.data(), answer.data.size()};
    Execution execution{.plan = plan,
                        .cdb = bytes,
                        .target = node,
                        .unit = unit,
                        .lun = lun,
                        .data = {&piece, 1},
                        .data_length = static_cast<std::uint32_t>(answer.data.size()),
                        .pending = pending};
    execute(execution);
    answer.status = execution.status;
    answer.sense = execution.sense;
    answer.moved = execution.moved;
    if (plan.direction == DataDirection::in)
      answer.data.resize(std::min<std::size_t>(answer.data.size(), answer.moved));
    return answer;
  }
  Bytes read(std::uint64_t lba, std::uint32_t blocks) {
    return run(scsi::ReadWrite{.lba = lba, .blocks = blocks}.build(), {}, 1 << 20).data;
  }

  MoodyMedium medium;
  TargetNode node;
};

scsi::Cdb write_cdb(std::uint64_t lba, std::uint32_t blocks, bool fua = false) {
  return scsi::ReadWrite{.write = true, .lba = lba, .blocks = blocks, .fua = fua}.build();
}

}  // namespace

TEST_CASE("device: what it says of itself") {
  Device device;
  const auto inquiry =
      scsi::StandardInquiry::parse(device.run(scsi::Inquiry{.allocation_length = 255}.build(), {}, 255).data);
  REQUIRE(inquiry);
  CHECK(inquiry->vendor == "NBDGW");
  CHECK(inquiry->command_queuing);
  const auto page = [&](std::uint8_t code) {
    return device.run(scsi::Inquiry{.evpd = true, .page = code, .allocation_length = 4096}.build(), {}, 4096);
  };
  const auto pages = scsi::SupportedPages::parse(page(0).data);
  REQUIRE(pages);
  for (int code = 0; code < 256; ++code) {
    const auto answer = page(static_cast<std::uint8_t>(code));
    if (pages->has(static_cast<std::uint8_t>(code)))
      CHECK(answer.status == scsi::Status::good);
    else
      CHECK(answer.refused(kInvalidFieldInCdb));
  }
  CHECK(scsi::UnitSerialNumber::parse(page(0x80).data)->serial == "SERIAL7");
  CHECK(scsi::DeviceIdentification::parse(page(0x83).data)->best()->text().starts_with("naa.3"));
  const auto limits = scsi::BlockLimits::parse(page(0xb0).data);
  CHECK(limits->max_transfer == kMaxTransferBytes / 512);
  CHECK(limits->max_write_same == kMaxWriteSameBytes / 512);
  CHECK(limits->write_same_no_zero);
  CHECK(limits->optimal_unmap_granularity == 128);
  CHECK(scsi::BlockDeviceCharacteristics::parse(page(0xb1).data)->rotation_rate == 1);
  CHECK(scsi::LogicalBlockProvisioning::parse(page(0xb2).data)->lbpu);
  // Cut at the allocation length, and at what the initiator has room for.
  auto answer = device.run(scsi::Inquiry{.allocation_length = 5}.build(), {}, 255);
  CHECK(answer.data.size() == 5);
  answer = device.run(scsi::Inquiry{.allocation_length = 255}.build(), {}, 7);
  CHECK(answer.data.size() == 7);
  CHECK(answer.moved > 7);
  CHECK(device.run(scsi::Inquiry{.page = 1, .allocation_length = 255}.build(), {}, 255).refused(kInvalidFieldInCdb));
}

TEST_CASE("device: capacity, mode, LUNs, sense") {
  Device device(4096, true);
  auto capacity =
      scsi::Capacity::parse16(device.run(scsi::ReadCapacity16{.allocation_length = 32}.build(), {}, 32).data);
  CHECK(capacity->last_lba == 255);
  CHECK(capacity->block_length == 4096);
  CHECK(capacity->lbpme);
  CHECK(capacity->lbprz);
  capacity = scsi::Capacity::parse10(device.run(scsi::read_capacity_10(), {}, 8).data);
  CHECK(capacity->last_lba == 255);

  for (const bool ten : {false, true}) {
    const auto mode = [&](std::uint8_t control, std::uint8_t code) {
      return device.run(
          scsi::ModeSense{.page_control = control, .page = code, .allocation_length = 200, .ten = ten}.build(), {},
          200);
    };
    auto parameters = scsi::ModeParameters::parse(mode(0, 0x3f).data, ten);
    CHECK(parameters->write_protected);
    CHECK(parameters->dpofua);
    CHECK(parameters->write_cache_enabled == true);
    CHECK(scsi::ModeParameters::parse(mode(1, 8).data, ten)->write_cache_enabled == false);
    CHECK(mode(3, 8).refused({0x39, 0x00}));
    CHECK(mode(0, 0x0a).refused(kInvalidFieldInCdb));
  }
  const auto luns = device.run(scsi::ReportLuns{.allocation_length = 256}.build(), {}, 256, 0).data;
  const auto list = scsi::LunList::parse(luns);
  REQUIRE(list->size() == 2);
  CHECK((*list)[0] == 1ULL << 48);
  CHECK((*list)[1] == scsi::encode_lun(300));
  CHECK(device.run(scsi::ReportLuns{.allocation_length = 15}.build(), {}, 256).refused(kInvalidFieldInCdb));

  const auto request = scsi::RequestSense{.allocation_length = 252}.build();
  CHECK(scsi::parse_sense(device.run(request, {}, 252).data)->key == scsi::SenseKey::no_sense);
  const auto pending = make_sense(scsi::SenseKey::unit_attention, scsi::asc::kNexusLoss);
  const auto told = scsi::parse_sense(device.run(request, {}, 252, 1ULL << 48, pending).data);
  CHECK(told->is(scsi::SenseKey::unit_attention, scsi::asc::kNexusLoss));
}

TEST_CASE("device: a LUN that is not there") {
  Device device;
  const std::uint64_t nowhere = 7ULL << 48;
  CHECK(device.run(scsi::test_unit_ready(), {}, 0, nowhere).refused(scsi::asc::kLogicalUnitNotSupported));
  CHECK(device.run(scsi::ReadWrite{.blocks = 1}.build(), {}, 512, nowhere)
            .refused(scsi::asc::kLogicalUnitNotSupported));
  const auto inquiry = scsi::Inquiry{.allocation_length = 255}.build();
  CHECK(device.run(inquiry, {}, 255, nowhere).data[0] == 0x7f);
  CHECK(device.run(inquiry, {}, 255, 0).data[0] == 0x3f);
  CHECK(device.run(scsi::ReportLuns{.allocation_length = 256}.build(), {}, 256, nowhere).data.size() == 24);
}

TEST_CASE("device: every range and field that is wrong is refused before data moves") {
  Device device;  // 2048 blocks
  const auto rw = [](std::uint64_t lba, std::uint32_t blocks) {
    return scsi::ReadWrite{.lba = lba, .blocks = blocks}.build();
  };
  CHECK(device.run(rw(2047, 1), {}, 512).status == scsi::Status::good);
  CHECK(device.run(rw(2048, 0)).status == scsi::Status::good);
  CHECK(device.run(rw(2048, 1)).refused(kLbaOutOfRange));
  CHECK(device.run(rw(2047, 2)).refused(kLbaOutOfRange));
  CHECK(device.run(rw(2049, 0)).refused(kLbaOutOfRange));
  CHECK(device.run(rw(~0ULL, 1)).refused(kLbaOutOfRange));
  CHECK(device.run(rw(0, kMaxTransferBytes / 512 + 1)).refused(kInvalidFieldInCdb));
  CHECK(device.run(scsi::ReadWrite{.blocks = 1, .protect = 1}.build()).refused(kInvalidFieldInCdb));
  CHECK(device.run(scsi::WriteSame{.lba = 0, .blocks = 0}.build()).refused(kInvalidFieldInCdb));
  CHECK(device.run(scsi::WriteSame{.lba = 0, .blocks = 0xffffffff}.build()).refused(kInvalidFieldInCdb));
  CHECK(device.run(scsi::WriteSame{.lba = 2000, .blocks = 49}.build()).refused(kLbaOutOfRange));
  CHECK(device.run(scsi::Verify{.lba = 2048, .blocks = 1}.build()).refused(kLbaOutOfRange));
  CHECK(device.run(scsi::Verify{.lba = 0, .blocks = 1, .byte_check = 2}.build()).refused(kInvalidFieldInCdb));
  CHECK(device.run(scsi::GetLbaStatus{.lba = 2048, .allocation_length = 24}.build()).refused(kLbaOutOfRange));
  CHECK(device.run(scsi::PreFetch{.lba = 2048, .blocks = 1}.build()).refused(kLbaOutOfRange));
  scsi::Cdb odd = scsi::test_unit_ready();
  for (const int opcode : {0x01, 0x7f, 0xc0, 0xff}) {
    odd.bytes[0] = static_cast<std::uint8_t>(opcode);
    CHECK(device.run(odd).refused(scsi::asc::kInvalidOpcode));
  }
  odd = scsi::ReadCapacity16{}.build();
  odd.bytes[1] = 0x1f;
  CHECK(device.run(odd).refused(kInvalidFieldInCdb));
}

TEST_CASE("device: read only") {
  Device device(512, true);
  const auto refused = [&](const scsi::Cdb& cdb, const Bytes& out = {}) {
    return device.run(cdb, out).is(scsi::SenseKey::data_protect, scsi::asc::kWriteProtected);
  };
  CHECK(refused(write_cdb(0, 1), Bytes(512)));
  CHECK(refused(scsi::WriteSame{.blocks = 1}.build(), Bytes(512)));
  CHECK(refused(scsi::Unmap{.parameter_list_length = 24}.build(), Bytes(24)));
  CHECK(device.run(scsi::SynchronizeCache{}.build()).status == scsi::Status::good);
}

TEST_CASE("device: writes of all kinds, and what can be read afterwards") {
  for (const std::uint32_t block : {512U, 4096U}) {
    Device device(block);
    CHECK(device.run(write_cdb(1, 2), Bytes(2 * block, 0x33)).status == scsi::Status::good);
    CHECK(device.read(1, 2) == Bytes(2 * block, 0x33));
    CHECK(device.read(0, 1) == Bytes(block, 0));
    CHECK(device.medium.flushes == 0);
    CHECK(device.run(write_cdb(1, 1, true), Bytes(block, 0x34)).status == scsi::Status::good);
    CHECK(device.medium.flushes == 1);
    CHECK(device.run(scsi::SynchronizeCache{}.build10()).status == scsi::Status::good);
    CHECK(device.medium.flushes == 2);

    Bytes marked(block, 0);
    marked[3] = 9;
    CHECK(device.run(scsi::WriteSame{.lba = 10, .blocks = 50}.build(), marked).status == scsi::Status::good);
    for (std::uint64_t lba = 10; lba < 60; ++lba) REQUIRE(device.read(lba, 1) == marked);
    CHECK(device.run(scsi::WriteSame{.lba = 20, .blocks = 10, .unmap = true}.build(), Bytes(block, 0)).status ==
          scsi::Status::good);
    CHECK(device.read(20, 10) == Bytes(10 * block, 0));
    CHECK(device.read(30, 1) == marked);
    CHECK(device.run(scsi::WriteSame{.lba = 30, .blocks = 5, .no_data_out = true}.build()).status ==
          scsi::Status::good);
    CHECK(device.read(30, 5) == Bytes(5 * block, 0));
    CHECK(device.read(35, 1) == marked);
    CHECK(device.run(scsi::WriteSame{.lba = 0, .blocks = 5}.build(), Bytes(10))
              .refused(scsi::asc::kParameterListLengthError));

    CHECK(device.run(scsi::Verify{.lba = 35, .blocks = 1, .byte_check = 1}.build(), marked).status ==
          scsi::Status::good);
    marked[4] ^= 1;
    CHECK(device.run(scsi::Verify{.lba = 35, .blocks = 1, .byte_check = 1}.build(), marked)
              .is(scsi::SenseKey::miscompare, scsi::asc::kMiscompare));
    CHECK(device.run(scsi::Verify{.lba = 0, .blocks = 100}.build()).status == scsi::Status::good);
    CHECK(device.run(scsi::PreFetch{.lba = 0, .blocks = 8}.build()).status == scsi::Status::condition_met);
  }
}

TEST_CASE("device: UNMAP") {
  Device device;
  device.run(write_cdb(0, 512), Bytes(512 * 512, 0x44));
  const auto unmap = [&](std::initializer_list<scsi::UnmapRange> ranges) {
    Bytes list(scsi::unmap_list_length(ranges.size()));
    scsi::build_unmap_list(std::span(ranges.begin(), ranges.size()), list);
    return device.run(scsi::Unmap{.parameter_list_length = static_cast<std::uint16_t>(list.size())}.build(), list);
  };
  CHECK(unmap({{0, 128}, {200, 1}, {5, 0}}).status == scsi::Status::good);
  CHECK(device.read(0, 128) == Bytes(128 * 512, 0));
  CHECK(device.read(128, 1) == Bytes(512, 0x44));
  CHECK(device.read(200, 1) == Bytes(512, 0));
  CHECK(device.medium.memory.pages() == 3);
  CHECK(unmap({{128, 1}, {2048, 1}}).refused(kLbaOutOfRange));
  CHECK(device.read(128, 1) == Bytes(512, 0x44));  // nothing was done
  CHECK(unmap({}).status == scsi::Status::good);
  CHECK(device.run(scsi::Unmap{}.build()).status == scsi::Status::good);
  CHECK(device.run(scsi::Unmap{.parameter_list_length = 7}.build(), Bytes(7))
            .refused(scsi::asc::kParameterListLengthError));
  CHECK(device.run(scsi::Unmap{.parameter_list_length = 24}.build(), Bytes(8))
            .refused(scsi::asc::kParameterListLengthError));
  CHECK(device.run(scsi::Unmap{.anchor = true, .parameter_list_length = 24}.build(), Bytes(24))
            .refused(kInvalidFieldInCdb));
}

TEST_CASE("device: GET LBA STATUS tells runs, in order and without gaps") {
  Device device;
  device.run(write_cdb(256, 1), Bytes(512, 1));  // one page of 128 blocks
  const auto ask = [&](std::uint64_t lba, std::uint32_t allocation) {
    const auto answer =
        device.run(scsi::GetLbaStatus{.lba = lba, .allocation_length = allocation}.build(), {}, allocation);
    std::vector<scsi::LbaExtent> extents;
    const auto list = scsi::LbaStatusList::parse(answer.data);
    REQUIRE(list);
    for (std::size_t i = 0; i < list->size(); ++i) extents.push_back((*list)[i]);
    return extents;
  };
  using enum scsi::ProvisioningStatus;
  CHECK(ask(0, 24) == std::vector<scsi::LbaExtent>{{0, 256, deallocated}});
  CHECK(ask(3, 4096) ==
        std::vector<scsi::LbaExtent>{{3, 253, deallocated}, {256, 128, mapped_or_unknown}, {384, 1664, deallocated}});
}

TEST_CASE("device: a medium that fails") {
  Device device;
  const auto all = [&](auto check) {
    check(write_cdb(0, 1), Bytes(512), scsi::asc::kWriteError);
    check(scsi::ReadWrite{.blocks = 1}.build(), Bytes(), scsi::asc::kUnrecoveredReadError);
    check(scsi::SynchronizeCache{}.build(), Bytes(), scsi::asc::kWriteError);
    check(scsi::WriteSame{.blocks = 1}.build(), Bytes(512, 1), scsi::asc::kWriteError);
    check(scsi::WriteSame{.blocks = 1, .unmap = true, .no_data_out = true}.build(), Bytes(), scsi::asc::kWriteError);
    check(scsi::Verify{.blocks = 1}.build(), Bytes(), scsi::asc::kUnrecoveredReadError);
  };
  device.medium.mood = MediumResult::io_error;
  all([&](const scsi::Cdb& cdb, const Bytes& out, scsi::AdditionalSense code) {
    const auto answer = device.run(cdb, out, 512);
    CHECK(answer.is(scsi::SenseKey::medium_error, code));
    CHECK(answer.moved == 0);
  });
  device.medium.mood = MediumResult::no_space;
  all([&](const scsi::Cdb& cdb, const Bytes& out, scsi::AdditionalSense) {
    CHECK(device.run(cdb, out, 512).is(scsi::SenseKey::data_protect, scsi::asc::kSpaceAllocationFailed));
  });
}

TEST_CASE("device: any CDB with any data is answered") {
  auto random = nbdgw::test::seeded_random();
  const std::uint8_t opcodes[] = {0x00, 0x03, 0x12, 0x1a, 0x25, 0x28, 0x2a, 0x35, 0x41, 0x42,
                                  0x5a, 0x88, 0x8a, 0x8f, 0x90, 0x91, 0x93, 0x9e, 0xa0, 0x7f};
  Device device;
  for (int round = 0; round < 30'000; ++round) {
    scsi::Cdb cdb;
    cdb.length = 16;
    for (auto& byte : cdb.bytes) byte = static_cast<std::uint8_t>(random() % 4 == 0 ? random() : 0);
    cdb.bytes[0] = random() % 50 == 0 ? static_cast<std::uint8_t>(random()) : opcodes[random() % std::size(opcodes)];
    Bytes out(random() % 3 == 0 ? random() % 70'000 : random() % 600);
    for (std::size_t i = 0; i < std::min<std::size_t>(out.size(), 64); ++i)
      out[i] = static_cast<std::uint8_t>(random() % 2 == 0 ? random() : 0);
    const auto answer = device.run(cdb, out, random() % 5000, (random() % 3) << 48);
    if (answer.status == scsi::Status::check_condition) CHECK(answer.sense.key != scsi::SenseKey::no_sense);
  }
}

TEST_CASE("memory medium: against a flat copy") {
  auto random = nbdgw::test::seeded_random();
  constexpr std::size_t kSize = 512 * 1024;
  MemoryMedium medium(kSize);
  Bytes copy(kSize);
  for (int round = 0; round < 3000; ++round) {
    const std::size_t offset = random() % kSize;
    const std::size_t length = 1 + random() % std::min<std::size_t>(kSize - offset, 200'000);
    Bytes bytes(length, static_cast<std::uint8_t>(1 + random() % 255));
    const std::size_t half = length / 2;
    const iovec pieces[2] = {{bytes.data(), half}, {bytes.data() + half, length - half}};
    switch (random() % 4) {
      case 0:
        CHECK(medium.write(offset, pieces) == MediumResult::ok);
        std::copy(bytes.begin(), bytes.end(), copy.begin() + static_cast<long>(offset));
        break;
      case 1:
        CHECK(medium.discard(offset, length) == MediumResult::ok);
        std::fill_n(copy.begin() + static_cast<long>(offset), length, std::uint8_t{0});
        break;
      case 2:
        CHECK(medium.write_zeroes(offset, length) == MediumResult::ok);
        std::fill_n(copy.begin() + static_cast<long>(offset), length, std::uint8_t{0});
        CHECK(medium.extent(offset, length).mapped);
        break;
      default:
        CHECK(medium.read(offset, pieces) == MediumResult::ok);
        REQUIRE(std::memcmp(bytes.data(), copy.data() + offset, length) == 0);
        const auto extent = medium.extent(offset, length);
        CHECK(extent.length > 0);
        CHECK(extent.length <= length);
        if (!extent.mapped)
          CHECK(std::all_of(bytes.begin(), bytes.begin() + static_cast<long>(extent.length),
                            [](auto b) { return b == 0; }));
    }
  }
}
