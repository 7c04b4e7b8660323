#include "proto/scsi/cdb.hpp"

#include <string>

#include "proto/scsi/lun.hpp"
#include "tests/unit/proto/scsi_bytes.hpp"

using namespace nbdgw::proto::scsi;
using scsi_test::Bytes;

namespace {

Bytes bytes_of(const Cdb& cdb) {
  for (std::size_t i = cdb.length; i < cdb.bytes.size(); ++i) CHECK(cdb.bytes[i] == 0);
  return {cdb.view().begin(), cdb.view().end()};
}

}  // namespace

TEST_CASE("cdb: the bytes of every command") {
  struct Row {
    const char* name;
    Cdb cdb;
    Bytes expected;
  };
  const Row rows[] = {
      {"TEST UNIT READY", test_unit_ready(), {0, 0, 0, 0, 0, 0}},
      {"REQUEST SENSE",
       RequestSense{.descriptor_format = true, .allocation_length = 96}.build(),
       {3, 1, 0, 0, 96, 0}},
      {"INQUIRY", Inquiry{.evpd = false, .page = 0, .allocation_length = 255}.build(), {0x12, 0, 0, 0, 255, 0}},
      {"INQUIRY VPD",
       Inquiry{.evpd = true, .page = 0xb0, .allocation_length = 1020}.build(),
       {0x12, 1, 0xb0, 0x03, 0xfc, 0}},
      {"MODE SENSE(6)", ModeSense{.page = 8, .allocation_length = 252}.build(), {0x1a, 0x08, 0x08, 0, 252, 0}},
      {"MODE SENSE(6) too long",
       ModeSense{.page = 8, .allocation_length = 1000}.build(),
       {0x1a, 0x08, 0x08, 0, 255, 0}},
      {"MODE SENSE(10)",
       ModeSense{.disable_block_descriptors = false,
                 .page_control = 1,
                 .page = 0x3f,
                 .subpage = 0xff,
                 .allocation_length = 0x0203,
                 .ten = true}
           .build(),
       {0x5a, 0, 0x7f, 0xff, 0, 0, 0, 2, 3, 0}},
      {"REPORT LUNS",
       ReportLuns{.select_report = 2, .allocation_length = 0x01020304}.build(),
       {0xa0, 0, 2, 0, 0, 0, 1, 2, 3, 4, 0, 0}},
      {"READ CAPACITY(10)", read_capacity_10(), {0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
      {"READ CAPACITY(16)",
       ReadCapacity16{.allocation_length = 32}.build(),
       {0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0}},
      {"READ(16)",
       ReadWrite{.write = false, .lba = 0x0102030405060708, .blocks = 0x090a0b0c}.build(),
       {0x88, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 0, 0}},
      {"WRITE(16) FUA",
       ReadWrite{.write = true, .lba = 5, .blocks = 8, .fua = true}.build(),
       {0x8a, 0x08, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0}},
      {"WRITE(16) DPO",
       ReadWrite{.write = true, .lba = 5, .blocks = 8, .dpo = true, .protect = 1}.build(),
       {0x8a, 0x30, 0, 0, 0, 0, 0, 0, 0, 5, 0, 0, 0, 8, 0, 0}},
      {"READ(10)",
       ReadWrite{.write = false, .lba = 0x01020304, .blocks = 0x0506, .fua = true, .dpo = true}.build10(),
       {0x28, 0x18, 1, 2, 3, 4, 0, 5, 6, 0}},
      {"WRITE(10)",
       ReadWrite{.write = true, .lba = 0xffffffff, .blocks = 0xffff}.build10(),
       {0x2a, 0, 255, 255, 255, 255, 0, 255, 255, 0}},
      {"SYNCHRONIZE CACHE(16)",
       SynchronizeCache{.lba = 0x0102030405060708, .blocks = 9}.build(),
       {0x91, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 9, 0, 0}},
      {"SYNCHRONIZE CACHE(10)",
       SynchronizeCache{.lba = 0, .blocks = 0, .immediate = true}.build10(),
       {0x35, 2, 0, 0, 0, 0, 0, 0, 0, 0}},
      {"UNMAP", Unmap{.anchor = true, .parameter_list_length = 24}.build(), {0x42, 1, 0, 0, 0, 0, 0, 0, 24, 0}},
      {"WRITE SAME(16)",
       WriteSame{.lba = 1, .blocks = 2, .unmap = true, .no_data_out = true}.build(),
       {0x93, 0x09, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}},
      {"WRITE SAME(16) anchor",
       WriteSame{.lba = 1, .blocks = 2, .unmap = true, .anchor = true}.build(),
       {0x93, 0x18, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}},
      {"WRITE SAME(10)",
       WriteSame{.lba = 1, .blocks = 2, .unmap = true, .protect = 1}.build10(),
       {0x41, 0x28, 0, 0, 0, 1, 0, 0, 2, 0}},
      {"GET LBA STATUS",
       GetLbaStatus{.lba = 0x0102030405060708, .allocation_length = 0x1000}.build(),
       {0x9e, 0x12, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0x10, 0, 0, 0}},
      {"PRE-FETCH(16)",
       PreFetch{.lba = 1, .blocks = 2, .immediate = true}.build(),
       {0x90, 2, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}},
      {"VERIFY(16)",
       Verify{.lba = 1, .blocks = 2, .byte_check = 1, .dpo = true}.build(),
       {0x8f, 0x12, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0}},
  };
  for (const Row& row : rows) {
    CAPTURE(row.name);
    CHECK(bytes_of(row.cdb) == row.expected);
    CHECK(row.cdb.length == cdb_length(row.expected[0]));
  }
}

TEST_CASE("cdb: what is built is parsed back") {
  for (const bool flag : {false, true}) {
    const auto request_sense = RequestSense::parse(RequestSense{flag, 18}.build().view());
    REQUIRE(request_sense);
    CHECK(request_sense->descriptor_format == flag);
    CHECK(request_sense->allocation_length == 18);

    const auto inquiry = Inquiry::parse(Inquiry{flag, 0x83, 0x1234}.build().view());
    REQUIRE(inquiry);
    CHECK(inquiry->evpd == flag);
    CHECK(inquiry->page == 0x83);
    CHECK(inquiry->allocation_length == 0x1234);

    const auto mode = ModeSense::parse(ModeSense{flag, 3, 0x08, 0x01, 200, flag}.build().view());
    REQUIRE(mode);
    CHECK(mode->disable_block_descriptors == flag);
    CHECK(mode->page_control == 3);
    CHECK(mode->page == 0x08);
    CHECK(mode->subpage == 0x01);
    CHECK(mode->allocation_length == 200);
    CHECK(mode->ten == flag);

    for (const bool ten : {false, true}) {
      for (const bool write : {false, true}) {
        const ReadWrite sent{write, 0x01020304, 0x0506, flag, !flag, 5};
        const auto got = ReadWrite::parse((ten ? sent.build10() : sent.build()).view());
        REQUIRE(got);
        CHECK(got->write == write);
        CHECK(got->lba == sent.lba);
        CHECK(got->blocks == sent.blocks);
        CHECK(got->fua == flag);
        CHECK(got->dpo == !flag);
        CHECK(got->protect == 5);
      }
      const SynchronizeCache flush{77, 88, flag};
      const auto got_flush = SynchronizeCache::parse((ten ? flush.build10() : flush.build()).view());
      REQUIRE(got_flush);
      CHECK(got_flush->lba == 77);
      CHECK(got_flush->blocks == 88);
      CHECK(got_flush->immediate == flag);

      const WriteSame same{77, 88, flag, !flag, flag && !ten, 2};
      const auto got_same = WriteSame::parse((ten ? same.build10() : same.build()).view());
      REQUIRE(got_same);
      CHECK(got_same->lba == 77);
      CHECK(got_same->blocks == 88);
      CHECK(got_same->unmap == flag);
      CHECK(got_same->anchor == !flag);
      CHECK(got_same->no_data_out == (flag && !ten));
      CHECK(got_same->protect == 2);
    }

    const auto unmap = Unmap::parse(Unmap{flag, 0x1818}.build().view());
    REQUIRE(unmap);
    CHECK(unmap->anchor == flag);
    CHECK(unmap->parameter_list_length == 0x1818);

    const auto fetch = PreFetch::parse(PreFetch{1ULL << 40, 9, flag}.build().view());
    REQUIRE(fetch);
    CHECK(fetch->lba == 1ULL << 40);
    CHECK(fetch->blocks == 9);
    CHECK(fetch->immediate == flag);

    const auto verify = Verify::parse(Verify{1ULL << 40, 9, 3, flag, 7}.build().view());
    REQUIRE(verify);
    CHECK(verify->lba == 1ULL << 40);
    CHECK(verify->blocks == 9);
    CHECK(verify->byte_check == 3);
    CHECK(verify->dpo == flag);
    CHECK(verify->protect == 7);
  }
  const auto luns = ReportLuns::parse(ReportLuns{1, 0xfffffff0}.build().view());
  REQUIRE(luns);
  CHECK(luns->select_report == 1);
  CHECK(luns->allocation_length == 0xfffffff0);
  const auto capacity = ReadCapacity16::parse(ReadCapacity16{32}.build().view());
  REQUIRE(capacity);
  CHECK(capacity->allocation_length == 32);
  const auto status = GetLbaStatus::parse(GetLbaStatus{~0ULL, 24}.build().view());
  REQUIRE(status);
  CHECK(status->lba == ~0ULL);
  CHECK(status->allocation_length == 24);
}

TEST_CASE("cdb: another command, another service action or a cut CDB is not taken") {
  struct Parser {
    const char* name;
    bool (*accepts)(std::span<const std::uint8_t>);
    Cdb sample;
  };
  const Parser parsers[] = {
      {"REQUEST SENSE", [](auto c) { return RequestSense::parse(c).has_value(); }, RequestSense{}.build()},
      {"INQUIRY", [](auto c) { return Inquiry::parse(c).has_value(); }, Inquiry{}.build()},
      {"MODE SENSE", [](auto c) { return ModeSense::parse(c).has_value(); }, ModeSense{.ten = true}.build()},
      {"REPORT LUNS", [](auto c) { return ReportLuns::parse(c).has_value(); }, ReportLuns{}.build()},
      {"READ CAPACITY(16)", [](auto c) { return ReadCapacity16::parse(c).has_value(); }, ReadCapacity16{}.build()},
      {"READ, WRITE", [](auto c) { return ReadWrite::parse(c).has_value(); }, ReadWrite{}.build()},
      {"SYNCHRONIZE CACHE", [](auto c) { return SynchronizeCache::parse(c).has_value(); },
       SynchronizeCache{}.build()},
      {"UNMAP", [](auto c) { return Unmap::parse(c).has_value(); }, Unmap{}.build()},
      {"WRITE SAME", [](auto c) { return WriteSame::parse(c).has_value(); }, WriteSame{}.build()},
      {"GET LBA STATUS", [](auto c) { return GetLbaStatus::parse(c).has_value(); }, GetLbaStatus{}.build()},
      {"PRE-FETCH", [](auto c) { return PreFetch::parse(c).has_value(); }, PreFetch{}.build()},
      {"VERIFY", [](auto c) { return Verify::parse(c).has_value(); }, Verify{}.build()},
  };
  for (const Parser& parser : parsers) {
    for (const Parser& other : parsers) {
      CAPTURE(parser.name);
      CAPTURE(other.name);
      // iSCSI always carries 16 bytes: longer than the command is as good.
      CHECK(parser.accepts(other.sample.view()) == (&parser == &other));
      CHECK(parser.accepts(other.sample.bytes) == (&parser == &other));
    }
    scsi_test::every_length(parser.sample.view(), [&](std::span<const std::uint8_t> cut) {
      CAPTURE(cut.size());
      CHECK(parser.accepts(cut) == (cut.size() == parser.sample.length));
    });
  }
}

TEST_CASE("cdb: length by group code") {
  CHECK(cdb_length(0x00) == 6);
  CHECK(cdb_length(0x1f) == 6);
  CHECK(cdb_length(0x28) == 10);
  CHECK(cdb_length(0x5a) == 10);
  CHECK(cdb_length(0x7f) == 0);
  CHECK(cdb_length(0x88) == 16);
  CHECK(cdb_length(0xa0) == 12);
  CHECK(cdb_length(0xc0) == 0);
  CHECK(cdb_length(0xff) == 0);
}

TEST_CASE("lun: numbers and their eight bytes") {
  CHECK(encode_lun(0) == 0);
  CHECK(encode_lun(1) == 0x0001'0000'0000'0000ULL);
  CHECK(encode_lun(255) == 0x00ff'0000'0000'0000ULL);
  CHECK(encode_lun(256) == 0x4100'0000'0000'0000ULL);
  CHECK(encode_lun(16383) == 0x7fff'0000'0000'0000ULL);
  CHECK(!encode_lun(16384));
  for (std::uint32_t number = 0; number <= kMaxLunNumber; ++number) {
    if (decode_lun(*encode_lun(number)) != number) FAIL(number);
  }
  CHECK(decode_lun(0x4005'0000'0000'0000ULL) == 5);  // flat space for a small number
  CHECK(!decode_lun(0x0101'0000'0000'0000ULL));      // another bus
  CHECK(!decode_lun(0xc101'0000'0000'0000ULL));      // well-known logical unit
  CHECK(!decode_lun(0x0001'0000'0000'0001ULL));      // further levels
  CHECK(!decode_lun(0x8001'0000'0000'0000ULL));      // logical unit addressing
}
