#include "proto/scsi/sense.hpp"

#include <array>

#include "tests/unit/proto/scsi_bytes.hpp"

using namespace nbdgw::proto::scsi;
using scsi_test::Bytes;

TEST_CASE("sense: fixed format as targets send it") {
  // tgtd's unit attention; istgt sets VALID with an information of zero.
  const Bytes tgtd = {0x70, 0, 6, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0x29, 0x00, 0, 0, 0, 0};
  auto sense = parse_sense(tgtd);
  REQUIRE(sense);
  CHECK(sense->is(SenseKey::unit_attention, asc::kPowerOnOrReset));
  CHECK(!sense->deferred);
  CHECK(!sense->information);

  const Bytes istgt = {0xf0, 0, 3, 0, 0, 0x12, 0x34, 0x0a, 0, 0, 0, 0, 0x11, 0x00, 0, 0, 0, 0};
  sense = parse_sense(istgt);
  REQUIRE(sense);
  CHECK(sense->key == SenseKey::medium_error);
  CHECK(sense->information == 0x1234);
  CHECK(describe(*sense) == "MEDIUM ERROR, unrecovered read error (3/11/00) at 4660");

  // The key shares its byte with the FILEMARK, EOM and ILI bits.
  const Bytes flags = {0x71, 0, 0xe3, 0, 0, 0, 0, 0x0a, 0, 0, 0, 0, 0x0c, 0x02};
  sense = parse_sense(flags);
  REQUIRE(sense);
  CHECK(sense->key == SenseKey::medium_error);
  CHECK(sense->deferred);
  CHECK(sense->ascq == 2);
}

TEST_CASE("sense: descriptor format, the information descriptor among others") {
  const Bytes data = {0x72, 5, 0x21, 0, 0, 0, 0, 4 + 12, 0x03, 2, 0, 0, 0x00, 0x0a, 0x80, 0, 1, 2, 3, 4, 5, 6, 7, 8};
  const auto sense = parse_sense(data);
  REQUIRE(sense);
  CHECK(sense->is(SenseKey::illegal_request, asc::kLbaOutOfRange));
  CHECK(sense->information == 0x0102030405060708ULL);

  Bytes invalid = data;
  invalid[14] = 0;  // VALID
  CHECK(!parse_sense(invalid)->information);
  Bytes too_long = data;
  too_long[13] = 0x0b;  // the descriptor would reach beyond the data
  CHECK(!parse_sense(too_long)->information);
}

TEST_CASE("sense: the length it gives itself counts") {
  const Bytes data = {0x70, 0, 5, 0, 0, 0, 0, 4, 0, 0, 0, 0, 0x24, 0x00};  // ends before the additional sense code
  const auto sense = parse_sense(data);
  REQUIRE(sense);
  CHECK(sense->key == SenseKey::illegal_request);
  CHECK(sense->additional() == asc::kNone);
}

TEST_CASE("sense: short, empty and foreign data") {
  CHECK(!parse_sense({}));
  CHECK(!parse_sense(Bytes{0x70, 0}));
  CHECK(!parse_sense(Bytes{0x72}));
  CHECK(!parse_sense(Bytes(18, 0)));
  CHECK(!parse_sense(Bytes(18, 0xff)));
  const auto short_fixed = parse_sense(Bytes{0x70, 0, 2});
  REQUIRE(short_fixed);
  CHECK(short_fixed->key == SenseKey::not_ready);
}

TEST_CASE("sense: what is built is parsed back") {
  for (unsigned key = 0; key < 16; ++key) {
    for (const bool deferred : {false, true}) {
      for (const std::optional<std::uint64_t> information :
           {std::optional<std::uint64_t>(), std::optional<std::uint64_t>(0), std::optional<std::uint64_t>(0xffffffff),
            std::optional<std::uint64_t>(1ULL << 40)}) {
        const Sense sent{static_cast<SenseKey>(key), 0x27, 0x07, deferred, information};
        Bytes fixed(kFixedSenseLength, 0xee);
        REQUIRE(build_fixed_sense(sent, fixed) == kFixedSenseLength);
        const auto got = parse_sense(fixed);
        REQUIRE(got);
        CHECK(got->is(sent.key, sent.additional()));
        CHECK(got->deferred == deferred);
        const bool fits = information && *information <= 0xffffffff;
        CHECK(got->information == (fits ? information : std::nullopt));

        Bytes descriptor(kMaxDescriptorSenseLength, 0xee);
        descriptor.resize(build_descriptor_sense(sent, descriptor));
        CHECK(descriptor.size() == (information ? 20 : 8));
        const auto other = parse_sense(descriptor);
        REQUIRE(other);
        CHECK(other->is(sent.key, sent.additional()));
        CHECK(other->deferred == deferred);
        CHECK(other->information == information);
      }
    }
  }
}

TEST_CASE("sense: any bytes are safe at any length") {
  const Sense sample{SenseKey::medium_error, 0x11, 0, false, 7};
  Bytes fixed(kFixedSenseLength);
  build_fixed_sense(sample, fixed);
  Bytes descriptor(kMaxDescriptorSenseLength);
  build_descriptor_sense(sample, descriptor);
  for (const Bytes& data : {fixed, descriptor}) {
    scsi_test::every_length(data, [](std::span<const std::uint8_t> cut) {
      const auto sense = parse_sense(cut);
      if (cut.size() >= 3) {
        REQUIRE(sense);
        CHECK(sense->key == SenseKey::medium_error);
      }
    });
    int understood = 0;
    scsi_test::garbage(data, 300, [&](std::span<const std::uint8_t> bytes) {
      if (const auto sense = parse_sense(bytes)) understood += !describe(*sense).empty();
    });
    CHECK(understood > 0);
  }
}

TEST_CASE("sense: words for people") {
  CHECK(describe({SenseKey::unit_attention, 0x2a, 0x09, false, {}}) ==
        "UNIT ATTENTION, capacity data has changed (6/2a/09)");
  CHECK(describe({SenseKey::vendor_specific, 0x99, 0xab, true, {}}) == "VENDOR SPECIFIC (9/99/ab), deferred");
  CHECK(describe({SenseKey::medium_error, 0x0c, 0x02, false, {}}) ==
        "MEDIUM ERROR, write error, auto reallocation failed (3/0c/02)");
  CHECK(describe_status(0x08) == "BUSY");
  CHECK(describe_status(0x22) == "status 22h");
}
