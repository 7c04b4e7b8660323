#include "tests/sim/target/digest.hpp"

#include <array>

namespace nbdgw::sim {
namespace {

constexpr std::uint32_t kPolynomial = 0x82f63b78;  // Castagnoli's, with its bits the other way round
using CrcTables = std::array<std::array<std::uint32_t, 256>, 8>;

/// Eight bytes at a time: a table for each distance from the end.
constexpr CrcTables make_crc_tables() {
  CrcTables tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc & 1) != 0 ? (crc >> 1) ^ kPolynomial : crc >> 1;
    tables[0][byte] = crc;
  }
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    for (std::size_t distance = 1; distance < tables.size(); ++distance) {
      const std::uint32_t nearer = tables[distance - 1][byte];
      tables[distance][byte] = (nearer >> 8) ^ tables[0][nearer & 0xff];
    }
  }
  return tables;
}
constexpr CrcTables kCrcTables = make_crc_tables();

}  // namespace

std::uint32_t crc_of(Bytes bytes, std::uint32_t before) noexcept {
  std::uint32_t crc = ~before;
  const std::uint8_t* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; left -= 8, at += 8) {
    const std::uint32_t low = crc ^ read_digest(at);
    const std::uint32_t high = read_digest(at + 4);
    crc = kCrcTables[7][low & 0xff] ^ kCrcTables[6][(low >> 8) & 0xff] ^ kCrcTables[5][(low >> 16) & 0xff] ^
          kCrcTables[4][low >> 24] ^ kCrcTables[3][high & 0xff] ^ kCrcTables[2][(high >> 8) & 0xff] ^
          kCrcTables[1][(high >> 16) & 0xff] ^ kCrcTables[0][high >> 24];
  }
  for (; left > 0; --left, ++at) crc = (crc >> 8) ^ kCrcTables[0][(crc ^ *at) & 0xff];
  return ~crc;
}

}  // namespace nbdgw::sim
