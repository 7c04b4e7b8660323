#include <array>

#include "proto/scsi/lba_status.hpp"
#include "proto/scsi/report_luns.hpp"
#include "proto/scsi/unmap.hpp"
#include "tests/unit/proto/scsi_bytes.hpp"

using namespace nbdgw::proto::scsi;
using scsi_test::Bytes;

TEST_CASE("report luns: whole, cut and lying lists") {
  const std::array<std::uint64_t, 3> luns = {0, 0x0001'0000'0000'0000ULL, 0x4100'0000'0000'0000ULL};
  const Bytes data = LunList::build(luns);
  CHECK(data.size() == 32);
  CHECK(data[3] == 24);
  scsi_test::every_length(data, [&](std::span<const std::uint8_t> cut) {
    const auto list = LunList::parse(cut);
    CHECK(list.has_value() == (cut.size() >= 8));
    if (!list) return;
    CHECK(list->needed_length() == 32);
    CHECK(list->size() == (cut.size() - 8) / 8);
    for (std::size_t i = 0; i < list->size(); ++i) CHECK((*list)[i] == luns[i]);
  });
  scsi_test::garbage({}, 100, [](std::span<const std::uint8_t> bytes) {
    const auto list = LunList::parse(bytes);
    if (!list) return;
    CHECK(list->size() <= (bytes.size() - 8) / 8);
    std::uint64_t sum = 0;
    for (std::size_t i = 0; i < list->size(); ++i) sum += (*list)[i];
    CHECK((list->size() != 0 || sum == 0));
  });
  Bytes most = data;
  most[0] = most[1] = most[2] = most[3] = 0xff;
  CHECK(LunList::parse(most)->needed_length() == 0x1'0000'0007ULL);
}

TEST_CASE("unmap list: built, parsed, cut") {
  const std::array<UnmapRange, 2> ranges = {UnmapRange{0x0102030405060708, 0x090a0b0c}, UnmapRange{7, 0}};
  Bytes data(unmap_list_length(2), 0xee);
  REQUIRE(build_unmap_list(ranges, data) == 40);
  CHECK(data == Bytes{0, 38, 0, 32, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12,
                      0, 0,  0, 0,  0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0,  0,  0});
  scsi_test::every_length(data, [&](std::span<const std::uint8_t> cut) {
    const auto list = UnmapList::parse(cut);
    CHECK(list.has_value() == (cut.size() == 40));
    if (!list) return;
    REQUIRE(list->size() == 2);
    CHECK((*list)[0] == ranges[0]);
    CHECK((*list)[1] == ranges[1]);
  });
  Bytes partial = data;
  partial[3] = 31;  // the second descriptor is not complete
  CHECK(UnmapList::parse(partial)->size() == 1);
  Bytes empty(unmap_list_length(0));
  CHECK(build_unmap_list({}, empty) == 8);
  CHECK(UnmapList::parse(empty)->size() == 0);
  scsi_test::garbage(data, 100, [](std::span<const std::uint8_t> bytes) {
    const auto list = UnmapList::parse(bytes);
    if (!list) return;
    CHECK(unmap_list_length(list->size()) <= bytes.size());
    for (std::size_t i = 0; i < list->size(); ++i)
      CHECK((*list)[i].lba == nbdgw::proto::load_be64(&bytes[unmap_list_length(i)]));
  });
  CHECK(unmap_list_length(kMaxUnmapDescriptors) <= 0xffff);
  CHECK(unmap_list_length(kMaxUnmapDescriptors + 1) > 0xffff);
}

TEST_CASE("lba status: built, parsed, cut") {
  const std::array<LbaExtent, 3> extents = {LbaExtent{8, 16, ProvisioningStatus::mapped_or_unknown},
                                            LbaExtent{24, 0xffffffff, ProvisioningStatus::deallocated},
                                            LbaExtent{1ULL << 40, 1, ProvisioningStatus::anchored}};
  const Bytes data = LbaStatusList::build(extents);
  CHECK(data.size() == 56);
  CHECK(data[3] == 52);
  scsi_test::every_length(data, [&](std::span<const std::uint8_t> cut) {
    const auto list = LbaStatusList::parse(cut);
    CHECK(list.has_value() == (cut.size() >= 8));
    if (!list) return;
    CHECK(list->size() == (cut.size() - 8) / 16);
    for (std::size_t i = 0; i < list->size(); ++i) CHECK((*list)[i] == extents[i]);
  });
  Bytes lying = data;
  lying[0] = 0xff;  // longer than the data
  CHECK(LbaStatusList::parse(lying)->size() == 3);
  lying = data;
  lying[3] = 0;  // shorter than its own header
  CHECK(LbaStatusList::parse(lying)->size() == 0);
  lying[3] = 20;
  CHECK(LbaStatusList::parse(lying)->size() == 1);
  scsi_test::garbage(data, 200, [](std::span<const std::uint8_t> bytes) {
    const auto list = LbaStatusList::parse(bytes);
    if (!list) return;
    CHECK(8 + list->size() * 16 <= bytes.size());
    for (std::size_t i = 0; i < list->size(); ++i) CHECK(static_cast<unsigned>((*list)[i].status) < 16);
  });
}
