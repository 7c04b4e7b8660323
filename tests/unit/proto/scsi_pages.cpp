#include "proto/scsi/capacity.hpp"
#include "proto/scsi/inquiry.hpp"
#include "proto/scsi/mode.hpp"
#include "tests/unit/proto/scsi_bytes.hpp"

using namespace nbdgw::proto::scsi;
using scsi_test::Bytes;

TEST_CASE("inquiry: standard data") {
  const StandardInquiry sent{.qualifier = 1,
                             .device_type = 0x0c,
                             .removable = true,
                             .version = 5,
                             .command_queuing = true,
                             .third_party_copy = true,
                             .vendor = "IET",
                             .product = "A product name that is too long",
                             .revision = "0001"};
  const Bytes data = sent.build();
  REQUIRE(data.size() == 36);
  CHECK(data[0] == 0x2c);
  CHECK(data[4] == 31);
  CHECK(data[11] == ' ');
  const auto got = StandardInquiry::parse(data);
  REQUIRE(got);
  CHECK(got->qualifier == 1);
  CHECK(got->device_type == 0x0c);
  CHECK(got->removable);
  CHECK(got->version == 5);
  CHECK(got->command_queuing);
  CHECK(got->third_party_copy);
  CHECK(got->vendor == "IET");
  CHECK(got->product == "A product name t");
  CHECK(got->revision == "0001");

  Bytes odd = data;
  odd[8] = 0x07;  // a bell
  odd[9] = 0xff;
  CHECK(StandardInquiry::parse(odd)->vendor == "??T");
  scsi_test::every_length(data, [](std::span<const std::uint8_t> cut) {
    const auto inquiry = StandardInquiry::parse(cut);
    CHECK(inquiry.has_value() == (cut.size() >= 5));
    if (cut.size() >= 16) CHECK(inquiry->vendor == "IET");
  });
  scsi_test::garbage(data, 300, [](std::span<const std::uint8_t> bytes) {
    const auto inquiry = StandardInquiry::parse(bytes);
    if (inquiry) CHECK(inquiry->product.size() <= 16);
  });
}

TEST_CASE("inquiry: VPD 00h and 80h") {
  SupportedPages pages;
  pages.supported[0x00] = pages.supported[0x80] = pages.supported[0xb0] = true;
  const Bytes data = pages.build();
  CHECK(data == Bytes{0, 0, 0, 3, 0x00, 0x80, 0xb0});
  const auto got = SupportedPages::parse(data);
  REQUIRE(got);
  CHECK(got->has(0x80));
  CHECK(!got->has(0x83));
  scsi_test::every_length(data, [](std::span<const std::uint8_t> cut) {
    const auto parsed = SupportedPages::parse(cut);
    CHECK(parsed.has_value() == (cut.size() >= 4));
    if (parsed) CHECK(parsed->has(0xb0) == (cut.size() == 7));
  });

  const Bytes serial = UnitSerialNumber{"  beaf11 "}.build();
  CHECK(UnitSerialNumber::parse(serial)->serial == "beaf11");
  CHECK(!UnitSerialNumber::parse(data));
  Bytes lying = serial;
  lying[3] = 200;  // longer than the data
  CHECK(UnitSerialNumber::parse(lying)->serial == "beaf11");
  lying[3] = 4;
  CHECK(UnitSerialNumber::parse(lying)->serial == "be");
  scsi_test::every_length(serial, [](std::span<const std::uint8_t> cut) {
    CHECK(UnitSerialNumber::parse(cut).has_value() == (cut.size() >= 4));
  });
}

