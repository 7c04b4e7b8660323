#include "proto/crc32c.hpp"

#include <array>
#include <cstdint>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

#include "../random.hpp"

using nbdgw::proto::crc32c;
using nbdgw::proto::crc32c_portable;

namespace {

using Bytes = std::vector<std::uint8_t>;

/// RFC 3720 B.4. The RFC shows a digest as it stands on the wire, lowest byte first; here it is the number.
struct Vector {
  Bytes bytes;
  std::uint32_t digest;
};

std::vector<Vector> vectors() {
  Bytes up(32);
  std::iota(up.begin(), up.end(), std::uint8_t{0});
  return {
      {Bytes(32, 0x00), 0x8a9136aa},
      {Bytes(32, 0xff), 0x62a8ab43},
      {up, 0x46dd794e},
      {Bytes(up.rbegin(), up.rend()), 0x113fdb5c},
      {{0x01, 0xc0, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
        0x14, 0x00, 0x00, 0x00, 0x00, 0x00, 0x04, 0x00, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00, 0x00, 0x18,
        0x28, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00},
       0xd9963a56},
  };
}

}  // namespace

TEST_CASE("crc32c: the vectors of RFC 3720, both versions") {
  for (const Vector& vector : vectors()) {
    CHECK(crc32c(0, vector.bytes.data(), vector.bytes.size()) == vector.digest);
    CHECK(crc32c_portable(0, vector.bytes.data(), vector.bytes.size()) == vector.digest);
  }
}

TEST_CASE("crc32c: both versions agree, whole, in two parts and over a scatter list") {
  auto random = nbdgw::test::seeded_random();
  for (int round = 0; round < 500; ++round) {
    Bytes bytes(random() % 5000);
    for (std::uint8_t& byte : bytes) byte = static_cast<std::uint8_t>(random());
    const std::uint32_t expected = crc32c_portable(0, bytes.data(), bytes.size());
    CHECK(crc32c(0, bytes.data(), bytes.size()) == expected);

    const std::size_t cut = random() % (bytes.size() + 1);
    CHECK(crc32c(crc32c(0, bytes.data(), cut), bytes.data() + cut, bytes.size() - cut) == expected);
    CHECK(crc32c_portable(crc32c(0, bytes.data(), cut), bytes.data() + cut, bytes.size() - cut) == expected);
    const std::array<iovec, 2> list{iovec{bytes.data(), cut}, iovec{bytes.data() + cut, bytes.size() - cut}};
    CHECK(crc32c(0, list) == expected);
  }
}