TEST_CASE("inquiry: VPD 83h, the best designator") {
  const auto text = [](const char* value) {
    return Bytes(reinterpret_cast<const std::uint8_t*>(value),
                 reinterpret_cast<const std::uint8_t*>(value) + std::char_traits<char>::length(value));
  };
  DeviceIdentification page;
  CHECK(page.best() == nullptr);
  page.designators.push_back({DesignatorType::naa, Association::target_port, 1, {0x50, 1}});
  CHECK(page.best() == nullptr);
  page.designators.push_back({DesignatorType::t10_vendor_id, Association::logical_unit, 2, text("IET     0001")});
  CHECK(page.best()->text() == "t10.IET     0001");
  page.designators.push_back({DesignatorType::scsi_name, Association::logical_unit, 3, text("iqn.2026-11.x:y")});
  CHECK(page.best()->text() == "iqn.2026-11.x:y");
  page.designators.push_back({DesignatorType::eui_64, Association::logical_unit, 1, {0, 0x11, 0x22}});
  CHECK(page.best()->text() == "eui.001122");
  page.designators.push_back({DesignatorType::naa, Association::logical_unit, 1, {0x60, 0x01, 0x40, 0x5f}});
  CHECK(page.best()->text() == "naa.6001405f");

  const Bytes data = page.build();
  const auto got = DeviceIdentification::parse(data);
  REQUIRE(got);
  REQUIRE(got->designators.size() == page.designators.size());
  for (std::size_t i = 0; i < page.designators.size(); ++i) {
    CHECK(got->designators[i].type == page.designators[i].type);
    CHECK(got->designators[i].association == page.designators[i].association);
    CHECK(got->designators[i].code_set == page.designators[i].code_set);
    CHECK(got->designators[i].value == page.designators[i].value);
  }
  std::size_t most = 0;
  scsi_test::every_length(data, [&](std::span<const std::uint8_t> cut) {
    const auto parsed = DeviceIdentification::parse(cut);
    CHECK(parsed.has_value() == (cut.size() >= 4));
    if (parsed) {
      CHECK(parsed->designators.size() >= most);
      most = parsed->designators.size();
    }
  });
  CHECK(most == 5);
  scsi_test::garbage(data, 600, [](std::span<const std::uint8_t> bytes) {
    const auto parsed = DeviceIdentification::parse(bytes);
    if (parsed) CHECK(parsed->designators.size() <= DeviceIdentification::kMaxDesignators);
  });
  DeviceIdentification crowd;
  crowd.designators.assign(100, {DesignatorType::naa, Association::logical_unit, 1, {1}});
  CHECK(DeviceIdentification::parse(crowd.build())->designators.size() == DeviceIdentification::kMaxDesignators);
}

TEST_CASE("inquiry: VPD B0h, B1h, B2h") {
  const BlockLimits limits{.write_same_no_zero = true,
                           .max_compare_and_write = 1,
                           .optimal_transfer_granularity = 8,
                           .max_transfer = 0x01020304,
                           .optimal_transfer = 2048,
                           .max_prefetch = 5,
                           .max_unmap_lba_count = 0xffffffff,
                           .max_unmap_descriptor_count = 32,
                           .optimal_unmap_granularity = 128,
                           .unmap_granularity_alignment = 3,
                           .max_write_same = 0x0102030405060708};
  const Bytes data = limits.build();
  REQUIRE(data.size() == 64);
  CHECK(data[1] == 0xb0);
  CHECK(data[3] == 0x3c);
  CHECK(Bytes(data.begin() + 8, data.begin() + 12) == Bytes{1, 2, 3, 4});
  CHECK(Bytes(data.begin() + 32, data.begin() + 36) == Bytes{0x80, 0, 0, 3});
  const auto got = BlockLimits::parse(data);
  REQUIRE(got);
  CHECK(got->write_same_no_zero);
  CHECK(got->max_compare_and_write == 1);
  CHECK(got->optimal_transfer_granularity == 8);
  CHECK(got->max_transfer == 0x01020304);
  CHECK(got->optimal_transfer == 2048);
  CHECK(got->max_prefetch == 5);
  CHECK(got->max_unmap_lba_count == 0xffffffff);
  CHECK(got->max_unmap_descriptor_count == 32);
  CHECK(got->optimal_unmap_granularity == 128);
  CHECK(got->unmap_granularity_alignment == 3);
  CHECK(got->max_write_same == 0x0102030405060708);
  CHECK(!BlockLimits::parse(BlockLimits{}.build())->unmap_granularity_alignment);
  scsi_test::every_length(data, [](std::span<const std::uint8_t> cut) {
    const auto parsed = BlockLimits::parse(cut);
    CHECK(parsed.has_value() == (cut.size() >= 4));
    if (!parsed) return;
    CHECK(parsed->max_transfer == (cut.size() >= 16 ? 0x01020304 : 0));
    CHECK(parsed->optimal_unmap_granularity == (cut.size() >= 36 ? 128 : 0));
    CHECK(parsed->max_write_same == (cut.size() >= 44 ? 0x0102030405060708 : 0));
  });

  const Bytes medium = BlockDeviceCharacteristics{7200}.build();
  CHECK(BlockDeviceCharacteristics::parse(medium)->rotation_rate == 7200);
  CHECK(!BlockDeviceCharacteristics::parse(data));
  scsi_test::every_length(medium, [](std::span<const std::uint8_t> cut) {
    CHECK(BlockDeviceCharacteristics::parse(cut).has_value() == (cut.size() >= 6));
  });

  for (unsigned bits = 0; bits < 64; ++bits) {
    LogicalBlockProvisioning page;
    page.threshold_exponent = 9;
    page.lbpu = (bits & 1) != 0;
    page.lbpws = (bits & 2) != 0;
    page.lbpws10 = (bits & 4) != 0;
    page.anchor_supported = (bits & 8) != 0;
    page.lbprz = static_cast<std::uint8_t>(bits >> 4);
    page.provisioning_type = 2;
    const Bytes provisioning = page.build();
    const auto parsed = LogicalBlockProvisioning::parse(provisioning);
    REQUIRE(parsed);
    CHECK(parsed->threshold_exponent == 9);
    CHECK(parsed->lbpu == page.lbpu);
    CHECK(parsed->lbpws == page.lbpws);
    CHECK(parsed->lbpws10 == page.lbpws10);
    CHECK(parsed->anchor_supported == page.anchor_supported);
    CHECK(parsed->lbprz == page.lbprz);
    CHECK(parsed->provisioning_type == 2);
    scsi_test::every_length(provisioning, [](std::span<const std::uint8_t> cut) {
      CHECK(LogicalBlockProvisioning::parse(cut).has_value() == (cut.size() >= 6));
    });
  }
}

TEST_CASE("capacity: both forms") {
  const Capacity sent{.last_lba = 0x0000'0012'3456'7890ULL,
                      .block_length = 4096,
                      .protection_enabled = true,
                      .blocks_per_physical_exponent = 3,
                      .lowest_aligned_lba = 0x1234,
                      .lbpme = true,
                      .lbprz = true};
  const Bytes data = sent.build16();
  CHECK(Bytes(data.begin(), data.begin() + 16) ==
        Bytes{0, 0, 0, 0x12, 0x34, 0x56, 0x78, 0x90, 0, 0, 0x10, 0, 1, 3, 0xd2, 0x34});
  scsi_test::every_length(data, [&](std::span<const std::uint8_t> cut) {
    const auto got = Capacity::parse16(cut);
    CHECK(got.has_value() == (cut.size() >= 12));
    if (!got) return;
    CHECK(got->last_lba == sent.last_lba);
    CHECK(got->block_length == 4096);
    const bool whole = cut.size() >= 16;
    CHECK(got->lbpme == whole);
    CHECK(got->lbprz == whole);
    CHECK(got->lowest_aligned_lba == (whole ? 0x1234 : 0));
    CHECK(got->blocks_per_physical_exponent == (whole ? 3 : 0));
    CHECK(got->protection_enabled == whole);
  });
  CHECK(sent.build10() == Bytes{0xff, 0xff, 0xff, 0xff, 0, 0, 0x10, 0});
  const Bytes small = Capacity{.last_lba = 2047, .block_length = 512}.build10();
  scsi_test::every_length(small, [](std::span<const std::uint8_t> cut) {
    const auto got = Capacity::parse10(cut);
    CHECK(got.has_value() == (cut.size() == 8));
    if (got) CHECK(got->last_lba == 2047);
  });
}

TEST_CASE("mode: header, block descriptors, other pages, caching page") {
  for (const bool ten : {false, true}) {
    for (unsigned bits = 0; bits < 12; ++bits) {
      ModeParameters sent;
      sent.write_protected = (bits & 1) != 0;
      sent.dpofua = (bits & 2) != 0;
      if (bits >= 4) sent.write_cache_enabled = bits >= 8;
      const auto got = ModeParameters::parse(sent.build(ten), ten);
      REQUIRE(got);
      CHECK(got->write_protected == sent.write_protected);
      CHECK(got->dpofua == sent.dpofua);
      CHECK(got->write_cache_enabled == sent.write_cache_enabled);
    }
  }
  // A block descriptor, the control page, a page with a subpage, then the caching page.
  Bytes full = {0, 0, 0x90, 8, 0, 0, 0, 0,    0,    0, 2, 0,    0x0a, 0x0a, 0,    0,    0,
                0, 0, 0,    0, 0, 0, 0, 0x4a, 0x05, 0, 2, 0xaa, 0xbb, 0x88, 0x12, 0x04, 0,
                0, 0, 0,    0, 0, 0, 0, 0,    0,    0, 0, 0,    0,    0,    0,    0};
  full[0] = static_cast<std::uint8_t>(full.size() - 1);
  const auto got = ModeParameters::parse(full, false);
  REQUIRE(got);
  CHECK(got->write_protected);
  CHECK(got->dpofua);
  CHECK(got->write_cache_enabled == true);
  for (const bool ten : {false, true}) {
    scsi_test::every_length(full, [&](std::span<const std::uint8_t> cut) {
      CHECK(ModeParameters::parse(cut, ten).has_value() == (cut.size() >= (ten ? 8U : 4U)));
    });
    scsi_test::garbage(full, 260, [&](std::span<const std::uint8_t> bytes) {
      const auto parsed = ModeParameters::parse(bytes, ten);
      CHECK(parsed.has_value() == (bytes.size() >= (ten ? 8U : 4U)));
    });
  }
  // Its own length ends the data before the caching page does.
  Bytes cut = full;
  cut[0] = 30;
  CHECK(!ModeParameters::parse(cut, false)->write_cache_enabled);
}
